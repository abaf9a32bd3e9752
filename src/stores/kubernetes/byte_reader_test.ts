/**
 * Runs of bytes out of pieces, however the pieces are cut.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { varint } from "../../../test/kubernetes/bytes.ts";
import { ByteReader } from "./byte_reader.ts";
import { ProtobufError } from "./protobuf.ts";

/** A body in pieces of a size, and how many of them were asked for. */
function body(bytes: Uint8Array, size: number) {
  const pieces = { asked: 0 };
  async function* read() {
    for (let at = 0; at < bytes.length; at += size) {
      pieces.asked++;
      yield bytes.subarray(at, at + size);
    }
  }
  return { reader: new ByteReader(read()), pieces };
}

for (const size of [1, 2, 7, 100_000]) {
  test(`runs and numbers are the same in pieces of ${size} bytes`, async () => {
    const long = Buffer.alloc(70_000, "long");
    const { reader } = body(Buffer.concat([Buffer.from("ab"), varint(300), long, Buffer.from("end")]), size);
    assert.equal((await reader.take(2)).toString(), "ab");
    assert.equal(await reader.varint(), 300);
    assert.ok((await reader.take(long.length)).equals(long));
    assert.ok(!await reader.atEnd());
    assert.equal((await reader.take(3)).toString(), "end");
    assert.ok(await reader.atEnd());
    assert.equal(reader.consumed, 2 + 2 + 70_000 + 3);
  });
}

test("the next piece is asked for only when it is needed", async () => {
  const { reader, pieces } = body(Buffer.alloc(1000), 100);
  await reader.take(150);
  assert.equal(pieces.asked, 2);
  await reader.take(50);
  assert.equal(pieces.asked, 2);
});

test("a body that ends too early, in a run or in a number, is an error", async () => {
  await assert.rejects(body(Buffer.from("abc"), 2).reader.take(5), /ended 2 bytes too early/);
  await assert.rejects(body(Buffer.of(0xff, 0xff), 1).reader.varint(), ProtobufError);
});

test("a run that is longer than any object is an error before it is waited for", async () => {
  const { reader, pieces } = body(Buffer.alloc(10), 10);
  await assert.rejects(reader.take(2 ** 32), /one object claims 4294967296 bytes/);
  assert.equal(pieces.asked, 0);
});
