/**
 * The API server's protobuf bodies: the envelope around an object, lists and watches, taken apart while they arrive.
 *
 * One object at a time is in memory, whatever the size of the list. Source: Kubernetes, `apimachinery/pkg/runtime/generated.proto`,
 * `apimachinery/pkg/apis/meta/v1/generated.proto` and "Kubernetes Protobuf encoding" of the API documentation.
 *
 * @module
 */

import type { ByteReader } from "./byte_reader.ts";
import { BYTES, fields, messageIn, ProtobufError, text } from "./protobuf.ts";

/** An object with the kind that its envelope names. */
export interface Envelope {
  readonly kind: string;
  /** The object's own message. */
  readonly raw: Uint8Array;
}

/** What a list says of itself. */
export interface ListMeta {
  /** The state of the server that the list shows. */
  readonly version: string;
  /** Where the next page begins; empty after the last. */
  readonly next: string;
}

/** An event of a watch. */
export interface WireEvent {
  /** `ADDED`, `MODIFIED`, `DELETED`, `BOOKMARK` or `ERROR`. */
  readonly type: string;
  readonly object: Envelope;
}

/** What the server says when it refuses. */
export interface Status {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly retryAfterSeconds: number;
}

const MAGIC = "k8s\0";
const TYPE_META = 1;
const RAW = 2;

/**
 * Opens the envelope of one object.
 *
 * @throws {ProtobufError} If it is none.
 */
export function openEnvelope(bytes: Uint8Array): Envelope {
  if (text(bytes.subarray(0, 4)) !== MAGIC) throw new ProtobufError("the object does not begin as one of Kubernetes does");
  const unknown = bytes.subarray(4);
  return { kind: kindOf(messageIn(unknown, TYPE_META)), raw: messageIn(unknown, RAW) ?? new Uint8Array() };
}

/**
 * Reads a list and hands its items out one after the other.
 *
 * @param item Gets each item with the list's kind; the bytes are valid only during the call.
 * @throws {ProtobufError} If the body is cut short or no list.
 */
export async function readList(reader: ByteReader, item: (bytes: Uint8Array, listKind: string) => void): Promise<ListMeta> {
  if (text(await reader.take(4)) !== MAGIC) throw new ProtobufError("the list does not begin as one of Kubernetes does");
  let kind = "";
  let meta: ListMeta | null = null;
  while (!await reader.atEnd()) {
    const { number, length } = await fieldHead(reader);
    if (number === RAW) {
      if (!kind.endsWith("List")) throw new ProtobufError(`the server sent ${JSON.stringify(kind)} where a list was expected`);
      meta = await readItems(reader, reader.consumed + length, (bytes) => item(bytes, kind));
    } else {
      const value = await reader.take(length);
      if (number === TYPE_META) kind = kindOf(value);
    }
  }
  if (meta === null) throw new ProtobufError("the body ended before the list began");
  return meta;
}

async function readItems(reader: ByteReader, end: number, item: (bytes: Uint8Array) => void): Promise<ListMeta> {
  let meta: ListMeta = { version: "", next: "" };
  while (reader.consumed < end) {
    const { number, length } = await fieldHead(reader);
    if (reader.consumed + length > end) throw new ProtobufError("an item goes beyond its list");
    const value = await reader.take(length);
    if (number === 1) meta = listMeta(value);
    else if (number === 2) item(value);
  }
  return meta;
}

/** Lists and envelopes have no fields but those with a length. */
async function fieldHead(reader: ByteReader): Promise<{ number: number; length: number }> {
  const tag = await reader.varint();
  if (tag % 8 !== BYTES) throw new ProtobufError(`a list has a field of wire type ${tag % 8}`);
  return { number: Math.floor(tag / 8), length: await reader.varint() };
}

function listMeta(message: Uint8Array): ListMeta {
  let version = "", next = "";
  for (const [number, value] of fields(message)) {
    if (number === 2) version = text(value);
    else if (number === 3) next = text(value);
  }
  return { version, next };
}

/**
 * Reads a watch: each event is preceded by its length. What is handed out is valid until the next event is asked for.
 *
 * @throws {ProtobufError} If the body ends inside an event or the event is malformed.
 */
export async function* readWatch(reader: ByteReader): AsyncGenerator<WireEvent> {
  while (!await reader.atEnd()) {
    const head = await reader.take(4);
    const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0);
    const event = await reader.take(length);
    const object = messageIn(messageIn(event, 2) ?? new Uint8Array(), 1);
    if (object === null) throw new ProtobufError("an event of the watch has no object");
    yield { type: text(messageIn(event, 1) ?? new Uint8Array()), object: openEnvelope(object) };
  }
}

/** Reads a `Status`. */
export function readStatus(message: Uint8Array): Status {
  const status = { code: 0, reason: "", message: "", retryAfterSeconds: 0 };
  for (const [number, value] of fields(message)) {
    if (number === 3) status.message = text(value);
    else if (number === 4) status.reason = text(value);
    else if (number === 5 && typeof value !== "number") status.retryAfterSeconds = retryAfterIn(value);
    else if (number === 6 && typeof value === "number") status.code = value;
  }
  return status;
}

function retryAfterIn(details: Uint8Array): number {
  for (const [number, value] of fields(details)) if (number === 5 && typeof value === "number") return value;
  return 0;
}

function kindOf(typeMeta: Uint8Array | null): string {
  return text(messageIn(typeMeta ?? new Uint8Array(), 2) ?? new Uint8Array());
}
