/**
 * What the agent and the Worker with a plugin tell each other. Only plain data: it is copied.
 *
 * @module
 */

import type { BareSide, Peer } from "../model/backend.ts";
import type { PeerAnswer } from "../model/backend_port.ts";
import type { EffectPeer, Effects, Level } from "../model/effects.ts";
import type { Cidr, Family, Mac } from "../model/ip.ts";
import type { Item } from "../model/item.ts";

/** A side without its functions. What of subnet and state there is depends on the question. */
export type PlainSide = Omit<BareSide, "onLink" | "macFor"> & { readonly subnet?: Cidr; readonly state?: unknown };

/** What the functions of a side answer by. */
export interface Tables {
  readonly macs: Readonly<Record<string, { readonly chosen: Mac | null; readonly drawn: Mac }>>;
  /** What this node published in its last run, by family. */
  readonly earlier: Readonly<Record<Family, unknown>>;
}

/** A peer that is asked about: on which side, and whether that side is on a segment with it. */
export interface PeerQuestion {
  /** The place of its side among those of the batch. */
  readonly side: number;
  readonly peer: Peer<unknown>;
  readonly onLink: string | null;
}

/** Questions to planners, all of one plan. */
export interface Batch {
  readonly tables: Tables;
  readonly mtu: { readonly external: number; readonly families: readonly Family[] } | null;
  readonly publish: readonly PlainSide[];
  readonly node: readonly PlainSide[];
  readonly sides: readonly PlainSide[];
  readonly peers: readonly PeerQuestion[];
}

/** What a planner said, or threw. */
export type Said<T> = { readonly value: T } | { readonly error: string };

/** What a plugin said of a peer; nothing of it has been checked. */
export type PeerSaid = PeerAnswer;

/** The answers, in the order of the questions. */
export interface BatchAnswer {
  readonly mtu: Said<number> | null;
  readonly publish: readonly Said<unknown>[];
  readonly node: readonly Said<readonly Item[]>[];
  readonly peers: readonly Said<PeerSaid>[];
  /** MACs that were asked for. */
  readonly chosen: readonly (readonly [string, Mac])[];
}

/** What a plugin is, once loaded with its options. */
export interface Loaded {
  readonly type: string;
  readonly links: readonly string[];
  readonly devices: RegExp | null;
  readonly adopts: boolean;
  readonly effects: readonly (keyof Effects)[];
}

/** What a module is loaded with. */
export interface LoadRequest {
  readonly path: string;
  readonly name: string;
  /** The `Backend` object; `null` for that of the module's `example`. */
  readonly given: Readonly<Record<string, unknown>> | null;
  /** Planners may not read the clock, draw lots or reach out: they fail when they do. */
  readonly strict: boolean;
}

/** What peers publish, to check a plugin with. */
export interface ExampleRequest {
  readonly family: Family;
  /** The numbers of the peers. */
  readonly peers: readonly number[];
}

/** An effect to be called. */
export interface EffectQuestion {
  readonly call: keyof Effects;
  readonly node: { readonly name: string; readonly sides: readonly PlainSide[] };
  readonly tables: Tables;
  readonly changes: {
    readonly put: readonly EffectPeer[];
    readonly drop: readonly EffectPeer[];
    readonly all: ReadonlyMap<string, EffectPeer>;
  } | null;
}

/** What the Worker can be asked, and what it answers. */
export interface Calls {
  load(request: LoadRequest): Loaded;
  /** What the module's `example` says; `null` if it has none. */
  example(request: ExampleRequest): readonly unknown[] | null;
  ask(batch: Batch): BatchAnswer;
  effect(question: EffectQuestion): unknown;
}

/** To the Worker. */
export type ToWorker =
  | { readonly [C in keyof Calls]: { readonly id: number; readonly op: C; readonly request: Parameters<Calls[C]>[0] } }[keyof Calls]
  | { readonly id: number; readonly op: "abort"; readonly reason: string };

/** From the Worker. */
export type FromWorker =
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: string }
  | { readonly id: number; readonly level: Level; readonly message: string }
  /** Something was thrown outside of any call. */
  | { readonly id: 0; readonly crash: string };
