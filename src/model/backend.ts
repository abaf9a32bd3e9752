/**
 * What a backend is: a plain object of pure functions that say which items a node and each of its peers need.
 *
 * A backend never talks to the kernel, keeps nothing between calls and knows one address family at a time: everything it needs is in
 * its arguments, and the same arguments give the same answer. The core calls it again whenever an argument changes. What is not an item
 * of the kernel (keys, a daemon, a cloud's route table) is the affair of its effects, see `effects.ts`.
 *
 * @module
 */

import type { Effects } from "./effects.ts";
import type { Cidr, Family, Ip, Mac } from "./ip.ts";
import type { Item } from "./item.ts";
import type { Schema } from "./schema.ts";

/** The version of the backend interface that this agent speaks. */
export const BACKEND_API = 1;

/** This node in one address family, before it has a subnet and before its effects have started. */
export interface BareSide {
  readonly family: Family;
  /** The prefix that holds all pod subnets of this family. */
  readonly network: Cidr;
  /** The device that leads to the other nodes. */
  readonly link: string;
  /** All devices over which peers are on-link, or will be soon; `link` is one of them. */
  readonly segments: readonly string[];
  /** Our address on `link`. */
  readonly address: Ip;
  /** The address that we publish, which peers send to: as a rule the same. */
  readonly publicIp: Ip;
  /** The MTU for pods, in bytes: what {@linkcode Backend.mtu} answered. */
  readonly mtu: number;
  /**
   * The device on whose segment the public IP of a peer is, by the kernel's own routing; `null` if only a gateway or nothing leads
   * there. Only {@linkcode Backend.peer} may ask, and only for the peer that it is asked about.
   */
  onLink(ip: Ip): string | null;
  /**
   * The MAC address that a device of ours shall have: the one it has, else the one in `before` (our own earlier lease), else a
   * random one that stays the same while the agent runs.
   */
  macFor(link: string, before?: (data: unknown) => string | undefined): Mac;
}

/** This node in one address family, before it has a subnet. */
export interface OpenSide<State = unknown> extends BareSide {
  /** What {@linkcode Effects.start} resolved with; `null` for a backend without it. */
  readonly state: State;
}

/** This node in one address family. */
export interface NodeSide<State = unknown> extends OpenSide<State> {
  /** Our own pod subnet. */
  readonly subnet: Cidr;
}

/** Another node in one address family. */
export interface Peer<Data> {
  readonly subnet: Cidr;
  readonly publicIp: Ip;
  /** Its addresses in all families that both nodes have, IPv4 first; `publicIp` is one of them. */
  readonly publicIps: readonly Ip[];
  /** What its backend published, checked by {@linkcode Backend.leaseData}. */
  readonly data: Data;
}

/** What a peer needs. */
export interface PeerPlan {
  /** The way packets take: `direct`, `vxlan` or the backend's name. */
  readonly path: string;
  readonly items: readonly Item[];
  /** Why the peer can not be reached now, although its items may stay in place. */
  readonly pending?: string;
}

/** A backend. Make one with {@linkcode defineBackend}. */
export interface Backend<Options = unknown, Data = unknown, State = unknown> {
  /** What `--backend` and `Backend.Type` call it: lower case letters, digits and dashes. */
  readonly name: string;
  /** Must be {@linkcode BACKEND_API}. */
  readonly api: number;
  /** The `BackendType` to publish, empty for none; peers with another one are not this backend's. */
  readonly type: string;
  /** Schema of the `Backend` object of net-conf.json. */
  readonly options: Schema<Options>;
  /** Schema of `BackendData`, as peers publish it. */
  readonly leaseData: Schema<Data>;
  /**
   * The MTU for pods, in bytes.
   *
   * @param external MTU of the device that leads to the other nodes, in bytes.
   * @param families The families of the network.
   */
  mtu(external: number, families: readonly Family[], options: Options): number;
  /** What to publish for one family, as JSON; `null` for nothing. */
  publish(side: OpenSide<State>, options: Options): Data | null;
  /** What the node itself needs in one family. */
  node(side: NodeSide<State>, options: Options): readonly Item[];
  /** What one peer needs in one family. */
  peer(peer: Peer<Data>, side: NodeSide<State>, options: Options): PeerPlan;
  /** Names of all devices that this backend may make with these options, so that they are known for ours after a restart. */
  links(options: Options): readonly string[];
  /**
   * The names of all devices that it may make with any options. Where one holds an address of our networks, an earlier run has left it,
   * and it is removed once nothing needs it.
   */
  readonly devices?: RegExp;
  /**
   * `false` where something other than its items makes routes to peers. As a rule routes without a mark of their maker that lead to subnets
   * of peers count as left by a former flanneld: they are replaced by planned ones, or removed.
   */
  readonly adopts?: false;
  /** What is not an item of the kernel. */
  readonly effects?: Effects<Options, Data, State>;
}

/**
 * Makes a backend out of its parts. It only lends the types: the object is returned as it is.
 *
 * @example Routes over a gateway
 * ```ts
 * import { defineBackend } from "../mod.ts";
 * import * as v from "valibot";
 *
 * export default defineBackend({
 *   name: "by-gateway",
 *   api: 1,
 *   type: "by-gateway",
 *   options: v.object({ Type: v.string() }),
 *   leaseData: v.nullish(v.unknown()),
 *   mtu: (external) => external,
 *   publish: () => null,
 *   links: () => [],
 *   node: () => [],
 *   peer: ({ subnet, publicIp }, { link }) => ({
 *     path: "by-gateway",
 *     items: [{ kind: "route", dst: subnet, to: { via: publicIp, link, onlink: false }, src: null }],
 *   }),
 * });
 * ```
 */
export function defineBackend<Options, Data, State = unknown>(
  backend: Backend<Options, Data, State>,
): Backend<Options, Data, State> {
  return backend;
}
