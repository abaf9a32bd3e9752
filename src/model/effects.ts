/**
 * What a backend does besides planning: keys, a daemon, a cloud's route table.
 *
 * Effects are the only functions of a backend that may act. Each call has a time limit, after which its signal is aborted and the call
 * counts as failed. A failure is state: it is shown with its message, and the call comes again after a growing pause. So every one of
 * them must bear to be called again, with the same arguments or with others, also by an agent that was killed in the middle of a call
 * and remembers nothing. Only one is under way at a time.
 *
 * @module
 */

import type { BareSide, NodeSide, Peer } from "./backend.ts";

/** How long each call may take, in milliseconds. */
export const EFFECT_LIMITS = { start: 60_000, ready: 60_000, peers: 60_000, health: 10_000, stop: 10_000 } as const;
/** How often {@linkcode Effects.health} is asked, in milliseconds. */
export const HEALTH_EVERY = 30_000;
/** How many peers one call of {@linkcode Effects.peers} brings at the most. */
export const PEERS_AT_ONCE = 100;

/** How much a line of the log matters. */
export type Level = "error" | "warning" | "info" | "debug";

/** What every call is handed. */
export interface EffectContext {
  /** Aborted when the time is over, or the agent stops. */
  readonly signal: AbortSignal;
  /** Writes a line to the agent's log, under the backend's name. */
  log(level: Level, message: string): void;
}

/** This node, in all its families, IPv4 first. */
export interface EffectNode<Side = NodeSide> {
  /** The node's name. */
  readonly name: string;
  readonly sides: readonly Side[];
}

/** Another node: what it is in each family that both nodes have, IPv4 first. */
export interface EffectPeer<Data = unknown> {
  /** The store's name of its lease: the same as long as the lease lives. */
  readonly key: string;
  readonly sides: readonly Peer<Data>[];
}

/** What has changed among the peers. */
export interface PeerChanges<Data = unknown> {
  /** New ones, changed ones, and those that failed last time; after a start, or when this node has changed, all of them in turn. */
  readonly put: readonly EffectPeer<Data>[];
  /**
   * Those that are gone. None is known after a start: what is there for peers that are not in `all` is stale. So after a start the call
   * comes also if there is nothing in it.
   */
  readonly drop: readonly EffectPeer<Data>[];
  /** All that there are now, by key; without sides where one can not be reached now for a reason of its own. */
  readonly all: ReadonlyMap<string, EffectPeer<Data>>;
}

/** What went wrong for single peers: the reason by the peer's key. */
export type PeerFailures = ReadonlyMap<string, string>;

/**
 * What a backend does besides planning; it has those that it needs.
 *
 * @example Peers that a daemon must know
 * ```ts
 * import type { Effects } from "./effects.ts";
 * import assert from "node:assert/strict";
 *
 * const known = new Set<string>();
 * const effects: Effects = {
 *   start: () => Promise.resolve({ port: 7 }), // planners find it as side.state
 *   peers(context, { put, all }) {
 *     for (const key of known) if (!all.has(key)) known.delete(key);
 *     for (const { key } of put) known.add(key);
 *     context.log("debug", `the daemon knows ${known.size} peers`);
 *     return Promise.resolve();
 *   },
 * };
 *
 * const context = { signal: new AbortController().signal, log: () => {} };
 * const peer = { key: "10.244.2.0-24", sides: [] };
 * await effects.peers!(context, { put: [peer], drop: [], all: new Map([[peer.key, peer]]) }, { name: "a1", sides: [] }, null);
 * assert.deepEqual([...known], ["10.244.2.0-24"]);
 * ```
 */
export interface Effects<Options = unknown, Data = unknown, State = unknown> {
  /**
   * Prepares what planning and publishing need, before anything is published: makes a key, starts a daemon. Comes again when the node's
   * device, addresses or options change.
   *
   * @returns A JSON value, which planners find as `side.state`.
   */
  start?(context: EffectContext, node: EffectNode<BareSide>, options: Options): Promise<State>;
  /** Comes when the lease is held and the node's own items are in the kernel, and again when the node changes. */
  ready?(context: EffectContext, node: EffectNode<NodeSide<State>>, options: Options): Promise<void>;
  /**
   * Does what peers need besides items, which are in the kernel by then.
   *
   * @returns What went wrong for single peers: they come again. If it rejects, all do.
   */
  peers?(
    context: EffectContext,
    changes: PeerChanges<Data>,
    node: EffectNode<NodeSide<State>>,
    options: Options,
  ): Promise<PeerFailures | void>;
  /** Asked every 30 s once `ready` is done. @returns What is wrong, for status; `null` if nothing. */
  health?(context: EffectContext, node: EffectNode<NodeSide<State>>, options: Options): Promise<string | null>;
  /** The agent stops, or goes over to another backend. What carries traffic should stay in the first case: an agent is restarted. */
  stop?(context: EffectContext, node: EffectNode<BareSide>, options: Options): Promise<void>;
}
