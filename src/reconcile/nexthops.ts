/**
 * Nexthop objects: which id a subnet's nexthop has, and how a planned route goes through one.
 *
 * With one gateway per peer the kernel walks all earlier routes on every insert, unless the gateway is in a nexthop object of its own.
 * Ids follow from the subnets alone, so a restarted agent finds its own again (DESIGN.md, Item kinds).
 * Source: Linux `net/ipv4/fib_semantics.c` (fib_info_hashfn), `net/ipv4/nexthop.c`.
 *
 * @module
 */

import { type Cidr, compareSpans, familyOf, ipBytes, ipNumber, networkOf, spanOf } from "../model/ip.ts";
import { CompactMap } from "../model/compact_map.ts";
import type { Item, Route } from "../model/item.ts";

/** Hardly an IPv4 subnet's address has this top nibble (it is reserved), so ids of the two families seldom meet. */
const IPV6_IDS = 0xf0000000;
const IPV6_MASK = 0x0fffffff;

/**
 * The ids of the nexthops of some subnets.
 *
 * An IPv4 subnet's is its address as a number. An IPv6 subnet's is a hash of it; where two meet, the later one in the order of
 * subnets takes the next free number.
 */
export function nexthopIds(subnets: readonly Cidr[]): ReadonlyMap<Cidr, number> {
  return new NexthopIds().of(subnets);
}

/** Gives ids again and again. */
export class NexthopIds {
  #subnets: readonly Cidr[] = [];
  #ids: ReadonlyMap<Cidr, number> = new Map();

  /** As {@linkcode nexthopIds}; the very same map as before for the same subnets in the same order. */
  of(subnets: readonly Cidr[]): ReadonlyMap<Cidr, number> {
    if (subnets.length === this.#subnets.length && subnets.every((subnet, i) => subnet === this.#subnets[i])) return this.#ids;
    this.#subnets = subnets;
    const ids = new CompactMap<Cidr, number>();
    for (const subnet of subnets) if (familyOf(subnet) === 4) ids.set(subnet, Number(ipNumber(networkOf(subnet))));
    const hashed = subnets.filter((subnet) => familyOf(subnet) === 6);
    if (hashed.length > 0) chooseHashed(hashed, ids);
    return this.#ids = ids;
  }
}

/** Gives IPv6 subnets their ids, none of which may be given already. */
function chooseHashed(subnets: readonly Cidr[], ids: CompactMap<Cidr, number>): void {
  const taken = new Set(ids.values());
  const inOrder = subnets.map((subnet) => ({ subnet, span: spanOf(subnet) })).sort((a, b) => compareSpans(a.span, b.span));
  for (const { subnet } of inOrder) {
    let id = hash(subnet);
    while (taken.has(id)) id = (IPV6_IDS | ((id + 1) & IPV6_MASK)) >>> 0;
    taken.add(id);
    ids.set(subnet, id);
  }
}

const numbers = new WeakMap<ReadonlyMap<Cidr, number>, ReadonlySet<number>>();

/** The ids alone; the very same set for the same map. */
export function numbersOf(ids: ReadonlyMap<Cidr, number>): ReadonlySet<number> {
  let set = numbers.get(ids);
  if (set === undefined) numbers.set(ids, set = new Set(ids.values()));
  return set;
}

/** Who else has one of the ids, by id, of all the keys that others hold in the kernel. */
export function holdersOf(ids: ReadonlyMap<Cidr, number>, foreign: ReadonlyMap<string, string>): ReadonlyMap<number, string> {
  const holders = new Map<number, string>();
  for (const [key, holder] of foreign) {
    const id = Number(/^nexthop (\d+)$/.exec(key)?.[1]);
    if (numbersOf(ids).has(id)) holders.set(id, holder);
  }
  return holders;
}

/** FNV-1a over the bytes of the address, folded to 28 bits. */
function hash(subnet: Cidr): number {
  let sum = 0x811c9dc5;
  for (const byte of ipBytes(networkOf(subnet))) sum = Math.imul(sum ^ byte, 0x01000193);
  return (IPV6_IDS | ((sum ^ sum >>> 28) & IPV6_MASK)) >>> 0;
}

/**
 * A planned route as a nexthop object and a route that names it. A route without a gateway stays as it is: all over one device share one
 * descriptor in the kernel.
 */
export function throughNexthop(route: Route, id: number): readonly Item[] {
  return typeof route.to === "number" || route.to.via === null
    ? [route]
    : [{ kind: "nexthop", id, hop: route.to }, { ...route, to: id }];
}
