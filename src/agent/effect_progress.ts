/**
 * How far the effects of one backend have been brought: what is wanted, what is done, and what failed.
 *
 * @module
 */

import type { BareSide, NodeSide } from "../model/backend.ts";
import type { BackendPort } from "../model/backend_port.ts";
import type { EFFECT_LIMITS, EffectPeer } from "../model/effects.ts";
import { familyOf } from "../model/ip.ts";
import type { PlannedPeer } from "../reconcile/plan.ts";

/** The pauses after failures, in milliseconds. */
const PAUSE = { first: 1_000, longest: 60_000 };

/** What is called. */
export type Call = keyof typeof EFFECT_LIMITS;

/** What failed, how often in a row, and when it is tried again. */
export interface Failure {
  readonly reason: string;
  readonly attempts: number;
  readonly retryAt: number;
}

/** A peer, with all that counts of it as text. */
export interface Target {
  readonly peer: EffectPeer;
  readonly essence: string;
}

/** The effects of one backend, as far as they have been brought. */
export class Progress {
  readonly backend: BackendPort;
  readonly incarnation: number;
  bare: readonly BareSide[] = [];
  sides: readonly NodeSide[] = [];
  started: { readonly key: string; readonly state: unknown } | null = null;
  readyFor = "";
  healthAt = 0;
  health: string | null = null;
  planned: readonly PlannedPeer[] = [];
  readonly failures = new Map<Call, Failure>();
  readonly wanted = new Map<string, Target>();
  readonly done = new Map<string, Target>();
  readonly peerFailures = new Map<string, Failure>();
  /** Keys of peers for which nothing is planned now, for a reason of their own. */
  waiting: readonly string[] = [];
  /** A full list of leases has been read. */
  full = false;
  /** The effects have been told of them, be there any or none. */
  told = false;

  /** Planning goes on with what a former incarnation has started with, until this one has started too. */
  constructor(backend: BackendPort, former: Progress | null) {
    this.backend = backend;
    this.incarnation = backend.incarnation;
    if (backend.effects.start === undefined) this.started = { key: "", state: null };
    else if (former !== null && former.backend === backend && former.started !== null) {
      this.started = { ...former.started, key: "" };
    }
  }

  /** Takes over which peers there are; one that waits for a reason of its own stays as it was. */
  want(planned: readonly PlannedPeer[]): void {
    const { wanted, peerFailures, sides: own } = this;
    const families = own.map(({ family }) => family);
    const before = new Map(wanted);
    const waiting: string[] = [];
    wanted.clear();
    for (const { lease, sides } of planned) {
      const shared = lease.endpoints.filter(({ subnet }) => families.includes(familyOf(subnet)));
      const publicIps = shared.map(({ publicIp }) => publicIp);
      const asked = lease.endpoints.filter((_, i) => sides[i]?.state === "planned").map((endpoint) => ({ ...endpoint, publicIps }));
      if (asked.length > 0) {
        wanted.set(lease.key, { peer: { key: lease.key, sides: asked }, essence: JSON.stringify(asked) });
      } else if (sides.some(({ state }) => state === "pending")) {
        const known = before.get(lease.key);
        if (known === undefined) waiting.push(lease.key);
        else wanted.set(lease.key, known);
      }
    }
    this.waiting = waiting;
    for (const key of peerFailures.keys()) if (wanted.get(key)?.essence !== before.get(key)?.essence) peerFailures.delete(key);
  }
}

/** A failure after others, if any; each pause is longer. */
export function failureAfter(before: Failure | undefined, reason: string, at: number): Failure {
  const attempts = (before?.attempts ?? 0) + 1;
  return { reason, attempts, retryAt: at + Math.min(PAUSE.first * 2 ** (attempts - 1), PAUSE.longest) };
}

/** All that counts of a node, as text: what its functions answer does not. */
export function keyOf(sides: readonly BareSide[]): string {
  return JSON.stringify(sides);
}
