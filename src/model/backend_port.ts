/**
 * A backend with its options, as the core asks it: in this process, or as a plugin in a Worker.
 *
 * All questions are answered at once. A plugin answers later; until then an answer is `null`, or the last one, and when the right one
 * has come {@linkcode BackendPort.edition} changes and the core is told to ask again.
 *
 * @module
 */

import type { BareSide, NodeSide, OpenSide, Peer } from "./backend.ts";
import type { EffectContext, EffectNode, PeerChanges, PeerFailures } from "./effects.ts";
import type { Cidr, Family, Mac } from "./ip.ts";
import type { Item } from "./item.ts";

/** What a backend says of a peer in one family. */
export interface PeerAnswer {
  /** The way packets take; `none` while nothing is planned. */
  readonly path: string;
  readonly items: readonly Item[];
  /** `pending` for a reason of its own; `rejected` if what it published is wrong. */
  readonly state: "planned" | "pending" | "rejected";
  /** Why it is not simply planned. */
  readonly reason: string | null;
}

/** A backend's effects, with its options bound. It has those that it needs. */
export interface BoundEffects {
  start?(context: EffectContext, node: EffectNode<BareSide>): Promise<unknown>;
  ready?(context: EffectContext, node: EffectNode<NodeSide>): Promise<void>;
  peers?(context: EffectContext, changes: PeerChanges, node: EffectNode<NodeSide>): Promise<PeerFailures | void>;
  health?(context: EffectContext, node: EffectNode<NodeSide>): Promise<string | null>;
  stop?(context: EffectContext, node: EffectNode<BareSide>): Promise<void>;
}

/** A backend with its options. */
export interface BackendPort {
  readonly name: string;
  /** The `BackendType` that it publishes and works with. */
  readonly type: string;
  /** The devices that it makes. */
  readonly links: readonly string[];
  /** The names of devices that it may make with any options; `null` if it does not say. */
  readonly devices: RegExp | null;
  /** Routes that look like a former flanneld's are taken over. */
  readonly adopts: boolean;
  readonly effects: BoundEffects;
  /** Another whenever an answer may be another, although the question is the same. */
  readonly edition: number;
  /** Another whenever its effects have lost their memory and must start anew. */
  readonly incarnation: number;
  /** It has answered all that it was asked: what no answer asks for is really not needed. */
  readonly settled: boolean;
  /** What is wrong with it as a whole; `null` if nothing. */
  readonly problem: string | null;
  /** The MTU for pods, in bytes. */
  mtu(external: number, families: readonly Family[]): number | null;
  /** What to publish for one family. */
  publish(side: OpenSide): { readonly data: unknown } | null;
  /** What the node needs in one family. */
  node(side: NodeSide): readonly Item[] | null;
  /** What a peer needs in one family; its backend type is this one's, and its data have not been checked. */
  peer(peer: Peer<unknown>, side: NodeSide): PeerAnswer;
  /** These subnets are no peers' any more. */
  forget(subnets: readonly Cidr[]): void;
  /** Ends it; nobody asks it any more. */
  close(): void;
}

/** The MAC addresses of our devices, as a plugin is told them. */
export interface MacTable {
  /** The MAC that a device has or was given, and one that it may get. */
  of(link: string): { readonly chosen: Mac | null; readonly drawn: Mac };
  /** What this node published in its last run, in a family. */
  earlier(family: Family): unknown;
  /** From now on a device has this one, unless it has one already. */
  choose(link: string, mac: Mac): void;
}

/** A backend can not be opened: the message says why, and what to do. */
export class BackendError extends Error {
  override readonly name = "BackendError";
}

/** What a backend is opened with. */
export interface BackendRequest {
  readonly name: string;
  /** What asks for it, for messages: a flag, or a key of the network configuration. */
  readonly by: string;
  /** The `Backend` object of the network configuration. */
  readonly given: Readonly<Record<string, unknown>>;
  /** Where `given` comes from, for messages. */
  readonly source: string;
  readonly macs: MacTable;
  /** Called when {@linkcode BackendPort.edition}, `incarnation` or `problem` has changed. */
  readonly changed: () => void;
}

/** All backends that the agent has or can find. */
export interface Backends {
  /** Names of devices that backends may have left here. */
  readonly devices: readonly RegExp[];
  /** @throws {BackendError} If there is none of this name, it can not be loaded, or the options are wrong for it. */
  open(request: BackendRequest): Promise<BackendPort>;
}
