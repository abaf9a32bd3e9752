/**
 * `agent cleanup`: removes from the kernel what agents put there, and nothing else.
 *
 * @module
 */

import { VXLAN_DEVICE } from "../agent/node.ts";
import { contains, familyOf, lengthOf } from "../model/ip.ts";
import { describe, type Item, type Kind, KINDS } from "../model/item.ts";
import type { Kernel, Ownership } from "../model/kernel.ts";
import { parseSubnetEnv } from "../config/subnet_env.ts";
import { diff } from "../reconcile/diff.ts";

/** What can be removed; a filter that was made loose stays. */
const REMOVABLE: ReadonlySet<Kind> = new Set(KINDS.filter((kind) => kind !== "reverse-path"));

/** What the agent that wrote a subnet.env put into the kernel. */
export function leftovers(kernel: Kernel, subnetEnv: string, path: string): readonly Item[] {
  const { networks, subnets } = parseSubnetEnv(subnetEnv, path);
  const ranges = networks.flatMap((network) => {
    const subnet = subnets.find((subnet) => familyOf(subnet) === familyOf(network));
    return subnet === undefined ? [] : [{ network, length: lengthOf(subnet) }];
  });
  const devices = kernel.facts().addresses
    .filter(({ link, ip }) => VXLAN_DEVICE.test(link) && ranges.some(({ network }) => contains(network, ip)))
    .map(({ link }) => link);
  const own: Ownership = { links: [...new Set(devices)], networks: ranges, nexthops: new Set(), reversePath: [] };
  const { items } = kernel.observe(REMOVABLE, own);
  return diff(new Map(), items).map(({ item }) => item);
}

/**
 * Removes items.
 *
 * @returns What could not be removed, one line each.
 */
export async function remove(kernel: Kernel, items: readonly Item[]): Promise<readonly string[]> {
  const outcomes = await kernel.apply(items.map((item) => ({ op: "drop", item })));
  return outcomes.flatMap(({ error, change }) => error === null ? [] : [`${describe(change.item)}: ${error}`]);
}
