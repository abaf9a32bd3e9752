/**
 * Netlink messages as tables: one table gives encoder, decoder and type.
 *
 * Owns the wire types (byte order is part of the type), attributes and nesting. Knows no message of its own. What is absent is
 * `undefined`, never 0; what a peer sends that does not fit its type is passed over, never read past.
 * Source: Linux `include/uapi/linux/netlink.h` (struct nlattr), `lib/nlattr.c`.
 *
 * @module
 */

import { type Ip, ipFromBytes, type Mac, macFromBytes, tryParseIp } from "../model/ip.ts";

/** Memory that messages are written into. It grows as needed. */
export class Writer {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  /** Where the next byte goes. */
  at = 0;

  constructor(size = 64 * 1024) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
  }

  /** Makes room for `count` bytes, which the caller writes, pads them with zeros to four, and returns where they begin. */
  reserve(count: number): number {
    const start = this.at;
    const end = start + ((count + 3) & ~3);
    if (end > this.bytes.length) {
      const grown = new Uint8Array(Math.max(end, this.bytes.length * 2));
      grown.set(this.bytes);
      this.bytes = grown;
      this.view = new DataView(grown.buffer);
    }
    this.at = end;
    if ((count & 3) !== 0) this.view.setUint32(end - 4, 0);
    return start;
  }
}

/** A type on the wire. */
export interface Wire<T> {
  /** Length in bytes; 0 if it varies. */
  readonly size: number;
  write(writer: Writer, value: T): void;
  /** Reads a value of exactly `length` bytes; `undefined` if they do not fit the type. */
  read(view: DataView, at: number, length: number): T | undefined;
}

/** A number of fixed size, as a field of a header. */
export interface Field extends Wire<number> {
  put(view: DataView, at: number, value: number): void;
}

/** Made of closures with literal calls: engines compile those to single instructions. */
function number(size: number, put: Field["put"], get: (view: DataView, at: number) => number): Field {
  return {
    size,
    put,
    write: (writer, value) => put(writer.view, writer.reserve(size), value),
    read: (view, at, length) => length === size ? get(view, at) : undefined,
  };
}

/** An unsigned byte. */
export const u8: Field = number(1, (view, at, value) => view.setUint8(at, value), (view, at) => view.getUint8(at));
/** A 16-bit number in the machine's order, which is little-endian on x64 and arm64. */
export const u16: Field = number(2, (view, at, value) => view.setUint16(at, value, true), (view, at) => view.getUint16(at, true));
/** A 32-bit number in the machine's order. */
export const u32: Field = number(4, (view, at, value) => view.setUint32(at, value, true), (view, at) => view.getUint32(at, true));
/** A signed 32-bit number in the machine's order. */
export const i32: Field = number(4, (view, at, value) => view.setInt32(at, value, true), (view, at) => view.getInt32(at, true));
/** A 16-bit number in network order, for example a UDP port. */
export const be16: Field = number(2, (view, at, value) => view.setUint16(at, value), (view, at) => view.getUint16(at));

/** An attribute whose presence is its value. */
export const flag: Wire<true> = {
  size: 0,
  write: () => {},
  read: () => true,
};

/** A NUL-terminated string. */
export const text: Wire<string> = {
  size: 0,
  write(writer, value) {
    const bytes = new TextEncoder().encode(value);
    const at = writer.reserve(bytes.length + 1);
    writer.bytes.set(bytes, at);
    writer.bytes[at + bytes.length] = 0;
  },
  read(view, at, length) {
    const bytes = new Uint8Array(view.buffer, view.byteOffset + at, length);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  },
};

/** An IPv4 or IPv6 address; its length says which. */
export const ip: Wire<Ip> = {
  size: 0,
  write(writer, value) {
    if (value.includes(":")) writeIpv6(writer, value);
    else writer.view.setUint32(writer.reserve(4), ipv4Number(value));
  },
  read(view, at, length) {
    if (length === 4) {
      const n = view.getUint32(at);
      return `${n >>> 24}.${n >>> 16 & 255}.${n >>> 8 & 255}.${n & 255}` as Ip;
    }
    return length === 16 ? ipFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, 16)) : undefined;
  },
};

