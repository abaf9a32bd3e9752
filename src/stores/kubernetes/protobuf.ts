/**
 * Reads protobuf messages by field number and skips what is not asked for.
 *
 * Knows the wire format and nothing of Kubernetes. A message stays where it is: a cursor walks over its fields, makes nothing on its
 * way, and gives a value only to who asks for it. Whatever the bytes are, reading ends, and never goes beyond the message. Source: the
 * encoding chapter of the protobuf documentation.
 *
 * @module
 */

import type { Buffer } from "node:buffer";

/** Bytes that are no protobuf message: cut short, or something else. */
export class ProtobufError extends Error {
  override readonly name = "ProtobufError";
}

/** The wire type of a field that has a length. */
export const BYTES = 2;
const VARINT = 0;
const FIXED64 = 1;
const FIXED32 = 5;

/** Ten groups of seven bits are enough for any number. */
export const LONGEST_VARINT = 10;

/**
 * Walks over the fields of a message, in the order in which they were written.
 *
 * @example Usage
 * ```ts
 * import { Cursor } from "./protobuf.ts";
 * import assert from "node:assert/strict";
 * import { Buffer } from "node:buffer";
 *
 * const cursor = new Cursor(Buffer.of(0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69));
 * assert.ok(cursor.next());
 * assert.deepEqual([cursor.number, cursor.value], [1, 150]);
 * assert.ok(cursor.next());
 * assert.deepEqual([cursor.number, cursor.text()], [2, "hi"]);
 * assert.ok(!cursor.next());
 * ```
 */
export class Cursor {
  /** The number of the field that {@linkcode Cursor.next} went to. */
  number = 0;
  /** What a numeric field holds; the topmost bits of those beyond 2^53 are lost. 0 for all others. */
  value = 0;
  readonly #bytes: Buffer;
  readonly #end: number;
  #at: number;
  #from = 0;
  #length = 0;

  /** @param bytes The message, or from `from` to `end` some of them. */
  constructor(bytes: Buffer, from = 0, end: number = bytes.length) {
    this.#bytes = bytes;
    this.#at = from;
    this.#end = end;
  }

  /**
   * Goes to the next field; false after the last.
   *
   * @throws {ProtobufError} If the message is cut short or malformed.
   */
  next(): boolean {
    if (this.#at >= this.#end) return false;
    const tag = this.#varint();
    this.number = Math.floor(tag / 8);
    if (this.number === 0) throw new ProtobufError("a field has the number 0");
    const wire = tag % 8;
    this.value = wire === VARINT ? this.#varint() : 0;
    this.#length = wire === BYTES ? this.#varint() : wire === FIXED64 ? 8 : wire === FIXED32 ? 4 : wire === VARINT ? 0 : NaN;
    if (!(this.#length <= this.#end - this.#at)) {
      throw new ProtobufError(`field ${this.number} goes beyond its message, or is none`);
    }
    this.#from = this.#at;
    this.#at += this.#length;
    return true;
  }

  /** Goes to the next field with this number; false if there is none. */
  find(number: number): boolean {
    while (this.next()) if (this.number === number) return true;
    return false;
  }

  /** The length of the field, in bytes. */
  get length(): number {
    return this.#length;
  }

  /** The field as text, of which at most so many bytes. */
  text(atMost = Infinity): string {
    return this.#bytes.toString("utf8", this.#from, this.#from + Math.min(this.#length, atMost));
  }

  /** Whether the field begins with these bytes. */
  startsWith(prefix: Uint8Array): boolean {
    return this.#length >= prefix.length && prefix.every((byte, i) => this.#bytes[this.#from + i] === byte);
  }

  /** A cursor over the field as a message. */
  inside(): Cursor {
    return new Cursor(this.#bytes, this.#from, this.#from + this.#length);
  }

  /** The field's bytes, in the place where they are. */
  view(): Buffer {
    return this.#bytes.subarray(this.#from, this.#from + this.#length);
  }

  #varint(): number {
    const length = varintLength(this.#bytes, this.#at, this.#end);
    if (length === 0) throw new ProtobufError("the message ends inside a number");
    const value = readVarint(this.#bytes, this.#at, length);
    this.#at += length;
    return value;
  }
}

/**
 * How many bytes a varint has; 0 if `end` comes before its own.
 *
 * @throws {ProtobufError} If it is longer than any number.
 */
export function varintLength(bytes: Uint8Array, from: number, end: number): number {
  for (let i = 0; i < LONGEST_VARINT; i++) {
    if (from + i >= end) return 0;
    if (bytes[from + i]! < 0x80) return i + 1;
  }
  throw new ProtobufError("a number is longer than ten bytes");
}

/** A number of seven bits a byte, least first. */
export function readVarint(bytes: Uint8Array, from: number, length: number): number {
  let value = 0;
  for (let i = length - 1; i >= 0; i--) value = value * 128 + (bytes[from + i]! & 0x7f);
  return value;
}
