/**
 * Members of JSON objects, places of errors, and the agreement with JSON.parse on random texts.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { splitObject } from "./json_object.ts";

test("splitObject() gives members in their order, repeated ones too, with values as they are written", () => {
  assert.deepEqual(splitObject(' {"a" : 24.0 ,\n"A":"x\\u0041","a":[1,{"b":null}], "\\u0063": -0e+1}\r\n'), [
    { key: "a", text: "24.0" },
    { key: "A", text: '"x\\u0041"' },
    { key: "a", text: '[1,{"b":null}]' },
    { key: "c", text: "-0e+1" },
  ]);
  assert.deepEqual(splitObject("{}"), []);
  assert.deepEqual(splitObject("{ }"), []);
});

const WRONG: readonly (readonly [text: string, message: string])[] = [
  ["", "line 1, column 1: expected an object in braces, found the end of the text"],
  ["[]", "line 1, column 1: expected an object in braces, found ["],
  ["null", "line 1, column 1: expected an object in braces, found n"],
  ["\ufeff{}", "line 1, column 1: expected an object in braces, found \\u{feff}"],
  ["{", "line 1, column 2: expected a key in quotes, found the end of the text"],
  ["{,}", "line 1, column 2: expected a key in quotes, found ,"],
  ['{"a"}', 'line 1, column 5: expected ":", found }'],
  ['{"a":}', "line 1, column 6: expected a value, found }"],
  ['{"a":1,}', "line 1, column 8: expected a key in quotes, found }"],
  ['{"a":1 "b":2}', 'line 1, column 8: expected "," or "}", found "'],
  ['{"a":1\n  "b":2}', 'line 2, column 3: expected "," or "}", found "'],
  ['{\n\n "a": [1,\n2', 'line 4, column 2: expected "," or "]", found the end of the text'],
  ['{"a":[1,]}', "line 1, column 9: expected a value, found ]"],
  ['{"a":{"b"}}', 'line 1, column 10: expected ":", found }'],
  ['{"a":01}', "line 1, column 6: expected a value, found 0"],
  ['{"a":1.}', "line 1, column 6: expected a value, found 1"],
  ['{"a":+1}', "line 1, column 6: expected a value, found +"],
  ['{"a":NaN}', "line 1, column 6: expected a value, found N"],
  ['{"a":True}', "line 1, column 6: expected a value, found T"],
  ['{"a":nullx}', "line 1, column 6: expected a value, found n"],
  ['{"a":"x\ny"}', 'line 1, column 8: expected the rest of a string and its closing ", found \\u{a}'],
  ['{"a":"\\x"}', 'line 1, column 7: expected the rest of a string and its closing ", found \\'],
  ['{"a":"', 'line 1, column 7: expected the rest of a string and its closing ", found the end of the text'],
  ["{'a':1}", "line 1, column 2: expected a key in quotes, found '"],
  ["{} x", "line 1, column 4: expected nothing more, found x"],
  ["{}{}", "line 1, column 3: expected nothing more, found {"],
  ['{"a":1} // x', "line 1, column 9: expected nothing more, found /"],
];

test("splitObject() says where the text is wrong", () => {
  for (const [text, message] of WRONG) assert.throws(() => splitObject(text), { name: "SyntaxError", message }, text);
});

test("splitObject() refuses what is nested without end, and does not overflow", () => {
  const nested = (depth: number) => `{"a":${"[".repeat(depth)}${"]".repeat(depth)}}`;
  assert.equal(splitObject(nested(99)).length, 1);
  assert.throws(() => splitObject(nested(100)), /expected no more than 100 values inside each other/);
  assert.throws(() => splitObject(`{"a":${"[".repeat(1_000_000)}`), SyntaxError);
  assert.throws(() => splitObject('{"a":'.repeat(1_000_000)), SyntaxError);
});

test("splitObject() takes long strings and numbers in their stride", () => {
  const long = "x".repeat(2_000_000);
  assert.equal(splitObject(`{"a":"${long}"}`)[0]?.text.length, 2_000_002);
  assert.throws(() => splitObject(`{"a":"${long}`), SyntaxError);
  assert.throws(() => splitObject(`{"a":${"1".repeat(1_000_000)}x}`), SyntaxError);
});

test("splitObject() accepts exactly the objects that JSON.parse accepts, and the same values", () => {
  const words = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    '"',
    '"a"',
    '"b\\n"',
    "\\",
    "\\u00",
    "1",
    "-",
    "0",
    ".5",
    "e1",
    "true",
    "null",
    " ",
    "\n",
    "\0",
    "\x7f",
    "é",
    "\ud83d",
    "{}",
    '{"a":1}',
  ];
  let seed = 1;
  let accepted = 0;
  const next = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  for (let i = 0; i < 100_000; i++) {
    const inner = Array.from({ length: next(7) }, () => words[next(words.length)]).join("");
    const text = next(3) === 0 ? inner : `{"k":${inner}${next(2) === 0 ? "}" : ',"l":[0]}'}`;
    let expected: unknown;
    try {
      expected = JSON.parse(text);
    } catch {
      expected = undefined;
    }
    if (typeof expected !== "object" || expected === null || Array.isArray(expected)) {
      assert.throws(() => splitObject(text), SyntaxError, JSON.stringify(text));
    } else {
      accepted++;
      const members = splitObject(text).map(({ key, text }) => [key, JSON.parse(text)]);
      assert.deepEqual(Object.fromEntries(members), expected, JSON.stringify(text));
    }
  }
  assert.ok(accepted > 1000, `only ${accepted} texts were JSON objects`);
});
