/**
 * The two ways of holding the rules, seen alike.
 *
 * Owns the choice between nftables and a variant of iptables, and the removal of whatever the other ways hold; never decides when
 * anything is done.
 *
 * @module
 */

import type { Cidr } from "../model/ip.ts";
import type { RulesetChange } from "../model/kernel.ts";
import type { Run, Step } from "./command.ts";
import { IPTABLES_CHAINS, iptablesSteps, leftInIptables } from "./iptables.ts";
import { chooseVariant, type Installed, installedVariants } from "./iptables_variants.ts";
import { NFT_TABLES, nftSteps } from "./nftables.ts";
import type { FamilyRules, Intent, PodRange } from "./rules.ts";

/** Where the rules are held. */
export interface Firewall {
  readonly name: "nftables" | "iptables-nft" | "iptables-legacy";
  /** The kernel tells of changes; else one has to look. */
  readonly tells: boolean;
  /** Whether a change may be one of our rules. */
  concerns(change: RulesetChange): boolean;
  /** What must be done so that the wanted rules are in place; nothing if they are. */
  steps(): Promise<Step[]>;
  /** What must be done so that nothing but the wanted rules is left of ours and of a former flanneld's. */
  leftovers(): Promise<Step[]>;
}

/**
 * The firewall for an intent.
 *
 * @throws {Error} If the programs for it are not on this machine.
 */
export async function firewallFor(run: Run, intent: Intent): Promise<Firewall> {
  return intent.mode === "nftables" ? nftables(run, intent) : await iptables(run, intent);
}

/**
 * All that is left of ours, of a former flanneld's included, wherever it is held: what uninstalling removes.
 *
 * @param ranges The ranges that this node has or had.
 */
export async function everythingOfOurs(run: Run, ranges: readonly PodRange[]): Promise<Step[]> {
  const own = ranges.map(({ network }) => network);
  return [...await leftInNftables(run, [], own), ...leftInIptables(await installedVariants(run), null, [], ranges)];
}

function nftables(run: Run, intent: Intent): Firewall {
  const { ranges, own } = ownOf(intent);
  return {
    name: "nftables",
    tells: true,
    concerns: (change) =>
      change.touched.some(({ family, table }) =>
        Object.values(NFT_TABLES).some((each) => each.family === family && each.name === table)
      ),
    steps: () => stepsOf(intent, (wanted) => nftSteps(run, wanted, own)),
    leftovers: async () => [
      ...await leftInNftables(run, intent.families, own),
      ...leftInIptables(await installedVariants(run), null, [], ranges),
    ],
  };
}

async function iptables(run: Run, intent: Intent): Promise<Firewall> {
  const { ranges, own } = ownOf(intent);
  const installed = await installedVariants(run);
  const variant = await chooseVariant(run, installed);
  if (variant === null) {
    throw new Error(
      `Cannot put traffic rules in place: found none of the programs iptables-nft, iptables-legacy and iptables; ` +
        `install iptables, or set "EnableNFTables": true in the network configuration`,
    );
  }
  // What was found while choosing serves once: to look again costs seconds where kube-proxy holds tens of thousands of rules.
  let found: readonly Installed[] | null = installed;
  return {
    name: `iptables-${variant.name}`,
    tells: variant.name === "nft",
    concerns: (change) =>
      variant.name === "nft" &&
      change.touched.some(({ family, table, chain }) =>
        (family === "ip" || family === "ip6") &&
        (chain === null ? table === "nat" || table === "filter" : IPTABLES_CHAINS.has(`${table} ${chain}`))
      ),
    steps: () => stepsOf(intent, (wanted) => iptablesSteps(run, variant, wanted, own)),
    async leftovers() {
      const latest = found ?? await installedVariants(run);
      found = null;
      return [...leftInIptables(latest, variant, intent.families, ranges), ...await leftInNftables(run, [], own)];
    },
  };
}

function ownOf(intent: Intent): { ranges: readonly PodRange[]; own: readonly Cidr[] } {
  const ranges = [...intent.ranges, ...intent.former];
  return { ranges, own: ranges.map(({ network }) => network) };
}

async function stepsOf(intent: Intent, one: (wanted: FamilyRules) => Promise<Step[]>): Promise<Step[]> {
  const steps: Step[] = [];
  for (const wanted of intent.families) steps.push(...await one(wanted));
  return steps;
}

/** What must be done to remove our tables of families without rules. Where nftables can not be read, nothing of ours can be. */
async function leftInNftables(run: Run, wanted: readonly FamilyRules[], own: readonly Cidr[]): Promise<Step[]> {
  const steps: Step[] = [];
  for (const family of [4, 6] as const) {
    if (wanted.some((each) => each.family === family)) continue;
    steps.push(...await nftSteps(run, { family, masquerade: [], forward: [] }, own).catch(() => []));
  }
  return steps;
}
