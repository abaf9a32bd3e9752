/**
 * Netlink messages as tables: one table gives encoder, decoder and type.
 *
 * Owns headers, attributes and nesting. Knows no message of its own. What is absent is `undefined`, never 0.
 * Source: Linux `include/uapi/linux/netlink.h` (struct nlattr), `lib/nlattr.c`.
 *
 * @module
 */

import { type Field, text, type Wire, type Writer } from "./wire.ts";

/** Names of attributes with number and type. */
export type Attributes = Readonly<Record<string, readonly [number: number, type: Wire<never> | Wire<unknown>]>>;
/** Names of the fields of a fixed header, in order, with their types. */
export type Fields = Readonly<Record<string, Field>>;

type ValueOf<W> = W extends Wire<infer T> ? T : never;
/** The value of a table of attributes. */
export type AttributesOf<A extends Attributes> = { readonly [K in keyof A]?: ValueOf<A[K][1]> | undefined };
/** The value of a message: its header's fields and its attributes. */
export type Of<M> = M extends Message<infer F, infer A> ? { readonly [K in keyof F]?: number | undefined } & AttributesOf<A>
  : never;

/** Attributes inside an attribute. */
export function nested<const A extends Attributes>(attributes: A): Wire<AttributesOf<A>> {
  const codec = attributeCodec(attributes);
  return {
    size: 0,
    write: codec.write,
    read: (view, at, length) => {
      const value: Record<string, unknown> = {};
      codec.read(view, at, length, value);
      return value as AttributesOf<A>;
    },
  };
}

/**
 * A list: attributes with attributes inside, whose numbers mean nothing.
 *
 * Generic netlink checks strictly: its lists and what is in them must be marked, so the list itself is in its table under
 * `NESTED | number`.
 */
export function listOf<const A extends Attributes>(attributes: A): Wire<readonly AttributesOf<A>[]> {
  const entry = nested(attributes);
  return {
    size: 0,
    write(writer, values) {
      for (const value of values) {
        const start = writer.reserve(4);
        entry.write(writer, value);
        writer.view.setUint32(start, NESTED << 16 | (writer.at - start), true);
      }
    },
    read(view, at, length) {
      const values: AttributesOf<A>[] = [];
      eachAttribute(view, at, length, (_, start, size) => values.push(entry.read(view, start, size)!));
      return values;
    },
  };
}

/** A message: a fixed header, then attributes. */
export interface Message<F extends Fields, A extends Attributes> {
  readonly fields: F;
  readonly attributes: A;
  /** Bytes of the header, before the first attribute. */
  readonly headerSize: number;
  write(writer: Writer, value: { readonly [K in keyof F]?: number | undefined } & AttributesOf<A>): void;
  /** Reads a message's payload; `null` if it is too short for the header. */
  read(view: DataView, at: number, length: number): Of<Message<F, A>> | null;
}

/** Makes the codec of a message from its table. */
export function message<const F extends Fields, const A extends Attributes>(fields: F, attributes: A): Message<F, A> {
  let headerSize = 0;
  const header = Object.entries(fields).map(([name, type]) => {
    const offset = headerSize;
    headerSize += type.size;
    return { name, type, offset };
  });
  const codec = attributeCodec(attributes);
  return {
    fields,
    attributes,
    headerSize: (headerSize + 3) & ~3,
    write(writer, value) {
      const start = writer.reserve(headerSize);
      writer.bytes.fill(0, start, start + headerSize);
      for (let i = 0; i < header.length; i++) {
        const { name, type, offset } = header[i]!;
        const field = (value as Record<string, number | undefined>)[name];
        if (field !== undefined) type.put(writer, start + offset, field);
      }
      codec.write(writer, value);
    },
    read(view, at, length) {
      if (length < headerSize) return null;
      const value: Record<string, unknown> = {};
      for (const { name, type, offset } of header) value[name] = type.read(view, at + offset, type.size);
      const start = (headerSize + 3) & ~3;
      if (length > start) codec.read(view, at + start, length - start, value);
      return value as Of<Message<F, A>>;
    },
  };
}

/** Marks an attribute that holds attributes (NLA_F_NESTED). rtnetlink does without it. */
export const NESTED = 0x8000;
/** Bits of an attribute's type that are not its number: NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const TYPE_MASK = 0x3fff;

/** Where the value of an attribute stands among written ones. */
export function findAttribute(view: DataView, at: number, length: number, number: number): number {
  let found: number | undefined;
  eachAttribute(view, at, length, (other, start) => {
    if (other === number) found ??= start;
  });
  if (found === undefined) throw new TypeError(`There is no attribute ${number} in the message`);
  return found;
}

function attributeCodec(attributes: Attributes) {
  const entries = Object.entries(attributes).map(([name, [number, type]]) => ({ name, number, type: type as Wire<unknown> }));
  const byNumber: (typeof entries[number] | undefined)[] = [];
  for (const entry of entries) byNumber[entry.number & TYPE_MASK] = entry;
  return {
    write(writer: Writer, value: object): void {
      for (let i = 0; i < entries.length; i++) {
        const { name, number, type } = entries[i]!;
        const attribute = (value as Record<string, unknown>)[name];
        if (attribute === undefined) continue;
        const start = writer.reserve(4);
        type.write(writer, attribute);
        const length = type.size !== 0 ? 4 + type.size : type === text ? 5 + byteLength(attribute as string) : writer.at - start;
        writer.view.setUint32(start, number << 16 | length, true);
      }
    },
    read(view: DataView, at: number, length: number, value: Record<string, unknown>): void {
      eachAttribute(view, at, length, (number, start, size) => {
        const entry = byNumber[number];
        const attribute = entry?.type.read(view, start, size);
        if (attribute !== undefined) value[entry!.name] = attribute;
      });
    },
  };
}

/** Bytes of a string in UTF-8. */
function byteLength(value: string): number {
  return new TextEncoder().encode(value).length;
}

/** Goes through attributes; ends at the first whose length does not fit. A function is told of each, since a generator is slow. */
export function eachAttribute(
  view: DataView,
  at: number,
  length: number,
  visit: (number: number, start: number, size: number) => void,
): void {
  const end = at + length;
  while (at + 4 <= end) {
    const size = view.getUint16(at, true);
    if (size < 4 || at + size > end) return;
    visit(view.getUint16(at + 2, true) & TYPE_MASK, at + 4, size - 4);
    at += (size + 3) & ~3;
  }
}
