/**
 * IP addresses, prefixes and MAC addresses as branded strings.
 *
 * Owns their one strict parser and the arithmetic on them. Text is parsed once, at the edge; a value of type `Ip`, `Cidr` or `Mac`
 * is always in canonical form, so two values are equal exactly when the strings are. Follows RFC 4632, RFC 4291 and RFC 5952.
 *
 * @module
 */

import { ipv4Number, ipv4Of, maskedTo, quadNumber } from "./ipv4.ts";

/** An address family by its number of the protocol. */
export type Family = 4 | 6;

/** An IPv4 or IPv6 address in canonical text form. */
export type Ip = string & { readonly [ipBrand]: true };
/** A prefix such as `10.244.1.0/24`, with no host bits set, in canonical text form. */
export type Cidr = string & { readonly [cidrBrand]: true };
/** A 48-bit MAC address in lower case, such as `0a:58:ac:10:00:01`. */
export type Mac = string & { readonly [macBrand]: true };

declare const ipBrand: unique symbol;
declare const cidrBrand: unique symbol;
declare const macBrand: unique symbol;

/**
 * The family of an address or prefix.
 *
 * @example Usage
 * ```ts
 * import { familyOf, parseIp } from "./ip.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(familyOf(parseIp("fd00::1")), 6);
 * ```
 */
export function familyOf(value: Ip | Cidr): Family {
  for (let i = 0; i < 4; i++) if (value.charCodeAt(i) === 0x2e) return 4; // quicker than to look for a colon: this is asked often
  return 6;
}

/** Number of bits in an address of the family. */
export function bitsOf(family: Family): 32 | 128 {
  return family === 4 ? 32 : 128;
}

/**
 * Parses an address strictly: four decimal parts without leading zeros, or RFC 4291 text without a zone.
 *
 * @param text The text, for example `192.168.0.5` or `2001:DB8::1`.
 * @returns The address in canonical form (`2001:db8::1`).
 * @throws {SyntaxError} If the text is not an address.
 *
 * @example Usage
 * ```ts
 * import { parseIp } from "./ip.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(parseIp("2001:DB8:0:0::1"), "2001:db8::1");
 * assert.throws(() => parseIp("10.0.0.01"), SyntaxError);
 * ```
 */
export function parseIp(text: string): Ip {
  const ip = tryParseIp(text);
  if (ip === null) throw new SyntaxError(`"${text}" is not an IP address`);
  return ip;
}

/** As {@linkcode parseIp}, but `null` instead of an error. */
export function tryParseIp(text: string): Ip | null {
  if (!text.includes(":")) return quadNumber(text) < 0 ? null : text as Ip; // strict, so there is no other way to write it
  const bytes = readIpv6(text);
  return bytes === null ? null : formatIp(bytes);
}

/**
 * Parses a prefix and clears its host bits, as flannel does.
 *
 * @param text The text, for example `10.244.1.7/24`.
 * @returns The canonical prefix (`10.244.1.0/24`).
 * @throws {SyntaxError} If the address or the length is malformed.
 *
 * @example Usage
 * ```ts
 * import { parseCidr } from "./ip.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(parseCidr("10.3.4.5/16"), "10.3.0.0/16");
 * ```
 */
export function parseCidr(text: string): Cidr {
  const slash = text.indexOf("/");
  const ip = slash < 0 ? null : tryParseIp(text.slice(0, slash));
  const length = slash < 0 ? null : readDecimal(text, slash + 1, text.length, 128);
  if (ip === null || length === null || length > bitsOf(familyOf(ip))) {
    throw new SyntaxError(`"${text}" is not an address prefix such as 10.244.0.0/16`);
  }
  return cidrOf(ip, length);
}

/**
 * Parses a MAC address: six pairs of hexadecimal digits with `:` or `-` between.
 *
 * @throws {SyntaxError} If the text is anything else, so also for 8 and 20 byte hardware addresses.
 */
export function parseMac(text: string): Mac {
  if (!/^[0-9a-f]{2}([:-][0-9a-f]{2}){5}$/i.test(text)) {
    throw new SyntaxError(`"${text}" is not a 48-bit MAC address`);
  }
  return text.toLowerCase().replaceAll("-", ":") as Mac;
}

