/**
 * What must stay for peers that wait: their working path, although nothing is planned for them now.
 *
 * While the nodes of a cluster change to another backend one after the other, a peer's type is for a time not ours. What the kernel
 * still holds for it may work, in both directions, and stays until the peer is planned again or its lease is gone. A path that leads to
 * another node than the peer is none. Pure.
 *
 * @module
 */

import type { Cidr, Ip } from "../model/ip.ts";
import { type Hop, type Item, keyOf } from "../model/item.ts";

/** A peer for which nothing is planned now. */
export interface Waiting {
  readonly subnet: Cidr;
  readonly publicIp: Ip;
}

/** The keys of what the kernel holds for some peers: routes, and all that these lead to. */
export function retained(observed: ReadonlyMap<string, Item>, peers: readonly Waiting[]): ReadonlySet<string> {
  const keys = new Set<string>();
  const links = new Set<string>();
  for (const peer of peers) {
    const path = pathTo(observed, peer);
    path?.keys.forEach((key) => keys.add(key));
    if (path !== null) links.add(path.link);
  }
  for (const item of links.size === 0 ? [] : observed.values()) {
    if ((item.kind === "link" && links.has(item.name)) || (item.kind === "address" && links.has(item.link))) keys.add(keyOf(item));
  }
  return keys;
}

/** The items over which packets go to a peer, and the device they leave by; `null` if they go elsewhere. */
function pathTo(
  observed: ReadonlyMap<string, Item>,
  { subnet, publicIp }: Waiting,
): { readonly keys: readonly string[]; readonly link: string } | null {
  const keys = [`route ${subnet}`];
  const route = observed.get(keys[0]!);
  if (route?.kind !== "route") return null;
  let hop: Hop | undefined;
  if (typeof route.to === "number") {
    keys.push(`nexthop ${route.to}`);
    const nexthop = observed.get(keys[1]!);
    hop = nexthop?.kind === "nexthop" ? nexthop.hop : undefined;
  } else hop = route.to;
  if (hop === undefined) return null;
  if (hop.via === publicIp) return { keys, link: hop.link };
  const entries = hop.via === null
    ? throughWireguard(observed, hop.link, subnet, publicIp)
    : throughVxlan(observed, hop.link, hop.via, publicIp);
  return entries === null ? null : { keys: [...keys, ...entries.map(keyOf)], link: hop.link };
}

/** The entries by which a vxlan device sends what is for a gateway to an address; `null` if it does not. */
function throughVxlan(observed: ReadonlyMap<string, Item>, link: string, gateway: Ip, publicIp: Ip): readonly Item[] | null {
  const neighbour = observed.get(`neighbour ${link} ${gateway}`);
  const fdb = neighbour?.kind === "neighbour" ? observed.get(`fdb ${link} ${neighbour.mac}`) : undefined;
  return neighbour === undefined || fdb?.kind !== "fdb" || fdb.dst !== publicIp ? null : [neighbour, fdb];
}

/** The entries by which a wireguard device sends what is for a subnet to an address; `null` if it does not. */
function throughWireguard(observed: ReadonlyMap<string, Item>, link: string, subnet: Cidr, publicIp: Ip): readonly Item[] | null {
  const allowed = observed.get(`allowed-ip ${link} ${subnet}`);
  const peer = allowed?.kind === "allowed-ip" ? observed.get(`wireguard-peer ${link} ${allowed.publicKey}`) : undefined;
  return allowed === undefined || peer?.kind !== "wireguard-peer" || peer.endpoint?.ip !== publicIp ? null : [allowed, peer];
}
