/**
 * Writes down why tests are skipped, because no report of Bun's does: one line of JSON, `[name, reason]`, for each.
 *
 * A group that is skipped becomes one test that is skipped, since Bun's reports say nothing at all of such a group.
 *
 * Preloaded by `scripts/test.mjs`, which names the file in `WEFT_SKIPS`. Changes nothing else about the tests.
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

function reasonIn(rest: readonly unknown[]): string | null {
  const { skip } = (rest[0] ?? {}) as { skip?: unknown };
  return typeof skip === "string" ? skip : null;
}

/** A declaration that notes what is skipped, and then declares it as `skipped` does. */
function noting<T>(declare: T, skipped: unknown): T {
  const noted: Declare = (name, ...rest) => {
    const reason = reasonIn(rest);
    if (file !== undefined && reason !== null) appendFileSync(file, `${JSON.stringify([name, reason])}\n`);
    return (reason === null ? declare as Declare : skipped as Declare)(name, ...rest);
  };
  return Object.assign(noted, declare);
}

const [test, describe] = [noting(original.test, original.test), noting(original.describe, original.test)];
mock.module("node:test", () => ({ ...original, default: test, test, it: test, describe, suite: describe }));