/** The address part of a prefix: `10.244.1.0` of `10.244.1.0/24`. */
export function networkOf(cidr: Cidr): Ip {
  return cidr.slice(0, cidr.lastIndexOf("/")) as Ip;
}

/** The length of a prefix: `24` of `10.244.1.0/24`. */
export function lengthOf(cidr: Cidr): number {
  let length = 0;
  for (let i = cidr.lastIndexOf("/") + 1; i < cidr.length; i++) length = length * 10 + cidr.charCodeAt(i) - 0x30;
  return length;
}

/** The prefix of the given length around an address; host bits are cleared. */
export function cidrOf(ip: Ip, length: number): Cidr {
  if (familyOf(ip) === 4) {
    const number = ipv4Number(ip);
    const network = maskedTo(number, length);
    return `${network === number ? ip : ipv4Of(network)}/${length}` as Cidr;
  }
  const bytes = ipBytes(ip);
  for (let bit = length; bit < bytes.length * 8; bit = (bit | 7) + 1) {
    bytes[bit >> 3]! &= ~(0xff >> (bit & 7));
  }
  return `${formatIp(bytes)}/${length}` as Cidr;
}

/** The host prefix (`/32` or `/128`) of an address. */
export function hostOf(ip: Ip): Cidr {
  return `${ip}/${bitsOf(familyOf(ip))}` as Cidr;
}

/**
 * Whether a prefix holds an address or all of another prefix. Families never hold each other.
 *
 * @example Usage
 * ```ts
 * import { contains, parseCidr, parseIp } from "./ip.ts";
 * import assert from "node:assert/strict";
 *
 * assert.ok(contains(parseCidr("10.244.0.0/16"), parseIp("10.244.3.4")));
 * assert.ok(!contains(parseCidr("10.244.3.0/24"), parseCidr("10.244.0.0/16")));
 * ```
 */
export function contains(outer: Cidr, inner: Ip | Cidr): boolean {
  if (familyOf(outer) !== familyOf(inner)) return false;
  const length = lengthOf(outer);
  const isPrefix = inner.includes("/");
  if (isPrefix && lengthOf(inner as Cidr) < length) return false;
  if (familyOf(outer) === 4) return maskedTo(ipv4Number(inner), length) === ipv4Number(outer);
  return samePrefix(ipBytes(networkOf(outer)), ipBytes(isPrefix ? networkOf(inner as Cidr) : inner as Ip), length);
}

/** Whether two prefixes share an address. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  return contains(a, b) || contains(b, a);
}

/** An address as an unsigned number. */
export function ipNumber(ip: Ip): bigint {
  if (familyOf(ip) === 4) return BigInt(ipv4Number(ip));
  let value = 0n;
  for (const byte of ipBytes(ip)) value = (value << 8n) | BigInt(byte);
  return value;
}

/**
 * The address with the given number.
 *
 * @throws {RangeError} If the number is negative or does not fit the family.
 */
export function ipOf(value: bigint, family: Family): Ip {
  if (value < 0n || value >> BigInt(bitsOf(family))) {
    throw new RangeError(`${value} is no IPv${family} address`);
  }
  const bytes = new Uint8Array(bitsOf(family) / 8);
  for (let i = bytes.length - 1; i >= 0; i--, value >>= 8n) bytes[i] = Number(value & 0xffn);
  return formatIp(bytes);
}

/** The address `offset` places after `ip`. */
export function plus(ip: Ip, offset: number | bigint): Ip {
  return ipOf(ipNumber(ip) + BigInt(offset), familyOf(ip));
}

/** Orders addresses or prefixes: IPv4 first, then by number, then the shorter prefix first. */
export function compareCidrs(a: Cidr, b: Cidr): number {
  if (a === b) return 0;
  const [left, right] = [ipBytes(networkOf(a)), ipBytes(networkOf(b))];
  if (left.length !== right.length) return left.length - right.length;
  for (let i = 0; i < left.length; i++) {
    if (left[i] !== right[i]) return left[i]! - right[i]!;
  }
  return lengthOf(a) - lengthOf(b);
}