/** A canonical IPv4 address as a number; quick, since a batch holds thousands. */
export function ipv4Number(value: Ip): number {
  let number = 0;
  let part = 0;
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c === 0x2e) {
      number = number * 256 + part;
      part = 0;
    } else part = part * 10 + c - 0x30;
  }
  return number * 256 + part;
}

/** A canonical IPv6 address, written group by group. */
function writeIpv6(writer: Writer, value: Ip): void {
  const start = writer.reserve(16);
  const { view } = writer;
  writer.bytes.fill(0, start, start + 16);
  let at = start;
  let group = 0;
  let gap = -1;
  let open = false; // digits of a group have been read
  for (let i = 0; i < value.length; i++) {
    const c = value.charCodeAt(i);
    if (c === 0x3a) {
      if (open) {
        view.setUint16(at, group);
        at += 2;
        group = 0;
        open = false;
      }
      if (value.charCodeAt(i + 1) === 0x3a) gap = at;
    } else if (c === 0x2e) {
      return writeMapped(writer, start, value);
    } else {
      group = group << 4 | (c <= 0x39 ? c - 0x30 : c - 0x57);
      open = true;
    }
  }
  if (open) {
    view.setUint16(at, group);
    at += 2;
  }
  if (gap >= 0 && at < start + 16) {
    writer.bytes.copyWithin(start + 16 - (at - gap), gap, at);
    writer.bytes.fill(0, gap, start + 16 - (at - gap));
  }
}

/** `::ffff:a.b.c.d`, the one canonical form with dots. */
function writeMapped(writer: Writer, start: number, value: Ip): void {
  writer.bytes.fill(0, start, start + 10);
  writer.view.setUint16(start + 10, 0xffff);
  writer.view.setUint32(start + 12, ipv4Number(tryParseIp(value.slice(value.lastIndexOf(":") + 1))!));
}

/** A MAC address. */
export const mac: Wire<Mac> = {
  size: 6,
  write(writer, value) {
    const at = writer.reserve(6);
    for (let i = 0; i < 6; i++) writer.bytes[at + i] = hex(value, 3 * i) << 4 | hex(value, 3 * i + 1);
  },
  read: (view, at, length) => length === 6 ? macFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, 6)) : undefined,
};

function hex(value: string, at: number): number {
  const c = value.charCodeAt(at);
  return c <= 0x39 ? c - 0x30 : c - 0x57;
}

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

/** A message: a fixed header, then attributes. */
export interface Message<F extends Fields, A extends Attributes> {
  readonly fields: F;
  readonly attributes: A;
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
    write(writer, value) {
      const start = writer.reserve(headerSize);
      writer.bytes.fill(0, start, start + headerSize);
      for (let i = 0; i < header.length; i++) {
        const { name, type, offset } = header[i]!;
        const field = (value as Record<string, number | undefined>)[name];
        if (field !== undefined) type.put(writer.view, start + offset, field);
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

/** Bits of an attribute's type that are not its number: NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
const TYPE_MASK = 0x3fff;

function attributeCodec(attributes: Attributes) {
  const entries = Object.entries(attributes).map(([name, [number, type]]) => ({ name, number, type: type as Wire<unknown> }));
  const byNumber: (typeof entries[number] | undefined)[] = [];
  for (const entry of entries) byNumber[entry.number] = entry;
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
      for (const [number, start, size] of eachAttribute(view, at, length)) {
        const entry = byNumber[number];
        if (entry === undefined) continue;
        const attribute = entry.type.read(view, start, size);
        if (attribute !== undefined) value[entry.name] = attribute;
      }
    },
  };
}

/** Bytes of a string in UTF-8. */
function byteLength(value: string): number {
  return new TextEncoder().encode(value).length;
}

/** Goes through attributes; ends at the first whose length does not fit. */
export function* eachAttribute(
  view: DataView,
  at: number,
  length: number,
): Generator<readonly [number: number, start: number, size: number]> {
  const end = at + length;
  while (at + 4 <= end) {
    const size = view.getUint16(at, true);
    if (size < 4 || at + size > end) return;
    yield [view.getUint16(at + 2, true) & TYPE_MASK, at + 4, size - 4];
    at += (size + 3) & ~3;
  }
}
