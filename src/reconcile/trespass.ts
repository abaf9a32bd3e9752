/**
 * What a backend may ask for: items on its own devices, routes to where its node or its peer is, and nothing else.
 *
 * The core knows its own items by these rules after a restart, so an item that breaks one would stay in the kernel for ever. Pure.
 *
 * @module
 */

import type { NodeSide } from "../model/backend.ts";
import { type Cidr, contains, familyOf, type Ip } from "../model/ip.ts";
import { type Item, keyOf } from "../model/item.ts";

/** Bytes of a device's name, with a NUL at the end. */
const IFNAMSIZ = 16;

/** For whom items were asked. */
export interface Ground {
  readonly side: Pick<NodeSide, "family" | "network" | "subnet" | "link" | "segments" | "address">;
  /** The backend's own devices. */
  readonly links: readonly string[];
  /** The peer's subnet and public IP; `null` for items of the node itself. */
  readonly peer: { readonly subnet: Cidr; readonly publicIp: Ip } | null;
}

/** What is wrong with some items for the ground that they were asked for; `null` if nothing. */
export function trespass(items: readonly Item[], ground: Ground): string | null {
  const keys = new Set<string>();
  for (const item of items) {
    const wrong = trespassOf(item, ground);
    if (wrong !== null) return `${keyOf(item)}: ${wrong}`;
    if (keys.has(keyOf(item))) return `${keyOf(item)}: it is there twice`;
    keys.add(keyOf(item));
  }
  return null;
}

function trespassOf(item: Item, { side, links, peer }: Ground): string | null {
  const own = (link: string) => links.includes(link) ? null : `device "${link}" is not one that links() names`;
  const inFamily = (value: Ip | Cidr | null) =>
    value === null || familyOf(value) === side.family ? null : `${value} is not of IPv${side.family}`;
  switch (item.kind) {
    case "link":
      if (item.name.length >= IFNAMSIZ) return `the name has more than ${IFNAMSIZ - 1} characters`;
      return peer === null ? own(item.name) : "devices are the node's: node() answers them";
    case "reverse-path":
      if (peer !== null) return "filters are the node's: node() answers them";
      return side.segments.includes(item.link) || item.link === side.link ? null : own(item.link);
    case "address":
      if (peer !== null) return "addresses are the node's: node() answers them";
      return own(item.link) ?? (contains(side.subnet, item.ip) ? null : `${item.ip} is not inside this node's ${side.subnet}`);
    case "wireguard-peer":
    case "allowed-ip":
      if (peer === null) return "the node itself is no peer: peer() answers them";
      if (item.kind === "allowed-ip" && item.cidr !== peer.subnet) return `a peer may be allowed its own ${peer.subnet} only`;
      return own(item.link);
    case "fdb":
      return own(item.link);
    case "neighbour":
      return own(item.link) ?? inFamily(item.ip);
    case "nexthop":
      return "nexthop objects are the core's affair: answer a route with its hop";
    case "route": {
      const allowed = peer === null ? side.network : peer.subnet;
      if (item.dst !== allowed) return `a route of ${peer === null ? "the node" : "this peer"} may lead to ${allowed} only`;
      if (typeof item.to === "number") return "a backend answers the hop itself, not the id of a nexthop";
      if (item.src !== null && !contains(side.subnet, item.src)) {
        return `its source ${item.src} is not inside this node's ${side.subnet}`;
      }
      if (side.segments.includes(item.to.link) || item.to.link === side.link) return inFamily(item.to.via);
      return own(item.to.link) ?? inFamily(item.to.via);
    }
    case "blackhole":
      return "what happens to the rest of a subnet is the core's affair";
    default:
      return item satisfies never;
  }
}