/** The first and the last address of a prefix, as text: compared as strings, IPv4 comes first, and then it goes by number. */
export interface Span {
  readonly first: string;
  readonly last: string;
}

/**
 * A prefix as text that is quick to compare: what is to be sorted or searched many times need not be parsed every time.
 *
 * @example Two prefixes overlap when neither ends before the other begins
 * ```ts
 * import { parseCidr, spanOf } from "./ip.ts";
 * import assert from "node:assert/strict";
 *
 * const [a, b] = [spanOf(parseCidr("10.3.0.0/16")), spanOf(parseCidr("10.3.4.0/24"))];
 * assert.ok(a.first <= b.last && b.first <= a.last);
 * ```
 */
export function spanOf(cidr: Cidr): Span {
  if (familyOf(cidr) === 4) {
    const first = ipv4Number(cidr);
    return { first: sortableIpv4(first), last: sortableIpv4(first + 2 ** (32 - lengthOf(cidr)) - 1) };
  }
  const bytes = ipBytes(networkOf(cidr));
  const first = sortable(bytes);
  for (let bit = lengthOf(cidr); bit < bytes.length * 8; bit = (bit | 7) + 1) bytes[bit >> 3]! |= 0xff >> (bit & 7);
  return { first, last: sortable(bytes) };
}

/** Orders spans as {@linkcode compareCidrs} orders their prefixes. */
export function compareSpans(a: Span, b: Span): number {
  if (a.first !== b.first) return a.first < b.first ? -1 : 1;
  return a.last === b.last ? 0 : a.last > b.last ? -1 : 1;
}

/**
 * Why an address can not be another machine's, or `null` if it can: it must be a unicast address that a packet may be sent to.
 * Source: RFC 6890 (special-purpose address registries).
 */
export function unusableAsPeer(ip: Ip): string | null {
  if (familyOf(ip) === 4) return unusableIpv4(ipv4Number(ip) >>> 24);
  const bytes = ipBytes(ip);
  const found = special().find(([prefix, length]) => samePrefix(prefix, bytes, length));
  return found === undefined ? null : `is ${found[2]}`;
}

function unusableIpv4(firstByte: number): string | null {
  if (firstByte === 0) return "is an unspecified address";
  if (firstByte === 127) return "is a loopback address";
  if (firstByte < 224) return null;
  return firstByte < 240 ? "is a multicast address" : "is a reserved or broadcast address";
}

/** Makes a table at its first use: the CNI plugin loads this file for every pod, and needs neither table. */
function later<T>(make: () => T): () => T {
  let made: T | undefined;
  return () => made ??= make();
}

const special = later(() =>
  ([
    ["::/127", "an unspecified or loopback address"],
    ["::ffff:0:0/96", "an IPv4-mapped address"],
    ["fe80::/10", "a link-local address"],
    ["ff00::/8", "a multicast address"],
  ] as const).map(([text, what]) => {
    const cidr = parseCidr(text);
    return [ipBytes(networkOf(cidr)), lengthOf(cidr), what] as const;
  })
);

/** An address as bytes in network order (4 or 16 of them), in a new array. */
export function ipBytes(ip: Ip): Uint8Array {
  const bytes = readIp(ip);
  if (bytes === null) throw new TypeError(`"${ip}" was not made by parseIp`);
  return bytes;
}

/** The address of 4 or 16 bytes in network order. */
export function ipFromBytes(bytes: Uint8Array): Ip {
  return formatIp(bytes);
}

/** A MAC address as six bytes. */
export function macBytes(mac: Mac): Uint8Array {
  return Uint8Array.from(mac.split(":"), (pair) => Number.parseInt(pair, 16));
}

/** The MAC address of six bytes. */
export function macFromBytes(bytes: Uint8Array): Mac {
  const pairs = hex();
  return `${pairs[bytes[0]!]}:${pairs[bytes[1]!]}:${pairs[bytes[2]!]}:${pairs[bytes[3]!]}:${pairs[bytes[4]!]}:${
    pairs[bytes[5]!]
  }` as Mac;
}

