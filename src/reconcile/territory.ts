/**
 * The subnets that leases claim, and who keeps them where they overlap.
 *
 * The narrower of two is kept, since a wide one would take the traffic of all inside it; of two equal ones the first by key. Who has
 * lost takes nothing from others.
 *
 * @module
 */

import { type Cidr, compareSpans, lengthOf, type Span } from "../model/ip.ts";
import type { Lease } from "../model/lease.ts";
import { type Difference, difference } from "./lists.ts";

/** A subnet of a lease that keeps the rules by itself. */
export interface Claim {
  readonly lease: Lease;
  readonly subnet: Cidr;
  readonly span: Span;
  /** It is the lease's first. */
  readonly main: boolean;
}

/** So many are sorted in, and taken out, one by one. */
const FEW = 50;

/** All claims. */
export class Territory {
  /** Sorted. */
  #claims: Claim[] = [];
  /** `null` until somebody asks for them. */
  #leases: readonly Lease[] | null = null;
  #losers: ReadonlyMap<Lease, string> = new Map();

  /** The leases that must give way, with the reason. */
  get losers(): ReadonlyMap<Lease, string> {
    return this.#losers;
  }

  /** The others, sorted by their first subnets. */
  get leases(): readonly Lease[] {
    return this.#leases ??= leasesOf(this.#claims).filter((lease) => !this.#losers.has(lease));
  }

  /**
   * Takes claims away, and adds others.
   *
   * @returns How the leases that keep theirs have changed.
   */
  change(gone: readonly Claim[], fresh: readonly Claim[]): Difference<Lease> {
    const lostBefore = this.#losers;
    if (gone.length + fresh.length > FEW) this.#changeMany(gone, fresh);
    else this.#changeFew(gone, fresh);
    this.#leases = null;
    const lost = this.#losers;
    const all = difference(leasesOf(gone), leasesOf(fresh));
    if (lostBefore.size + lost.size === 0) return all;
    const came = new Set(all.fresh); // who loses its subnet goes too, and who gets it back comes
    const wasThere = (lease: Lease) => !came.has(lease) && !lostBefore.has(lease);
    const isThere = (lease: Lease) => !all.gone.has(lease) && !lost.has(lease);
    return {
      gone: new Set([...all.gone, ...lost.keys()].filter(wasThere)),
      fresh: [...all.fresh, ...lostBefore.keys()].filter(isThere),
    };
  }

  #changeMany(gone: readonly Claim[], fresh: readonly Claim[]): void {
    const lost = new Set(gone);
    this.#claims = [...this.#claims.filter((claim) => !lost.has(claim)), ...fresh].sort(compareClaims);
    this.#losers = separate(this.#claims);
  }

  #changeFew(gone: readonly Claim[], fresh: readonly Claim[]): void {
    const replaced = new Map(gone.flatMap((claim) => {
      const other = fresh.find((it) => haveOnePlace(claim, it)); // as a rule: a lease says something else of the same subnet
      return other === undefined ? [] : [[claim, other]];
    }));
    const kept = new Set(replaced.values());
    gone.forEach((claim) => this.#remove(claim, replaced.get(claim)));
    let peaceful = this.#losers.size === 0;
    for (const claim of fresh) {
      if (kept.has(claim)) continue;
      const at = this.#insert(claim);
      peaceful &&= !meet(this.#claims[at - 1], claim) && !meet(claim, this.#claims[at + 1]);
    }
    if (!peaceful) this.#losers = separate(this.#claims);
  }

  /** Takes a claim out, and another into its place if there is one. */
  #remove(claim: Claim, other?: Claim): void {
    const others = other === undefined ? [] : [other];
    this.#claims.splice(placeOf(this.#claims, claim), 1, ...others);
  }

  /** Sorts a claim in; returns its place among all. */
  #insert(claim: Claim): number {
    const at = placeOf(this.#claims, claim);
    this.#claims.splice(at, 0, claim);
    return at;
  }
}

function leasesOf(claims: readonly Claim[]): Lease[] {
  return claims.flatMap(({ lease, main }) => main ? lease : []);
}

function compareClaims(a: Claim, b: Claim): number {
  return compareSpans(a.span, b.span) || (a.lease.key < b.lease.key ? -1 : 1);
}

/** Whether a claim belongs where another is. */
function haveOnePlace(a: Claim, b: Claim): boolean {
  return compareSpans(a.span, b.span) === 0 && a.lease.key === b.lease.key && a.main === b.main;
}

/** Where a claim belongs among sorted ones. */
function placeOf(sorted: readonly Claim[], claim: Claim): number {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareClaims(sorted[middle]!, claim) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Whether two claims overlap, the first of which stands before the second. */
function meet(a: Claim | undefined, b: Claim | undefined): boolean {
  return a !== undefined && b !== undefined && b.span.first <= a.span.last;
}

/** Finds the leases that must give way; the claims are sorted. */
function separate(claims: readonly Claim[]): ReadonlyMap<Lease, string> {
  const involved = new Set<Lease>();
  let outer: Claim | undefined;
  for (const claim of claims) {
    if (meet(outer, claim)) involved.add(outer!.lease).add(claim.lease);
    else outer = claim; // a prefix stands before all that is inside it
  }
  return involved.size === 0 ? new Map() : settle(claims.filter(({ lease }) => involved.has(lease)));
}

/** Lets leases choose one after the other, the narrowest first. */
function settle(claims: readonly Claim[]): ReadonlyMap<Lease, string> {
  const byLease = new Map<Lease, Claim[]>();
  for (const claim of claims) byLease.set(claim.lease, [...byLease.get(claim.lease) ?? [], claim]);
  const kept: Claim[] = [];
  const losers = new Map<Lease, string>();
  for (const [lease, wanted] of [...byLease].sort(([, a], [, b]) => compareWidths(a, b))) {
    const clash = wanted.map((claim) => [claim, holderOf(kept, claim)] as const).find(([, holder]) => holder !== undefined);
    if (clash === undefined) wanted.forEach((claim) => kept.splice(placeOf(kept, claim), 0, claim));
    else losers.set(lease, `subnet ${clash[0].subnet} overlaps ${clash[1]!.subnet} of ${clash[1]!.lease.key}`);
  }
  return losers;
}

/** By the length of each subnet, the longest first, and then by key. */
function compareWidths(a: readonly Claim[], b: readonly Claim[]): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = lengthOf(b[i]!.subnet) - lengthOf(a[i]!.subnet);
    if (order !== 0) return order;
  }
  return a[0]!.lease.key < b[0]!.lease.key ? -1 : 1;
}

/** Who has what a claim overlaps, among sorted claims that do not overlap. */
function holderOf(kept: readonly Claim[], claim: Claim): Claim | undefined {
  const at = placeOf(kept, claim);
  if (meet(kept[at - 1], claim)) return kept[at - 1];
  return meet(claim, kept[at]) ? kept[at] : undefined;
}
