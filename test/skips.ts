/**
 * Writes down why tests are skipped, because no report of Bun's does: one line of JSON, `[name, reason]`, for each.
 *
 * Preloaded by `scripts/test.mjs`, which names the file in `WEFT_SKIPS`. Changes nothing about the tests.
 *
 * @module
 */

/// <reference path="./bun_test.d.ts" />
import { mock } from "bun:test";
import { appendFileSync } from "node:fs";
import * as original from "node:test";
import process from "node:process";

const file = process.env["WEFT_SKIPS"];

type Declare = (name: unknown, ...rest: unknown[]) => unknown;

function noting<T>(declare: T): T {
  const noted: Declare = (name, ...rest) => {
    const { skip } = (rest[0] ?? {}) as { skip?: unknown };
    if (file !== undefined && typeof skip === "string") appendFileSync(file, `${JSON.stringify([name, skip])}\n`);
    return (declare as Declare)(name, ...rest);
  };
  return Object.assign(noted, declare);
}

const [test, describe] = [noting(original.test), noting(original.describe)];
mock.module("node:test", () => ({ ...original, default: test, test, it: test, describe, suite: describe }));
