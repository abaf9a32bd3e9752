/**
 * What must stay for peers that wait: their working path, although nothing is planned for them now.
 *
 * While the nodes of a cluster change to another backend one after the other, a peer's type is for a time not ours. What the kernel
 * still holds for it may work, in both directions, and stays until the peer is planned again or its lease is gone. Pure.
 *
 * @module
 */

import type { Cidr } from "../model/ip.ts";
import { type Hop, type Item, keyOf, type Nexthop } from "../model/item.ts";

/** The keys of what the kernel holds for some subnets: routes, and all that these lead to. */
export function retained(observed: ReadonlyMap<string, Item>, subnets: readonly Cidr[]): ReadonlySet<string> {
  const keys = new Set<string>();
  const links = new Set<string>();
  const keep = (key: string) => {
    const item = observed.get(key);
    if (item !== undefined) keys.add(key);
    return item;
  };
  const keepHop = ({ via, link }: Hop) => {
    links.add(link);
    const neighbour = keep(`neighbour ${link} ${via}`);
    if (neighbour?.kind === "neighbour") keep(`fdb ${link} ${neighbour.mac}`);
  };
  for (const subnet of subnets) {
    const route = keep(`route ${subnet}`);
    if (route?.kind !== "route") continue;
    const hop = typeof route.to === "number" ? (keep(`nexthop ${route.to}`) as Nexthop | undefined)?.hop : route.to;
    if (hop !== undefined) keepHop(hop);
  }
  for (const item of links.size === 0 ? [] : observed.values()) {
    if ((item.kind === "link" && links.has(item.name)) || (item.kind === "address" && links.has(item.link))) keys.add(keyOf(item));
  }
  return keys;
}
