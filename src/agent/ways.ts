/**
 * Which addresses count as on-link: the kernel's answers, held for a while before a change is believed.
 *
 * When the device that a connection leaves over changes, the kernel resets it if it is masqueraded. So a way changes only after the
 * new answer has held for some seconds; at once only if the old way is dead. Pure.
 *
 * @module
 */

import { CompactMap } from "../model/compact_map.ts";
import type { Ip } from "../model/ip.ts";
import type { LinkFact, Lookup } from "../model/kernel.ts";

/** How long a new answer must hold, in milliseconds. */
export const HOLD = 5_000;

/** What is believed of an address. */
export interface Way {
  /** The device on whose segment it is; `null` if on none. */
  readonly link: string | null;
  /** What the kernel says instead, and since when; `null` if it agrees. */
  readonly other: { readonly link: string | null; readonly since: number } | null;
}

/** What is believed, and when that may change next. */
export interface Ways {
  readonly ways: ReadonlyMap<Ip, Way>;
  /** Milliseconds of the caller's clock; `null` if all is settled. */
  readonly settlesAt: number | null;
}

/** Compares what was believed with what the kernel says now. */
export function settleWays(
  before: ReadonlyMap<Ip, Way>,
  lookups: ReadonlyMap<Ip, Pick<Lookup, "onLink">>,
  links: readonly LinkFact[],
  now: number,
): Ways {
  const alive = new Set(links.filter(({ up, carrier }) => up && carrier).map(({ name }) => name));
  const ways = new CompactMap<Ip, Way>();
  const settled = new Map<string | null, Way>(); // thousands are the same
  let settlesAt: number | null = null;
  for (const [ip, { onLink }] of lookups) {
    const old = before.get(ip);
    const dead = old !== undefined && old.link !== null && !alive.has(old.link);
    const since = old?.other?.link === onLink ? old.other.since : now;
    if (old === undefined || old.link === onLink || dead || now - since >= HOLD) {
      const way = settled.get(onLink) ?? { link: onLink, other: null };
      settled.set(onLink, way);
      ways.set(ip, way);
    } else {
      ways.set(ip, { link: old.link, other: { link: onLink, since } });
      settlesAt = Math.min(settlesAt ?? Infinity, since + HOLD);
    }
  }
  return { ways, settlesAt };
}
