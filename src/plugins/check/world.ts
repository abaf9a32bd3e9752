/**
 * The nodes that a backend is checked with: the first is the one it runs on, all others are peers.
 *
 * Peers up to {@linkcode NEAR} are on the segment of `eth0`, those above behind a gateway. Everything is frozen.
 *
 * @module
 */

import type { NodeSide, OpenSide, Peer } from "../../model/backend.ts";
import type { MacTable } from "../../model/backend_port.ts";
import {
  type Cidr,
  cidrOf,
  contains,
  type Family,
  type Ip,
  ipOf,
  type Mac,
  macFromBytes,
  parseCidr,
  parseIp,
} from "../../model/ip.ts";

/** The device that leads to the other nodes. */
export const LINK = "eth0";
/** The last peer that is on its segment. */
export const NEAR = 100;
/** Its MTU, in bytes. */
export const MTU = 1500;

/** The pod networks. */
export const NETWORKS: Readonly<Record<Family, { readonly network: Cidr; readonly length: number }>> = {
  4: { network: parseCidr("10.0.0.0/8"), length: 24 },
  6: { network: parseCidr("fd00:10::/32"), length: 48 },
};

/** A node's pod subnet. */
export function subnetOf(n: number, family: Family): Cidr {
  return family === 4 ? cidrOf(ipOf(BigInt(0x0a000000 + n * 256), 4), 24) : parseCidr(`fd00:10:${n.toString(16)}::/48`);
}

/** A node's address. */
export function publicIpOf(n: number, family: Family): Ip {
  if (family === 6) return parseIp(n <= NEAR ? `2001:db8::${n.toString(16)}` : `2001:db8:1::${n.toString(16)}`);
  return n <= NEAR ? parseIp(`192.0.2.${n}`) : ipOf(BigInt(0xc6120000 + n), 4);
}

const SEGMENT: readonly Cidr[] = [parseCidr("192.0.2.0/24"), parseCidr("2001:db8::/64")];

/** The device on whose segment an address is. */
export function segmentOf(ip: Ip): string | null {
  return SEGMENT.some((prefix) => contains(prefix, ip)) ? LINK : null;
}

/** A MAC address of a node's device. */
export function macOf(n: number, link: string): Mac {
  const device = [...link].reduce((sum, letter) => (sum * 31 + letter.charCodeAt(0)) & 0xff, 0);
  return macFromBytes(Uint8Array.of(0x02, 0, device, n >>> 16, n >>> 8 & 0xff, n & 0xff));
}

/** A node in one family, before it has a subnet. */
export function openSideOf(n: number, family: Family, mtu: number, state: unknown): OpenSide {
  const address = publicIpOf(n, family);
  return Object.freeze({
    family,
    network: NETWORKS[family].network,
    link: LINK,
    segments: Object.freeze([LINK]),
    address,
    publicIp: address,
    mtu,
    state,
    onLink: segmentOf,
    macFor: (link: string) => macOf(n, link),
  });
}

/** A node in one family. */
export function sideOf(n: number, family: Family, mtu: number, state: unknown): NodeSide {
  return Object.freeze({ ...openSideOf(n, family, mtu, state), subnet: subnetOf(n, family) });
}

/** A peer with what it published. */
export function peerOf(n: number, family: Family, data: unknown): Peer<unknown> {
  const publicIps = Object.freeze([publicIpOf(n, 4), publicIpOf(n, 6)]);
  return Object.freeze({ subnet: subnetOf(n, family), publicIp: publicIpOf(n, family), publicIps, data });
}

/** The MAC addresses of a node's devices, as a plugin is told them. */
export function macsOf(n: () => number): MacTable {
  return {
    of: (link) => ({ chosen: null, drawn: macOf(n(), link) }),
    earlier: () => undefined,
    choose: () => {},
  };
}
