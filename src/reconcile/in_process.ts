/**
 * A backend that is asked in this process: every question is a call.
 *
 * @module
 */

import type { Backend, NodeSide, Peer } from "../model/backend.ts";
import type { BackendPort, BoundEffects, PeerAnswer } from "../model/backend_port.ts";
import type { EffectPeer, PeerChanges } from "../model/effects.ts";
import { checkWith } from "../model/schema.ts";

/**
 * Binds a backend to its options.
 *
 * @param options As {@linkcode Backend.options} has checked them.
 */
export function inProcess(backend: Backend, options: unknown): BackendPort {
  const { name, type, devices } = backend;
  return {
    name,
    type,
    links: backend.links(options),
    devices: devices ?? null,
    adopts: backend.adopts !== false,
    effects: bound(backend, options),
    edition: 0,
    incarnation: 0,
    settled: true,
    problem: null,
    mtu: (external, families) => backend.mtu(external, families, options),
    publish: (side) => ({ data: backend.publish(side, options) }),
    node: (side) => backend.node(side, options),
    peer: (peer, side) => answerFor(backend, options, peer, side),
    forget: () => {},
    close: () => {},
  };
}

/** What a backend says of one side of a peer. */
function answerFor(backend: Backend, options: unknown, peer: Peer<unknown>, side: NodeSide): PeerAnswer {
  const checked = checkWith(backend.leaseData, peer.data);
  if ("issue" in checked) {
    return { path: "none", items: [], state: "rejected", reason: `its backend data is wrong: ${checked.issue}` };
  }
  try {
    const { path, items, pending } = backend.peer({ ...peer, data: checked.value }, side, options);
    return { path, items, state: pending === undefined ? "planned" : "pending", reason: pending ?? null };
  } catch (error) {
    return {
      path: "none",
      items: [],
      state: "pending",
      reason: `backend ${backend.name} failed for it: ${(error as Error).message}`,
    };
  }
}

/** A backend's effects with its options bound; those that are not there stay so. */
export function bound({ effects = {}, leaseData }: Backend, options: unknown): BoundEffects {
  const { start, ready, peers, health, stop } = effects;
  const readable = reader(leaseData);
  return {
    ...(start && { start: (context, node) => start.call(effects, context, node, options) }),
    ...(ready && { ready: (context, node) => ready.call(effects, context, node, options) }),
    ...(peers && { peers: (context, changes, node) => peers.call(effects, context, readable(changes), node, options) }),
    ...(health && { health: (context, node) => health.call(effects, context, node, options) }),
    ...(stop && { stop: (context, node) => stop.call(effects, context, node, options) }),
  };
}

/** Checks what peers have published; each peer once. Those that come here are planned, so nothing is wrong with their data. */
function reader(leaseData: Backend["leaseData"]): (changes: PeerChanges) => PeerChanges {
  const known = new WeakMap<EffectPeer, EffectPeer>();
  const read = (peer: EffectPeer): EffectPeer => {
    const before = known.get(peer);
    if (before !== undefined) return before;
    const sides = peer.sides.map((side) => {
      const checked = checkWith(leaseData, side.data);
      return { ...side, data: "value" in checked ? checked.value : null };
    });
    const now = { key: peer.key, sides };
    known.set(peer, now);
    return now;
  };
  return ({ put, drop, all }) => ({
    put: put.map(read),
    drop: drop.map(read),
    all: new Map([...all].map(([key, peer]) => [key, read(peer)])),
  });
}
