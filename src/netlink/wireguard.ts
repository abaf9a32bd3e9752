/**
 * The messages of wireguard's family of generic netlink, as tables.
 *
 * The private key is only written: its attribute is not in the table by which answers are read.
 * Source: Linux `include/uapi/linux/wireguard.h`.
 *
 * @module
 */

import type { Ip } from "../model/ip.ts";
import type { WireguardKey } from "../model/item.ts";
import { GENERIC } from "./generic.ts";
import { AF } from "./rtnl.ts";
import { type AttributesOf, listOf, message, NESTED } from "./schema.ts";
import { ip, u16, u32, u8, type Wire } from "./wire.ts";

/** The name of the family. */
export const WIREGUARD = "wireguard";
/** Commands (WG_CMD_*). */
export const WG = { GET_DEVICE: 0, SET_DEVICE: 1 } as const;
/** Of a peer: it goes (WGPEER_F_REMOVE_ME). */
export const REMOVE = 1;
/** Of a peer: it is not made if it does not exist (WGPEER_F_UPDATE_ONLY). */
export const UPDATE_ONLY = 4;
/** Bytes of a key. */
const KEY = 32;

/** A key, as base64. */
export const key: Wire<WireguardKey> = {
  size: KEY,
  write(writer, value) {
    const text = atob(value);
    if (text.length !== KEY) throw new TypeError(`a key has ${KEY} bytes, not ${text.length}`);
    const at = writer.reserve(KEY);
    for (let i = 0; i < KEY; i++) writer.bytes[at + i] = text.charCodeAt(i);
  },
  read: (view, at, length) =>
    length === KEY ? btoa(String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, KEY))) : undefined,
};

/** An address with a UDP port. */
export interface Endpoint {
  readonly ip: Ip;
  readonly port: number;
}

/** Bytes of `struct sockaddr_in` and `struct sockaddr_in6`. */
const IN = 16;
const IN6 = 28;

/** `struct sockaddr_in` or `struct sockaddr_in6`; its family is in the machine's order, the rest in network order. */
export const endpoint: Wire<Endpoint> = {
  size: 0,
  write(writer, value) {
    const v6 = value.ip.includes(":");
    const length = v6 ? IN6 : IN;
    const at = writer.reserve(length);
    writer.bytes.fill(0, at, at + length);
    writer.view.setUint16(at, v6 ? AF.INET6 : AF.INET, true);
    writer.view.setUint16(at + 2, value.port);
    ip.put!(writer, at + (v6 ? 8 : 4), value.ip);
  },
  read(view, at, length) {
    const family = length < IN ? 0 : view.getUint16(at, true);
    const v6 = family === AF.INET6 && length >= IN6;
    if (!v6 && family !== AF.INET) return undefined;
    return { ip: ip.read(view, at + (v6 ? 8 : 4), v6 ? 16 : 4)!, port: view.getUint16(at + 2) };
  },
};

/** The seconds of a `struct __kernel_timespec`; its nanoseconds are left out. */
const seconds: Wire<number> = {
  size: 16,
  write(writer, value) {
    const at = writer.reserve(16);
    writer.view.setBigInt64(at, BigInt(value), true);
    writer.view.setBigInt64(at + 8, 0n, true);
  },
  read: (view, at, length) => length === 16 ? Number(view.getBigInt64(at, true)) : undefined,
};

/** WGALLOWEDIP_A_*. */
const ALLOWED_IP = { family: [1, u16], ip: [2, ip], length: [3, u8] } as const;

/** WGPEER_A_*. */
const PEER = {
  publicKey: [1, key],
  presharedKey: [2, key],
  flags: [3, u32],
  endpoint: [4, endpoint],
  keepalive: [5, u16],
  lastHandshake: [6, seconds],
  allowedIps: [NESTED | 9, listOf(ALLOWED_IP)],
} as const;

const DEVICE_ATTRIBUTES = {
  index: [1, u32],
  publicKey: [4, key],
  flags: [5, u32],
  port: [6, u16],
  peers: [NESTED | 8, listOf(PEER)],
} as const;

/** A device as the kernel tells of it, and changes of its peers (WGDEVICE_A_*). */
export const DEVICE = message(GENERIC, DEVICE_ATTRIBUTES);
/** A device with its private key, to be written. */
export const DEVICE_WITH_KEY = message(GENERIC, { ...DEVICE_ATTRIBUTES, privateKey: [3, key] });

/** A peer in a message. */
export type PeerAttributes = AttributesOf<typeof PEER>;
