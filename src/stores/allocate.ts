/**
 * The choice of subnets for a node.
 *
 * Pure: the store hands in what is taken and a source of chance, and writes down what was chosen. Follows flannel HEAD
 * (`pkg/subnet/etcd/local_manager.go`): the subnets of a lease that the node holds, else those it had before, else one of the first
 * hundred free ones. Each family is chosen by itself. Difference: where only a part of the node's lease still fits (IPv6 was switched
 * on, say), that part is kept, so the pods keep their addresses.
 *
 * @module
 */

import {
  bitsOf,
  type Cidr,
  cidrOf,
  contains,
  familyOf,
  type Ip,
  ipNumber,
  ipOf,
  lengthOf,
  networkOf,
  overlaps,
} from "../model/ip.ts";
import type { Allocation, Lease, Range } from "../model/lease.ts";

/** What a choice is made of. */
export interface Choice {
  /** The ranges of the network, one per family. */
  readonly ranges: readonly Range[];
  /** The subnets of each lease that the node holds. They are kept even where another lease overlaps them. */
  readonly own: readonly (readonly Cidr[])[];
  /** Subnets that the node had before. */
  readonly previous: readonly Cidr[];
  /** The subnets of all other leases, inside the ranges or not. */
  readonly taken: readonly Cidr[];
  /** A number in [0, 1). */
  readonly random: () => number;
}

/** Of so many free subnets one is picked, so that nodes that start together seldom want the same. */
const CANDIDATES = 100;

/**
 * Chooses one subnet per range.
 *
 * @returns The subnets, in the order of the ranges. They are those of a lease in `own` whenever one fits the ranges as a whole.
 * @throws {Error} If no subnet of a range is free.
 *
 * @example Usage
 * ```ts
 * import { chooseSubnets } from "./allocate.ts";
 * import { parseCidr, parseIp } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * const allocation = { length: 24, min: parseIp("10.3.1.0"), max: parseIp("10.3.255.0") };
 * const ranges = [{ network: parseCidr("10.3.0.0/16"), allocation }];
 * const taken = [parseCidr("10.3.1.0/24"), parseCidr("10.3.2.128/25")];
 * assert.deepEqual(chooseSubnets({ ranges, own: [], previous: [], taken, random: () => 0 }), ["10.3.3.0/24"]);
 * ```
 */
export function chooseSubnets({ ranges, own, previous, taken, random }: Choice): readonly Cidr[] {
  const kept = own.find((subnets) => subnets.length === ranges.length && ranges.every((range) => subnets.some(fitting(range))));
  return ranges.map((range) => {
    const subnet = kept?.find(fitting(range)) ?? own.flat().find(fitting(range));
    if (subnet !== undefined) return subnet;
    const spans = spansOf(taken, familyOf(range.network));
    const before = previous.find((subnet) => fitting(range)(subnet) && isFree(subnet, spans));
    return before ?? pick(range, spans, random) ?? outOfSubnets(range, taken);
  });
}

/** Whether a lease is that of the node with these public addresses: one of them is enough, since the other may have changed. */
export function isLeaseOf(lease: Lease, publicIps: readonly Ip[]): boolean {
  return lease.endpoints.some(({ publicIp }) => publicIps.includes(publicIp));
}

/** A run of addresses, by number; `last` is in it. */
interface Span {
  readonly first: bigint;
  readonly last: bigint;
}

function allocationOf({ network, allocation }: Range): Allocation {
  if (allocation === null) throw new Error(`Cannot choose a subnet of ${network}: nothing says how it is cut into subnets`);
  return allocation;
}

function fitting(range: Range): (subnet: Cidr) => boolean {
  const { length, min, max } = allocationOf(range);
  return (subnet) => {
    if (lengthOf(subnet) !== length || !contains(range.network, subnet)) return false;
    const first = ipNumber(networkOf(subnet));
    return ipNumber(min) <= first && first <= ipNumber(max);
  };
}

function spanOf(subnet: Cidr): Span {
  const first = ipNumber(networkOf(subnet));
  return { first, last: first + (1n << BigInt(bitsOf(familyOf(subnet)) - lengthOf(subnet))) - 1n };
}

/** The spans of a family, sorted, those that touch or overlap made one. */
function spansOf(subnets: readonly Cidr[], family: 4 | 6): readonly Span[] {
  const sorted = subnets.filter((subnet) => familyOf(subnet) === family).map(spanOf)
    .sort((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0);
  const merged: { first: bigint; last: bigint }[] = [];
  for (const span of sorted) {
    const before = merged.at(-1);
    if (before === undefined || span.first > before.last + 1n) merged.push({ ...span });
    else if (span.last > before.last) before.last = span.last;
  }
  return merged;
}

function isFree(subnet: Cidr, spans: readonly Span[]): boolean {
  const { first, last } = spanOf(subnet);
  return !spans.some((span) => span.first <= last && first <= span.last);
}

function pick(range: Range, spans: readonly Span[], random: () => number): Cidr | undefined {
  const { length, min, max } = allocationOf(range);
  const family = familyOf(range.network);
  const free = firstFree({ first: ipNumber(min), last: ipNumber(max) }, 1n << BigInt(bitsOf(family) - length), spans);
  const start = free[Math.floor(random() * free.length)];
  return start === undefined ? undefined : cidrOf(ipOf(start, family), length);
}

function outOfSubnets(range: Range, taken: readonly Cidr[]): never {
  const { length, min, max } = allocationOf(range);
  const [widest] = taken.filter((subnet) => overlaps(range.network, subnet)).sort((a, b) => lengthOf(a) - lengthOf(b));
  const why = widest === undefined || lengthOf(widest) >= length ? "" : ` (the lease ${widest} alone takes many of them)`;
  throw new Error(
    `Cannot take a lease: no /${length} from ${min} to ${max} is free${why}; ` +
      "give back leases that nobody uses, or let the network configuration say a wider Network or smaller subnets",
  );
}

/** The first free subnets of a size whose start lies in `starts`: it goes from gap to gap, however wide the spans between are. */
function firstFree(starts: Span, size: bigint, spans: readonly Span[]): readonly bigint[] {
  const free: bigint[] = [];
  let start = starts.first;
  let at = 0;
  while (start <= starts.last && free.length < CANDIDATES) {
    let span = spans[at];
    while (span !== undefined && span.last < start) span = spans[++at];
    if (span === undefined || span.first >= start + size) {
      free.push(start);
      start += size;
    } else {
      start += ((span.last - start) / size + 1n) * size;
    }
  }
  return free;
}
