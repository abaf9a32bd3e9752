/**
 * Puts together what the agent says about itself. Pure.
 *
 * @module
 */

import { familyOf } from "../model/ip.ts";
import type { Item } from "../model/item.ts";
import type { PeerReport, PeerSide } from "../model/report.ts";
import type { Rejected } from "../reconcile/fold.ts";
import type { Plan, PlannedSide } from "../reconcile/plan.ts";
import type { Failure } from "../reconcile/reconciler.ts";

/** Where planned items stand. */
export interface Standing {
  readonly observed: ReadonlyMap<string, Item>;
  /** Keys under which the kernel does not hold what is planned. */
  readonly differing: ReadonlySet<string>;
  readonly failures: ReadonlyMap<string, Failure>;
}

/** How far the backend's effects have come. */
export interface EffectStanding {
  /** Why the node is not ready; `null` if it is as far as effects are concerned. */
  readonly unready: string | null;
  /** What a peer, by the key of its lease, still needs besides its items; `null` if nothing. */
  missing(key: string): { readonly failed: boolean; readonly reason: string } | null;
}

/** All peers, those that are rejected last. */
export function reportPeers(plan: Plan, rejected: readonly Rejected[], standing: Standing, effects: EffectStanding): PeerReport[] {
  const planned = plan.peers.map(({ lease, sides }): PeerReport => ({
    key: lease.key,
    backendType: lease.backendType,
    sides: sides.map((side) => withEffects(reportSide(side, standing), effects.missing(lease.key))),
    unreadable: null,
  }));
  return [...planned, ...rejected.map(reportRejected)];
}

function reportSide(side: PlannedSide, { differing, failures }: Standing): PeerSide {
  const { subnet, publicIp, path } = side;
  const at = (state: PeerSide["state"], reason: string | null): PeerSide => ({ subnet, publicIp, path, state, reason });
  if (side.state !== "planned") return at(side.state, side.reason);
  const failure = side.keys.map((key) => failures.get(key)).find((failure) => failure !== undefined);
  if (failure !== undefined) return at("failed", failure.reason);
  const missing = side.keys.some((key) => differing.has(key));
  return missing ? at("pending", "its items are being put into the kernel") : at("in-sync", side.reason);
}

/** A peer is reached only when its items and its effects are in place. */
function withEffects(side: PeerSide, missing: ReturnType<EffectStanding["missing"]>): PeerSide {
  if (missing === null || side.state !== "in-sync") return side;
  return { ...side, state: missing.failed ? "failed" : "pending", reason: missing.reason };
}

function reportRejected({ key, lease, reason }: Rejected): PeerReport {
  if (lease === null) return { key, backendType: null, sides: [], unreadable: reason };
  const sides = lease.endpoints
    .map(({ subnet, publicIp }) => ({ subnet, publicIp, path: "none", state: "rejected" as const, reason }))
    .sort((a, b) => familyOf(a.subnet) - familyOf(b.subnet));
  return { key, backendType: lease.backendType, sides, unreadable: null };
}

/** How many planned items are in place, and what is missing; what peers miss that wait for a reason of their own does not count. */
export function kernelStanding(
  plan: Plan,
  { differing, failures }: Standing,
): { readonly inSync: number; readonly missing: readonly string[] } {
  const { items } = plan;
  const absent = [...differing].filter((key) => items.has(key));
  if (absent.length === 0) return { inSync: items.size, missing: [] };
  const waiting = new Set(
    plan.peers.flatMap(({ sides }) => sides.filter(({ state }) => state !== "planned").flatMap(({ keys }) => keys)),
  );
  const missing = absent.filter((key) => !waiting.has(key)).map((key) => failures.get(key)?.reason ?? key);
  return { inSync: items.size - absent.length, missing };
}
