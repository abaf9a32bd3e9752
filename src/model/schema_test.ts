/**
 * Checking with schemas of libraries and with plain functions.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { checkOptions, checkWith } from "./schema.ts";

test("checkWith() refuses a schema that answers later, and names the place of an issue", () => {
  const later = { "~standard": { version: 1, vendor: "t", validate: () => Promise.resolve({ value: 1 }) } } as const;
  assert.deepEqual(checkWith(later, 1), { issue: "the schema answers with a promise" });
  const deep = {
    "~standard": { version: 1, vendor: "t", validate: () => ({ issues: [{ message: "bad", path: ["a", { key: 0 }, "b"] }] }) },
  } as const;
  assert.deepEqual(checkWith(deep, 1), { issue: "a.0.b: bad" });
});

test("checkWith() takes a function, which throws what is wrong", () => {
  const number = (value: unknown) => {
    if (typeof value !== "number") throw new Error("it is no number");
    return value + 1;
  };
  assert.deepEqual(checkWith(number, 1), { value: 2 });
  assert.deepEqual(checkWith(number, "1"), { issue: "it is no number" });
  assert.deepEqual(checkWith((value: unknown) => Promise.resolve(value), 1), { issue: "the schema answers with a promise" });
  const rude = () => {
    throw "nothing but a text";
  };
  assert.deepEqual(checkWith(rude, 1), { issue: "nothing but a text" });
});

test("checkOptions() folds keys only for a schema that tells which it knows", () => {
  const validate = (value: unknown) => ({ value });
  const known = { entries: { VNI: {} }, "~standard": { version: 1, vendor: "t", validate } } as const;
  assert.deepEqual(checkOptions(known, { vni: 7, Other: 1 }), { value: { VNI: 7 } });
  assert.deepEqual(checkOptions((value: unknown) => value, { vni: 7 }), { value: { vni: 7 } });
});
