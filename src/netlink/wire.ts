/**
 * Wire types: how single values stand in netlink messages, and the memory that they are written into.
 *
 * Byte order is part of the type. What a peer sends that does not fit its type reads as `undefined`; nothing is read past its length.
 * Source: Linux `include/uapi/linux/netlink.h`.
 *
 * @module
 */

import { type Cidr, type Ip, ipFromBytes, type Mac, macFromBytes, networkOf, tryParseIp } from "../model/ip.ts";
import { ipv4Number } from "../model/ipv4.ts";

/** Memory that messages are written into. It grows as needed. */
export class Writer {
  bytes: Uint8Array<ArrayBuffer>;
  view: DataView;
  /** The same memory as 32-bit words. */
  words: Uint32Array;
  /** Where the next byte goes; a multiple of four. */
  at = 0;

  /** @param size Bytes to begin with, a multiple of four. */
  constructor(size = 64 * 1024) {
    this.bytes = new Uint8Array(size);
    this.view = new DataView(this.bytes.buffer);
    this.words = new Uint32Array(this.bytes.buffer);
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
      this.words = new Uint32Array(grown.buffer);
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
  /** Writes over a value of the same length, where the type allows that. */
  put?(writer: Writer, at: number, value: T): void;
  /** Reads a value of exactly `length` bytes; `undefined` if they do not fit the type. */
  read(view: DataView, at: number, length: number): T | undefined;
}

/** A number of fixed size, as a field of a header. */
export interface Field extends Wire<number> {
  put(writer: Writer, at: number, value: number): void;
}

/** Made of closures with literal calls: engines compile those to single instructions. */
function number(size: number, put: Field["put"], get: (view: DataView, at: number) => number): Field {
  return {
    size,
    put,
    write: (writer, value) => put(writer, writer.reserve(size), value),
    read: (view, at, length) => length === size ? get(view, at) : undefined,
  };
}

/** An unsigned byte. */
export const u8: Field = number(1, ({ view }, at, value) => view.setUint8(at, value), (view, at) => view.getUint8(at));
/** A 16-bit number in the machine's order, which is little-endian on x64 and arm64. */
export const u16: Field = number(
  2,
  ({ view }, at, value) => view.setUint16(at, value, true),
  (view, at) => view.getUint16(at, true),
);
/** A 32-bit number in the machine's order. */
export const u32: Field = number(
  4,
  ({ view }, at, value) => view.setUint32(at, value, true),
  (view, at) => view.getUint32(at, true),
);
/** A signed 32-bit number in the machine's order. */
export const i32: Field = number(4, ({ view }, at, value) => view.setInt32(at, value, true), (view, at) => view.getInt32(at, true));
/** A 32-bit number in network order, as all of nf_tables' are. */
export const be32: Field = number(4, ({ view }, at, value) => view.setUint32(at, value), (view, at) => view.getUint32(at));
/** A 16-bit number in network order, for example a UDP port. */
export const be16: Field = number(2, ({ view }, at, value) => view.setUint16(at, value), (view, at) => view.getUint16(at));

/** An attribute whose presence is its value. */
export const flag: Wire<true> = {
  size: 0,
  write: () => {},
  read: () => true,
};

const DECODER = new TextDecoder();

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
    return DECODER.decode(end < 0 ? bytes : bytes.subarray(0, end));
  },
};

/** An IPv4 or IPv6 address; its length says which. */
export const ip: Wire<Ip> = {
  size: 0,
  write: (writer, value) => putIp(writer, writer.reserve(value.includes(":") ? 16 : 4), value),
  put: putIp,
  read(view, at, length) {
    if (length === 4) {
      const n = view.getUint32(at);
      return `${n >>> 24}.${n >>> 16 & 255}.${n >>> 8 & 255}.${n & 255}` as Ip;
    }
    return length === 16 ? ipFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, 16)) : undefined;
  },
};

function putIp(writer: Writer, at: number, value: Ip): void {
  if (value.includes(":")) putIpv6(writer, at, value);
  else writer.view.setUint32(at, ipv4Number(value));
}

/** The address of a prefix; how long the prefix is stands elsewhere in its message. */
export const prefix: Wire<Cidr | Ip> = {
  size: 0,
  write: (writer, value) => putPrefix(writer, writer.reserve(value.includes(":") ? 16 : 4), value),
  put: putPrefix,
  read: (view, at, length) => ip.read(view, at, length),
};

function putPrefix(writer: Writer, at: number, value: Cidr | Ip): void {
  if (!value.includes(":")) writer.view.setUint32(at, ipv4Number(value));
  else putIpv6(writer, at, value.includes("/") ? networkOf(value as Cidr) : value as Ip);
}

/** A canonical IPv6 address, written group by group. */
function putIpv6(writer: Writer, start: number, value: Ip): void {
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
      return putMapped(writer, start, value);
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
function putMapped(writer: Writer, start: number, value: Ip): void {
  writer.bytes.fill(0, start, start + 10);
  writer.view.setUint16(start + 10, 0xffff);
  writer.view.setUint32(start + 12, ipv4Number(tryParseIp(value.slice(value.lastIndexOf(":") + 1))!));
}

/** A MAC address. */
export const mac: Wire<Mac> = {
  size: 6,
  write: (writer, value) => putMac(writer, writer.reserve(6), value),
  put: putMac,
  read: (view, at, length) => length === 6 ? macFromBytes(new Uint8Array(view.buffer, view.byteOffset + at, 6)) : undefined,
};

function putMac(writer: Writer, at: number, value: Mac): void {
  for (let i = 0; i < 6; i++) writer.bytes[at + i] = hex(value, 3 * i) << 4 | hex(value, 3 * i + 1);
}

function hex(value: string, at: number): number {
  const c = value.charCodeAt(at);
  return c <= 0x39 ? c - 0x30 : c - 0x57;
}
