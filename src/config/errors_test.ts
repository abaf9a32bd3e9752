/**
 * Foreign text in messages.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { oneLine, quote } from "./errors.ts";

test("quote() keeps a message on one line and short", () => {
  assert.equal(quote('a "b"\n\x1b[2J\u2028c'), '"a \\"b\\"\\n\\u001b[2J\\u{2028}c"');
  assert.equal(quote("x".repeat(500)), `"${"x".repeat(120)}..."`);
});

test("oneLine() shows what has no shape: controls, direction marks and halves of characters", () => {
  assert.equal(oneLine("\r\n\t\u202e\u0085"), "\\u{d}\\u{a}\\u{9}\\u{202e}\\u{85}");
  assert.equal(oneLine("a\ud800b"), "a\ufffdb");
  assert.equal(oneLine('{"Type": "vxlan"}'), '{"Type": "vxlan"}');
});
