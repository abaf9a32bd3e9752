/**
 * Nexthop objects: which id a subnet's nexthop has, and how a planned route goes through one.
 *
 * With one gateway per peer the kernel walks all earlier routes on every insert, unless the gateway is in a nexthop object of its own.
 * Ids follow from the subnets alone, so a restarted agent finds its own again (DESIGN.md, Item kinds).
 * Source: Linux `net/ipv4/fib_semantics.c` (fib_info_hashfn), `net/ipv4/nexthop.c`.
 *
 * @module
 */

import { type Cidr, compareCidrs, familyOf, ipBytes, ipNumber, networkOf } from "../model/ip.ts";
import type { Item, Route } from "../model/item.ts";

/** No IPv4 subnet's address has this top nibble, so ids of the two families never meet. */
const IPV6_IDS = 0xf0000000;
const IPV6_MASK = 0x0fffffff;

/**
 * The ids of the nexthops of some subnets.
 *
 * An IPv4 subnet's is its address as a number. An IPv6 subnet's is a hash of it; where two meet, the later one in the order of
 * subnets takes the next free number.
 */
export function nexthopIds(subnets: readonly Cidr[]): ReadonlyMap<Cidr, number> {
  const ids = new Map<Cidr, number>();
  const taken = new Set<number>();
  for (const subnet of [...subnets].sort(compareCidrs)) {
    if (familyOf(subnet) === 4) {
      ids.set(subnet, Number(ipNumber(networkOf(subnet))));
      continue;
    }
    let id = hash(subnet);
    while (taken.has(id)) id = (IPV6_IDS | ((id + 1) & IPV6_MASK)) >>> 0;
    taken.add(id);
    ids.set(subnet, id);
  }
  return ids;
}

/** FNV-1a over the bytes of the address, folded to 28 bits. */
function hash(subnet: Cidr): number {
  let sum = 0x811c9dc5;
  for (const byte of ipBytes(networkOf(subnet))) sum = Math.imul(sum ^ byte, 0x01000193);
  return (IPV6_IDS | ((sum ^ sum >>> 28) & IPV6_MASK)) >>> 0;
}

/** A planned route as a nexthop object and a route that names it. */
export function throughNexthop(route: Route, id: number): readonly Item[] {
  return typeof route.to === "number" ? [route] : [{ kind: "nexthop", id, hop: route.to }, { ...route, to: id }];
}
