/**
 * The wire format by hand, and what holds of bytes that are anything.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { message, varint } from "../../../test/kubernetes/bytes.ts";
import { seeded } from "../../../test/seed.ts";
import { Cursor, ProtobufError } from "./protobuf.ts";

/** All that a message says. */
function all(bytes: Buffer): unknown[] {
  const found: unknown[] = [];
  for (const cursor = new Cursor(bytes); cursor.next();) {
    found.push([cursor.number, cursor.length > 0 ? cursor.text() : cursor.value]);
  }
  return found;
}

test("a cursor gives numbers and texts in the order in which they were written", () => {
  const bytes = message([1, "a"], [2, 150], [1, "b"], [2047, 2 ** 40]);
  assert.deepEqual(all(bytes), [[1, "a"], [2, 150], [1, "b"], [2047, 2 ** 40]]);
});

test("a cursor skips fields of 32 and 64 bits, and goes on behind them", () => {
  const bytes = Buffer.concat([Buffer.of(8 + 5, 1, 2, 3, 4), Buffer.of(16 + 1, 1, 2, 3, 4, 5, 6, 7, 8), message([3, "x"])]);
  const cursor = new Cursor(bytes);
  assert.ok(cursor.find(3));
  assert.equal(cursor.text(), "x");
});

test("find() goes to the first field with a number, and says if there is none", () => {
  const cursor = new Cursor(message([1, "a"], [2, "b"], [2, "c"]));
  assert.ok(cursor.find(2));
  assert.equal(cursor.text(), "b");
  assert.ok(cursor.find(2));
  assert.ok(!cursor.find(2));
});

test("a message inside a message ends where it ends", () => {
  const cursor = new Cursor(message([1, message([7, "in"])], [2, "out"]));
  assert.ok(cursor.next());
  const inside = cursor.inside();
  assert.ok(inside.next());
  assert.deepEqual([inside.number, inside.text()], [7, "in"]);
  assert.ok(!inside.next());
});

test("text() stops after so many bytes, and startsWith() compares no further than the field", () => {
  const cursor = new Cursor(message([1, "abcdef"], [2, "ab"]));
  assert.ok(cursor.next());
  assert.equal(cursor.text(3), "abc");
  assert.ok(cursor.startsWith(Buffer.from("abc")));
  assert.ok(cursor.next());
  assert.ok(!cursor.startsWith(Buffer.from("abc")), "what stands behind the field does not count");
});

test("a message that is cut short anywhere is an error or has fewer fields, never others", () => {
  const bytes = message([1, "first"], [2, 300], [3, "third"]);
  const whole = all(bytes);
  for (let end = 0; end < bytes.length; end++) {
    try {
      const found = all(bytes.subarray(0, end));
      assert.deepEqual(found, whole.slice(0, found.length));
    } catch (error) {
      assert.ok(error instanceof ProtobufError, String(error));
    }
  }
});

for (
  const [what, bytes] of [
    ["a field with the number 0", Buffer.of(0x00, 0x01)],
    ["the wire type of a group", Buffer.of(0x0b)],
    ["a length beyond the message", Buffer.of(0x0a, 0x7f, 0x00)],
    ["a length of 2^63", Buffer.concat([Buffer.of(0x0a), varint(2 ** 63)])],
    ["a number that never ends", Buffer.alloc(20, 0xff)],
  ] as const
) {
  test(`${what} is an error`, () => assert.throws(() => all(bytes), ProtobufError));
}

test("random bytes end in an error or an end, and never give what is outside of them", () => {
  const { below } = seeded(5);
  const around = Buffer.alloc(64, "z");
  for (let round = 0; round < 5000; round++) {
    const bytes = Buffer.from(around);
    const length = below(40);
    for (let i = 0; i < length; i++) bytes[i] = below(10) < 5 ? below(24) : below(121);
    try {
      for (const cursor = new Cursor(bytes, 0, length); cursor.next();) assert.ok(!cursor.text().includes("z"));
    } catch (error) {
      assert.ok(error instanceof ProtobufError, String(error));
    }
  }
});
