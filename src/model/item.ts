/**
 * Items: what the agent puts into the kernel.
 *
 * Each kind has one key that mirrors the kernel's own index, one equality and one rank. Families are a property of the addresses;
 * nothing here is written twice for IPv4 and IPv6.
 *
 * @module
 */

import type { Cidr, Ip, Mac } from "./ip.ts";
import { describeDevice, type Link, sameDevice, type WireguardKey } from "./link.ts";

export type { IpipLink, Link, VxlanLink, WireguardKey, WireguardLink } from "./link.ts";

/** The routing protocol number that marks our routes and nexthops (`rtm_protocol`, `nh_protocol`). */
export const PROTOCOL = 87;

/** Another node, as a wireguard device knows it (`wg set LINK peer KEY endpoint IP:PORT …`). */
export interface WireguardPeer {
  readonly kind: "wireguard-peer";
  readonly link: string;
  readonly publicKey: WireguardKey;
  /** Where it is written to, until it writes from elsewhere; `null`, as it may be seen in the kernel, for nowhere. */
  readonly endpoint: { readonly ip: Ip; readonly port: number } | null;
  /** Seconds between empty packets that keep the way through a NAT open; 0 sends none. */
  readonly keepalive: number;
  readonly presharedKey: PresharedKey | null;
}

/** A key that all nodes share. */
export interface PresharedKey {
  /** The file with the key in base64, which is read when the key is needed; `null` as seen in the kernel. Not compared. */
  readonly file: string | null;
  /** What {@linkcode WireguardPeer} is compared by: the first 16 hexadecimal digits of SHA-256 over the key's 32 bytes. */
  readonly digest: string;
}

/** Which peer of a wireguard device packets to and from a prefix belong to (`wg set LINK peer KEY allowed-ips CIDR`). */
export interface AllowedIp {
  readonly kind: "allowed-ip";
  readonly link: string;
  readonly cidr: Cidr;
  readonly publicKey: WireguardKey;
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
  /** `null` where the device itself knows the way. */
  readonly via: Ip | null;
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
export type Item = Link | ReversePath | Address | WireguardPeer | AllowedIp | Fdb | Neighbour | Nexthop | Route | Blackhole;
/** The kinds of item. */
export type Kind = Item["kind"];

/** The order in which kinds are put; they are dropped in the opposite order. */
export const KINDS = [
  "link",
  "reverse-path",
  "address",
  "wireguard-peer",
  "allowed-ip",
  "fdb",
  "neighbour",
  "nexthop",
  "route",
  "blackhole",
] as const satisfies readonly Kind[];

/** Kinds among which are items of whose changes the kernel tells nobody. */
export const SILENT: readonly Kind[] = ["link", "wireguard-peer", "allowed-ip"];

/** Whether the kernel tells nobody when an item is changed. */
export function isSilent(item: Item): boolean {
  return item.kind === "link" ? item.type === "wireguard" : item.kind === "wireguard-peer" || item.kind === "allowed-ip";
}

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
    case "wireguard-peer":
      return `wireguard-peer ${item.link} ${item.publicKey}`;
    case "allowed-ip":
      return `allowed-ip ${item.link} ${item.cidr}`;
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
      return b.kind === "link" && a.mtu === b.mtu && a.down === b.down && sameDevice(a, b);
    case "reverse-path":
    case "address":
    case "blackhole":
      return b.kind === a.kind;
    case "wireguard-peer":
      return b.kind === "wireguard-peer" && a.keepalive === b.keepalive && a.presharedKey?.digest === b.presharedKey?.digest &&
        a.endpoint?.ip === b.endpoint?.ip && a.endpoint?.port === b.endpoint?.port;
    case "allowed-ip":
      return b.kind === "allowed-ip" && a.publicKey === b.publicKey;
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
      return `link ${item.name} type ${item.type} ${describeDevice(item)} mtu ${item.mtu}`;
    case "reverse-path":
      return `loose reverse-path filter on ${item.link}`;
    case "address":
      return `address ${item.ip}/${item.length} dev ${item.link}`;
    case "wireguard-peer": {
      const { endpoint, keepalive, presharedKey } = item;
      const to = endpoint === null
        ? ""
        : ` endpoint ${endpoint.ip.includes(":") ? `[${endpoint.ip}]` : endpoint.ip}:${endpoint.port}`;
      const extra = `${keepalive === 0 ? "" : ` persistent-keepalive ${keepalive}`}${
        presharedKey === null ? "" : " with preshared-key"
      }`;
      return `wireguard peer ${item.publicKey} dev ${item.link}${to}${extra}`;
    }
    case "allowed-ip":
      return `wireguard allowed-ips ${item.cidr} dev ${item.link} peer ${item.publicKey}`;
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

function describeHop({ via, link, onlink }: Hop): string {
  return `${via === null ? "" : `via ${via} `}dev ${link}${onlink ? " onlink" : ""}`;
}

/** A change of one item in the kernel. */
export type Change =
  | { readonly op: "put"; readonly item: Item; /** What the kernel holds under this key now. */ readonly old: Item | null }
  | { readonly op: "drop"; readonly item: Item };
