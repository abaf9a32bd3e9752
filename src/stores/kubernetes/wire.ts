/**
 * The API server's protobuf bodies: the envelope around an object, lists and watches, taken apart while they arrive.
 *
 * One object at a time is in memory, whatever the size of the list. Source: Kubernetes, `apimachinery/pkg/runtime/generated.proto`,
 * `apimachinery/pkg/apis/meta/v1/generated.proto` and "Kubernetes Protobuf encoding" of the API documentation.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import type { ByteReader } from "./byte_reader.ts";
import { BYTES, Cursor, ProtobufError } from "./protobuf.ts";

/** An object with the kind that its envelope names. */
export interface Envelope {
  readonly kind: string;
  /** At the beginning of the object's own message. */
  readonly message: Cursor;
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
export function openEnvelope(bytes: Buffer): Envelope {
  if (bytes.toString("latin1", 0, 4) !== MAGIC) throw new ProtobufError("the object does not begin as one of Kubernetes does");
  const unknown = new Cursor(bytes, 4);
  let kind = "", message: Cursor | null = null;
  while (unknown.next()) {
    if (unknown.number === TYPE_META) kind = kindIn(unknown.inside());
    else if (unknown.number === RAW) message = unknown.inside();
  }
  if (message === null) throw new ProtobufError("the object's envelope is empty");
  return { kind, message };
}

/**
 * Reads a list and hands its items out one after the other.
 *
 * @param item Gets each item with the list's kind; what it gets is valid only during the call.
 * @throws {ProtobufError} If the body is cut short or no list.
 */
export async function readList(reader: ByteReader, item: (message: Cursor, listKind: string) => void): Promise<ListMeta> {
  if ((await reader.take(4)).toString("latin1") !== MAGIC) {
    throw new ProtobufError("the list does not begin as one of Kubernetes does");
  }
  let kind = "";
  let meta: ListMeta | null = null;
  while (!await reader.atEnd()) {
    const { number, length } = await fieldHead(reader);
    if (number === RAW) {
      if (!kind.endsWith("List")) throw new ProtobufError(`the server sent ${JSON.stringify(kind)} where a list was expected`);
      meta = await readItems(reader, reader.consumed + length, (message) => item(message, kind));
    } else {
      const value = await reader.take(length);
      if (number === TYPE_META) kind = kindIn(new Cursor(value));
    }
  }
  if (meta === null) throw new ProtobufError("the body ended before the list began");
  return meta;
}

async function readItems(reader: ByteReader, end: number, item: (message: Cursor) => void): Promise<ListMeta> {
  let meta: ListMeta = { version: "", next: "" };
  while (reader.consumed < end) {
    const { number, length } = await fieldHead(reader);
    if (reader.consumed + length > end) throw new ProtobufError("an item goes beyond its list");
    const value = new Cursor(await reader.take(length));
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

function listMeta(message: Cursor): ListMeta {
  let version = "", next = "";
  while (message.next()) {
    if (message.number === 2) version = message.text();
    else if (message.number === 3) next = message.text();
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
    const length = (await reader.take(4)).readUInt32BE(0);
    const event = new Cursor(await reader.take(length));
    let type = "", object: Envelope | null = null;
    while (event.next()) {
      if (event.number === 1) type = event.text();
      else if (event.number === 2) object = rawExtension(event.inside());
    }
    if (object === null) throw new ProtobufError("an event of the watch has no object");
    yield { type, object };
  }
}

function rawExtension(message: Cursor): Envelope {
  if (!message.find(1)) throw new ProtobufError("an event of the watch has an empty object");
  return openEnvelope(message.view());
}

/** Reads a `Status`. */
export function readStatus(message: Cursor): Status {
  const status = { code: 0, message: "", retryAfterSeconds: 0 };
  while (message.next()) {
    if (message.number === 3) status.message = message.text();
    else if (message.number === 5) status.retryAfterSeconds = retryAfterIn(message.inside());
    else if (message.number === 6) status.code = message.value;
  }
  return status;
}

function retryAfterIn(details: Cursor): number {
  return details.find(5) ? details.value : 0;
}

function kindIn(typeMeta: Cursor): string {
  return typeMeta.find(2) ? typeMeta.text() : "";
}