/** Whether a MAC address can be a device's: not all zero, and not a group address. */
export function isUnicastMac(mac: Mac): boolean {
  return mac !== "00:00:00:00:00:00" && (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0;
}

/** Whether an address counts on its own link only (`fe80::/10`): every IPv6 device gives itself one. */
export function isLinkLocal(ip: Ip | Cidr): boolean {
  return /^fe[89ab][0-9a-f]:/.test(ip);
}

/** The link-local address that IPv6 derives from a MAC address. Source: RFC 4291, appendix A (modified EUI-64). */
export function linkLocalOf(mac: Mac): Ip {
  const m = macBytes(mac);
  return formatIp(
    Uint8Array.of(0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0]! ^ 2, m[1]!, m[2]!, 0xff, 0xfe, m[3]!, m[4]!, m[5]!),
  );
}

function sortableIpv4(number: number): string {
  return `4${String.fromCharCode(number >>> 16, number & 0xffff)}`;
}

function sortable(bytes: Uint8Array): string {
  let text = "6";
  for (let i = 0; i < bytes.length; i += 2) text += String.fromCharCode(bytes[i]! << 8 | bytes[i + 1]!);
  return text;
}

const hex = later(() => Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0")));

function samePrefix(a: Uint8Array, b: Uint8Array, length: number): boolean {
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) if (a[i] !== b[i]) return false;
  const rest = length & 7;
  return rest === 0 || ((a[whole]! ^ b[whole]!) >> (8 - rest)) === 0;
}

/** A decimal number without sign or leading zero in text[from, to), or `null`. */
function readDecimal(text: string, from: number, to: number, max: number): number | null {
  if (to === from || to - from > 3 || (text.charCodeAt(from) === 0x30 && to - from > 1)) return null;
  let value = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  return value > max ? null : value;
}

function readIp(text: string): Uint8Array | null {
  return text.includes(":") ? readIpv6(text) : readIpv4(text);
}

function readIpv4(text: string): Uint8Array | null {
  const number = quadNumber(text);
  return number < 0 ? null : Uint8Array.of(number >>> 24, number >>> 16, number >>> 8, number);
}

function readIpv6(text: string): Uint8Array | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = readGroups(halves[0]!, halves.length === 1);
  const tail = halves.length === 2 ? readGroups(halves[1]!, true) : [];
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const bytes = new Uint8Array(16);
  [...head, ...new Array<number>(missing).fill(0), ...tail].forEach((group, i) => {
    bytes[2 * i] = group >> 8;
    bytes[2 * i + 1] = group & 0xff;
  });
  return bytes;
}

/** The 16-bit groups of one side of `::`; the last two may be written as an IPv4 address. */
function readGroups(text: string, mayEndInIpv4: boolean): number[] | null {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [i, part] of parts.entries()) {
    if (mayEndInIpv4 && i === parts.length - 1 && part.includes(".")) {
      const quad = readIpv4(part);
      if (quad === null) return null;
      groups.push(quad[0]! << 8 | quad[1]!, quad[2]! << 8 | quad[3]!);
    } else if (/^[0-9a-f]{1,4}$/i.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else return null;
  }
  return groups;
}

function formatIp(bytes: Uint8Array): Ip {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}` as Ip;
  const groups = Array.from({ length: 8 }, (_, i) => bytes[2 * i]! << 8 | bytes[2 * i + 1]!);
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff) {
    return `::ffff:${bytes.slice(12).join(".")}` as Ip; // RFC 5952, section 5
  }
  const [start, count] = longestZeroRun(groups);
  const hex = groups.map((group) => group.toString(16));
  if (count < 2) return hex.join(":") as Ip;
  return `${hex.slice(0, start).join(":")}::${hex.slice(start + count).join(":")}` as Ip;
}

/** The first longest run of zero groups, which RFC 5952 section 4.2 writes as `::`. */
function longestZeroRun(groups: readonly number[]): [start: number, count: number] {
  let best: [number, number] = [0, 0];
  for (let i = 0; i < groups.length; i++) {
    let end = i;
    while (end < groups.length && groups[end] === 0) end++;
    if (end - i > best[1]) best = [i, end - i];
    i = end;
  }
  return best;
}
