/**
 * Which packets are masqueraded and which may be forwarded, as values.
 *
 * Owns the rules themselves, for both families and both ways of writing them (iptables, nftables); never talks to the kernel and
 * knows no syntax. Follows flannel's `pkg/trafficmngr`: the rules of its iptables mode, which its nftables mode meant to have too.
 *
 * @module
 */

import { type Cidr, contains, type Family, familyOf, overlaps } from "../model/ip.ts";

/** The bit that kube-proxy sets on packets which it masquerades itself. */
export const KUBE_MARK = 0x4000;

/** A test of an address: inside a prefix, or outside of it. */
export interface Side {
  readonly cidr: Cidr;
  readonly not: boolean;
}

/** One rule: what must hold for a packet, and what becomes of it then. */
export interface Rule {
  /** The packet carries {@linkcode KUBE_MARK}. */
  readonly marked: boolean;
  readonly source: Side | null;
  readonly destination: Side | null;
  readonly verdict: "return" | "accept" | "masquerade" | "masquerade fully-random";
}

/** The two lists of rules: one for packets that leave the node, one for packets that pass it. */
export type Purpose = "masquerade" | "forward";

/** The pod network in one family, and the part of it on this node. */
export interface PodRange {
  readonly network: Cidr;
  readonly subnet: Cidr;
}

/** What the operator chose. */
export interface TrafficSettings {
  /** `--ip-masq` */
  readonly masquerade: boolean;
  /** `--iptables-forward-rules` */
  readonly forward: boolean;
  /** Not `--ip-masq-fully-random-disable`. */
  readonly fullyRandom: boolean;
  /** `EnableNFTables` of the network configuration. */
  readonly mode: "iptables" | "nftables";
  /** `--iptables-resync`, in seconds. */
  readonly resync: number;
}

/** The rules that shall be in place in one family. */
export interface FamilyRules {
  readonly family: Family;
  /** Empty where the operator wants none. */
  readonly masquerade: readonly Rule[];
  readonly forward: readonly Rule[];
}

/** All that shall be in place. */
export interface Intent {
  readonly mode: TrafficSettings["mode"];
  readonly resync: number;
  /** One per family of the network. */
  readonly families: readonly FamilyRules[];
  /** What the rules are about. */
  readonly ranges: readonly PodRange[];
  /** Ranges that this node had before: rules about them are stale, not another agent's. */
  readonly former: readonly PodRange[];
}

/**
 * The rules that a node shall have.
 *
 * @param ranges One per family of the network, with the node's own subnet.
 * @param former Ranges of earlier runs, as subnet.env or a lost lease names them.
 *
 * @example Usage
 * ```ts
 * import { intentOf } from "./rules.ts";
 * import { parseCidr } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * const settings = { masquerade: false, forward: true, fullyRandom: true, mode: "nftables", resync: 5 } as const;
 * const range = { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") };
 * const [ipv4] = intentOf(settings, [range]).families;
 * assert.deepEqual(ipv4?.forward.map((rule) => rule.verdict), ["accept", "accept"]);
 * ```
 */
export function intentOf(
  settings: TrafficSettings,
  ranges: readonly PodRange[],
  former: readonly PodRange[] = [],
): Intent {
  return {
    mode: settings.mode,
    resync: settings.resync,
    families: ranges.map((range) => ({
      family: familyOf(range.network),
      masquerade: settings.masquerade ? [MARKED, ...masqueradeBlock(range, settings.fullyRandom)] : [],
      forward: settings.forward ? forwardBlock(range) : [],
    })),
    ranges,
    former,
  };
}

/** Packets that kube-proxy masquerades are left to it. */
const MARKED: Rule = { marked: true, source: null, destination: null, verdict: "return" };

const MULTICAST: Readonly<Record<Family, Cidr>> = { 4: "224.0.0.0/4" as Cidr, 6: "ff00::/8" as Cidr };

/** Masquerading for one range, without the rule that all ranges share. */
function masqueradeBlock({ network, subnet }: PodRange, fullyRandom: boolean): Rule[] {
  const verdict = fullyRandom ? "masquerade fully-random" : "masquerade";
  return [
    rule(is(subnet), is(network), "return"),
    rule(is(network), is(subnet), "return"),
    rule(not(network), is(subnet), "return"),
    rule(is(network), not(MULTICAST[familyOf(network)]), verdict),
    // A node's own connection to a pod elsewhere: the answer must come back through the pod network.
    rule(not(network), is(network), verdict),
  ];
}

function forwardBlock({ network }: Pick<PodRange, "network">): Rule[] {
  return [rule(is(network), null, "accept"), rule(null, is(network), "accept")];
}

