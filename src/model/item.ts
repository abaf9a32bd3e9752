/**
 * Items: what the agent puts into the kernel.
 *
 * Each kind has one key that mirrors the kernel's own index, one equality and one rank. Families are a property of the addresses;
 * nothing here is written twice for IPv4 and IPv6.
 *
 * @module
 */

import type { Cidr, Ip, Mac } from "./ip.ts";

/** The routing protocol number that marks our routes and nexthops (`rtm_protocol`, `nh_protocol`). */
export const PROTOCOL = 87;

/** A vxlan device (`ip link add NAME type vxlan`). It is up, and bound to no lower device. */
export interface Link {
  readonly kind: "link";
  readonly name: string;
  readonly type: "vxlan";
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** Source address of the outer packets. */
  readonly local: Ip;
  readonly mac: Mac;
  /** Bytes. */
  readonly mtu: number;
  /** Learn remote addresses from received packets. */
  readonly learning: boolean;
  /** Group policy extension. */
  readonly gbp: boolean;
  /** Seen in the kernel: the device is down. Never planned. */
  readonly down?: true;
}

/** Loose reverse-path filtering on a device (`net.ipv4.conf.DEV.rp_filter=2`), where the kernel would else filter strictly. */
export interface ReversePath {
  readonly kind: "reverse-path";
  readonly link: string;
  /** Seen in the kernel: nothing is filtered at all, which does as well. Never planned. */
  readonly off?: true;
}

/** An address on one of our devices. */
export interface Address {
  readonly kind: "address";
  readonly link: string;
  readonly ip: Ip;
  /** Prefix length. */
  readonly length: number;
}

/** A forwarding entry of a vxlan device: inner MAC to outer address (`bridge fdb replace MAC dev LINK dst DST self permanent`). */
export interface Fdb {
  readonly kind: "fdb";
  readonly link: string;
  readonly mac: Mac;
  readonly dst: Ip;
}

/** A permanent neighbour: inner address to inner MAC (`ip neigh replace IP lladdr MAC dev LINK nud permanent`). */
export interface Neighbour {
  readonly kind: "neighbour";
  readonly link: string;
  readonly ip: Ip;
  readonly mac: Mac;
}

/** Where a packet goes next: over a device, to a gateway. */
export interface Hop {
  readonly via: Ip;
  readonly link: string;
  /** Take the gateway for reachable on the device without asking the routing table. */
  readonly onlink: boolean;
}

/** A nexthop object (`ip nexthop replace id ID via VIA dev LINK protocol 87`). */
export interface Nexthop {
  readonly kind: "nexthop";
  /** Unsigned, 32 bits. */
  readonly id: number;
  readonly hop: Hop;
}

/** A unicast route in the main table, without a metric. */
export interface Route {
  readonly kind: "route";
  readonly dst: Cidr;
  /** The hop itself, or the id of the nexthop object that holds it. */
  readonly to: Hop | number;
  /** Source address of the node's own packets; `null` leaves the choice to the kernel. */
  readonly src: Ip | null;
  /** Seen in the kernel: left by a former flanneld, whose routes carry RTPROT_BOOT. Never planned. */
  readonly adopted?: true;
}

/**
 * A route that drops what no other route takes (`ip route add blackhole DST metric 4294967295 protocol 87`). Of all metrics it has
 * the last: a bridge to the same prefix goes before it, whichever came first.
 */
export interface Blackhole {
  readonly kind: "blackhole";
  readonly dst: Cidr;
}

/** Anything that is put into the kernel. */
export type Item = Link | ReversePath | Address | Fdb | Neighbour | Nexthop | Route | Blackhole;
/** The kinds of item. */
export type Kind = Item["kind"];

/** The order in which kinds are put; they are dropped in the opposite order. */
export const KINDS = [
  "link",
  "reverse-path",
  "address",
  "fdb",
  "neighbour",
  "nexthop",
  "route",
  "blackhole",
] as const satisfies readonly Kind[];

/** The place of a kind in the order of puts. */
export const rankOf: Readonly<Record<Kind, number>> = Object.fromEntries(KINDS.map((kind, i) => [kind, i])) as Record<
  Kind,
  number
>;

/** What the kernel tells items apart by; two items with one key replace each other. */
export function keyOf(item: Item): string {
  switch (item.kind) {
    case "link":
      return `link ${item.name}`;
    case "reverse-path":
      return `reverse-path ${item.link}`;
    case "address":
      return `address ${item.link} ${item.ip}/${item.length}`;
    case "fdb":
      return `fdb ${item.link} ${item.mac}`;
    case "neighbour":
      return `neighbour ${item.link} ${item.ip}`;
    case "nexthop":
      return `nexthop ${item.id}`;
    case "route":
      return `route ${item.dst}`;
    case "blackhole":
      return `blackhole ${item.dst}`;
    default:
      return item satisfies never;
  }
}

/** Whether two items with one key are the same in everything. */
export function same(a: Item, b: Item): boolean {
  switch (a.kind) {
    case "link":
      return b.kind === "link" && a.vni === b.vni && a.port === b.port && a.local === b.local && a.mac === b.mac &&
        a.mtu === b.mtu && a.learning === b.learning && a.gbp === b.gbp && a.down === b.down;
    case "reverse-path":
    case "address":
    case "blackhole":
      return b.kind === a.kind;
    case "fdb":
      return b.kind === "fdb" && a.dst === b.dst;
    case "neighbour":
      return b.kind === "neighbour" && a.mac === b.mac;
    case "nexthop":
      return b.kind === "nexthop" && sameHop(a.hop, b.hop);
    case "route":
      return b.kind === "route" && a.src === b.src &&
        (typeof a.to === "number" || typeof b.to === "number" ? a.to === b.to : sameHop(a.to, b.to));
    default:
      return a satisfies never;
  }
}

function sameHop(a: Hop, b: Hop): boolean {
  return a.via === b.via && a.link === b.link && a.onlink === b.onlink;
}

/** An item in the words of `ip` and `bridge`, for messages and status. */
export function describe(item: Item): string {
  switch (item.kind) {
    case "link":
      return `link ${item.name} type vxlan id ${item.vni} dstport ${item.port} local ${item.local} address ${item.mac} mtu ${item.mtu}`;
    case "reverse-path":
      return `loose reverse-path filter on ${item.link}`;
    case "address":
      return `address ${item.ip}/${item.length} dev ${item.link}`;
    case "fdb":
      return `fdb ${item.mac} dev ${item.link} dst ${item.dst}`;
    case "neighbour":
      return `neighbour ${item.ip} lladdr ${item.mac} dev ${item.link}`;
    case "nexthop":
      return `nexthop ${item.id} ${describeHop(item.hop)}`;
    case "route": {
      const to = typeof item.to === "number" ? `nhid ${item.to}` : describeHop(item.to);
      return `route ${item.dst} ${to}${item.src === null ? "" : ` src ${item.src}`}`;
    }
    case "blackhole":
      return `blackhole route ${item.dst}`;
    default:
      return item satisfies never;
  }
}

function describeHop(hop: Hop): string {
  return `via ${hop.via} dev ${hop.link}${hop.onlink ? " onlink" : ""}`;
}

/** A change of one item in the kernel. */
export type Change =
  | { readonly op: "put"; readonly item: Item; /** What the kernel holds under this key now. */ readonly old: Item | null }
  | { readonly op: "drop"; readonly item: Item };
