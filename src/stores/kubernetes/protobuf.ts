/**
 * Reads protobuf messages by field number and skips what is not asked for.
 *
 * Knows the wire format and nothing of Kubernetes. A message is never copied: what is handed out are views of its bytes. Whatever the
 * bytes are, reading ends, and never goes beyond them. Source: the encoding chapter of the protobuf documentation.
 *
 * @module
 */

/** Bytes that are no protobuf message: cut short, or something else. */
export class ProtobufError extends Error {
  override readonly name = "ProtobufError";
}

/** A field: its number, and a number for the numeric wire types or the bytes of what has a length. */
export type Field = readonly [number: number, value: number | Uint8Array];

/**
 * The fields of a message in the order in which they were written.
 *
 * @throws {ProtobufError} While iterating, if the message is cut short or malformed.
 *
 * @example Usage
 * ```ts
 * import { fields, text } from "./protobuf.ts";
 * import assert from "node:assert/strict";
 *
 * const message = Uint8Array.of(0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69);
 * const [[one, number], [two, bytes]] = [...fields(message)];
 * assert.deepEqual([one, number, two, text(bytes)], [1, 150, 2, "hi"]);
 * ```
 */
export function* fields(message: Uint8Array): Generator<Field> {
  const cursor = new Cursor(message);
  while (!cursor.atEnd) {
    const tag = cursor.varint();
    const number = Math.floor(tag / 8);
    if (number === 0) throw new ProtobufError("a field has the number 0");
    switch (tag % 8) {
      case VARINT:
        yield [number, cursor.varint()];
        break;
      case BYTES:
        yield [number, cursor.bytes(cursor.varint())];
        break;
      case FIXED64:
        cursor.bytes(8); // no field that anyone here reads is one
        break;
      case FIXED32:
        cursor.bytes(4);
        break;
      default:
        throw new ProtobufError(`field ${number} has the unknown wire type ${tag % 8}`);
    }
  }
}

/** The bytes of the last field with a number, or `null`: a message inside a message, of which only one is expected. */
export function messageIn(message: Uint8Array, number: number): Uint8Array | null {
  let found: Uint8Array | null = null;
  for (const [field, value] of fields(message)) if (field === number && typeof value !== "number") found = value;
  return found;
}

/** The text that a field holds; empty for a number. */
export function text(value: number | Uint8Array): string {
  return typeof value === "number" ? "" : UTF8.decode(value);
}

/** The wire type of a field that has a length. */
export const BYTES = 2;
const VARINT = 0;
const FIXED64 = 1;
const FIXED32 = 5;
const UTF8 = new TextDecoder();

/** Ten groups of seven bits are enough for any number. */
export const LONGEST_VARINT = 10;

/**
 * A number of seven bits a byte, least first; the topmost bits of those beyond 2^53 are lost.
 *
 * @returns The number and the place after it, or `null` if the bytes end before it does.
 * @throws {ProtobufError} If it is longer than any number.
 */
export function readVarint(bytes: Uint8Array, at: number): readonly [value: number, end: number] | null {
  let value = 0;
  for (let i = 0, unit = 1; i < LONGEST_VARINT; i++, unit *= 128) {
    const byte = bytes[at + i];
    if (byte === undefined) return null;
    value += (byte & 0x7f) * unit;
    if (byte < 0x80) return [value, at + i + 1];
  }
  throw new ProtobufError("a number is longer than ten bytes");
}

class Cursor {
  #at = 0;
  readonly #message: Uint8Array;

  constructor(message: Uint8Array) {
    this.#message = message;
  }

  get atEnd(): boolean {
    return this.#at >= this.#message.length;
  }

  varint(): number {
    const read = readVarint(this.#message, this.#at);
    if (read === null) throw new ProtobufError("the message ends inside a number");
    this.#at = read[1];
    return read[0];
  }

  bytes(length: number): Uint8Array {
    const end = this.#at + length;
    if (end > this.#message.length) throw new ProtobufError(`a field of ${length} bytes goes beyond the message`);
    const view = this.#message.subarray(this.#at, end);
    this.#at = end;
    return view;
  }
}