function rule(source: Side | null, destination: Side | null, verdict: Rule["verdict"]): Rule {
  return { marked: false, source, destination, verdict };
}

function is(cidr: Cidr): Side {
  return { cidr, not: false };
}

function not(cidr: Cidr): Side {
  return { cidr, not: true };
}

/** Whether two rules are the same; what could not be read as a rule (`null`) equals nothing. */
export function sameRule(a: Rule | null, b: Rule | null): boolean {
  return a !== null && b !== null && a.marked === b.marked && a.verdict === b.verdict &&
    sameSide(a.source, b.source) && sameSide(a.destination, b.destination);
}

/** Whether two lists hold the same rules in the same order. */
export function sameRules(a: readonly (Rule | null)[], b: readonly (Rule | null)[]): boolean {
  return a.length === b.length && a.every((rule, i) => sameRule(rule, b[i]!));
}

function sameSide(a: Side | null, b: Side | null): boolean {
  return a === null || b === null ? a === b : a.cidr === b.cidr && a.not === b.not;
}

/**
 * What a chain shall hold, given what it holds now.
 *
 * The chains have fixed names, and two agents with different networks may share a node: the complete rules of another agent stay.
 * Everything else that is not wanted goes.
 *
 * @param observed The chain as it is; `null` stands for a rule of no known form.
 * @param wanted Our own rules; empty if there shall be none.
 * @param own Our networks, now and formerly: rules about these are ours.
 * @returns The rules; an empty list if the chain shall not exist.
 */
export function targetRules(
  purpose: Purpose,
  observed: readonly (Rule | null)[],
  wanted: readonly Rule[],
  own: readonly Cidr[],
): readonly Rule[] {
  const others: Rule[] = [];
  const rest: (Rule | null)[] = [];
  for (let i = 0; i < observed.length;) {
    const block = blockAt(purpose, observed, i, own);
    others.push(...block);
    if (block.length === 0) rest.push(observed[i]!);
    i += Math.max(1, block.length);
  }
  const mine = wanted.length > 0 || others.length === 0 || purpose === "forward" ? wanted : [MARKED];
  // In whichever order the agents came: else each would put its own rules first, for ever.
  return sameRules(rest, mine) ? observed as readonly Rule[] : [...mine, ...others];
}

/** The complete rules of one other agent that begin at an index, or nothing. */
function blockAt(purpose: Purpose, observed: readonly (Rule | null)[], at: number, own: readonly Cidr[]): readonly Rule[] {
  const first = observed[at];
  const subnet = first?.source?.cidr;
  const network = purpose === "masquerade" ? first?.destination?.cidr : subnet;
  if (subnet === undefined || network === undefined || !contains(network, subnet)) return [];
  if (own.some((cidr) => overlaps(cidr, network))) return [];
  const shapes = purpose === "forward"
    ? [forwardBlock({ network })]
    : [true, false].map((random) => masqueradeBlock({ network, subnet }, random));
  return shapes.find((shape) => sameRules(shape, observed.slice(at, at + shape.length))) ?? [];
}

/**
 * Finds the rules that flannel up to v0.19 put straight into the built-in chains.
 *
 * @param rules The rules of `POSTROUTING` or `FORWARD`.
 * @param ranges Our ranges, now and formerly.
 * @returns The indices of those that such a flanneld made.
 */
export function plainRules(purpose: Purpose, rules: readonly (Rule | null)[], ranges: readonly PodRange[]): number[] {
  const found = ranges.flatMap((range) => {
    const { network } = range;
    const made = purpose === "forward" ? forwardBlock(range) : [
      rule(is(network), is(network), "return"),
      ...[true, false].flatMap((random) => masqueradeBlock(range, random).slice(3)),
    ];
    const indices = rules.flatMap((rule, i) =>
      made.some((each) => sameRule(each, rule)) || purpose === "masquerade" && isPlainReturn(rule, network) ? [i] : []
    );
    // Administrators write one of the two forward rules by hand; flanneld always made both.
    return purpose === "forward" && !made.every((each) => rules.some((rule) => sameRule(each, rule))) ? [] : indices;
  });
  return [...new Set(found)];
}

/** `! -s NETWORK -d SUBNET -j RETURN`, for whichever subnet of the network the node had then. */
function isPlainReturn(rule: Rule | null, network: Cidr): boolean {
  const destination = rule?.destination;
  return !!rule && !!destination && !destination.not && contains(network, destination.cidr) &&
    sameRule(rule, { marked: false, source: not(network), destination, verdict: "return" });
}
