/**
 * `agent cleanup`: removes from the kernel what agents put there, traffic rules included, and nothing else.
 *
 * @module
 */

import { leftDevices } from "../agent/node.ts";
import { familyOf, lengthOf } from "../model/ip.ts";
import { describe, type Item, type Kind, KINDS } from "../model/item.ts";
import type { Kernel, Ownership } from "../model/kernel.ts";
import { parseSubnetEnv } from "../config/subnet_env.ts";
import { diff } from "../reconcile/diff.ts";
import { perform, type Run, type Step } from "../traffic/command.ts";
import { everythingOfOurs } from "../traffic/firewall.ts";

/** What can be removed; a filter that was made loose stays. */
const REMOVABLE: ReadonlySet<Kind> = new Set(KINDS.filter((kind) => kind !== "reverse-path"));

/** What agents left on this node. */
export interface Leftovers {
  readonly items: readonly Item[];
  /** Each removes some traffic rules. */
  readonly rules: readonly Step[];
}

/**
 * What the agent that wrote a subnet.env put into the kernel.
 *
 * @param path The file's path, for messages.
 * @param run Runs the firewall's programs.
 * @param devices The names of devices that backends make.
 * @throws {Error} If the file says too little, or the firewall can not be read.
 */
export async function leftovers(
  kernel: Kernel,
  run: Run,
  subnetEnv: string,
  path: string,
  devices: readonly RegExp[],
): Promise<Leftovers> {
  const { networks, subnets } = parseSubnetEnv(subnetEnv, path);
  const ranges = networks.flatMap((network) => {
    const subnet = subnets.find((subnet) => familyOf(subnet) === familyOf(network));
    return subnet === undefined ? [] : [{ network, subnet, length: lengthOf(subnet) }];
  });
  const links = leftDevices(kernel.facts(), devices, ranges.map(({ network }) => network));
  const own: Ownership = { links, networks: ranges, nexthops: new Set(), reversePath: [], adopts: true };
  const { items } = kernel.observe(REMOVABLE, own);
  return { items: diff(new Map(), items).map(({ item }) => item), rules: await everythingOfOurs(run, ranges) };
}

/** What there is, one line each. */
export function describeLeftovers({ items, rules }: Leftovers): readonly string[] {
  return [...items.map(describe), ...rules.map(({ what }) => what.replace(/^remove /, ""))];
}

/**
 * Removes all of it.
 *
 * @returns What could not be removed, one line each.
 */
export async function remove(kernel: Kernel, run: Run, { items, rules }: Leftovers): Promise<readonly string[]> {
  const refusals = await kernel.apply(items.map((item) => ({ op: "drop", item })));
  const failed = [...refusals].map(([{ item }, { error }]) => `${describe(item)}: ${error}`);
  const problem = await perform(run, rules).then(() => [], (error: Error) => [error.message]);
  return [...failed, ...problem];
}
