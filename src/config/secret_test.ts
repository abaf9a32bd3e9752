/**
 * All the ways in which a secret could be printed.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { inspect } from "node:util";
import { Secret } from "./secret.ts";

test("a secret shows as *** however it is printed", () => {
  const secret = new Secret("hunter2");
  const printed = [
    String(secret),
    `${secret}`,
    "" + secret,
    JSON.stringify({ deep: [secret] }),
    inspect(secret),
    inspect({ deep: [secret] }, { depth: 9, showHidden: true }),
    Object.keys(secret).join() + Object.values({ ...secret }).join(),
  ];
  for (const text of printed) assert.ok(!text.includes("hunter2"), text);
  assert.equal(printed[3], '{"deep":["***"]}');
  assert.equal(printed[4], "***");
  assert.equal(secret.reveal(), "hunter2");
});
