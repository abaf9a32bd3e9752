/**
 * From peers to items: asks the backend what the node and each peer need.
 *
 * Pure. A peer whose data is wrong, or for which the backend fails, is left out with its reason; the others are planned all the same.
 * Answers for peers are kept and used again as long as nothing that went into them has changed.
 *
 * @module
 */

import type { NodeSide, Peer } from "../model/backend.ts";
import type { BackendPort, PeerAnswer } from "../model/backend_port.ts";
import { type Cidr, familyOf, type Ip } from "../model/ip.ts";
import { CompactMap } from "../model/compact_map.ts";
import { type Item, keyOf } from "../model/item.ts";
import type { Endpoint, Lease } from "../model/lease.ts";
import { type Edition, since, UNSEEN } from "./lists.ts";
import { holdersOf, NexthopIds, throughNexthop } from "./nexthops.ts";
import type { Waiting } from "./retain.ts";

/** The plan of one peer in one family. */
export interface PlannedSide {
  readonly subnet: Cidr;
  readonly publicIp: Ip;
  /** The way packets take; `none` while nothing is planned. */
  readonly path: string;
  /** Keys of its items. */
  readonly keys: readonly string[];
  readonly state: "planned" | "pending" | "rejected";
  /** Why it is not simply planned, or what is unusual about it. */
  readonly reason: string | null;
}

/** The plan of one peer. */
export interface PlannedPeer {
  readonly lease: Lease;
  /** One per family, IPv4 first. */
  readonly sides: readonly PlannedSide[];
}

/** What should be in the kernel. A plan is good until the planner makes the next. */
export interface Plan {
  readonly items: ReadonlyMap<string, Item>;
  readonly peers: readonly PlannedPeer[];
  /** Peers for which nothing is planned now, but whose working path stays. */
  readonly waiting: readonly Waiting[];
  /** Counts a planner's plans. */
  readonly version: number;
  /** The keys of items that may differ from those of the plan before; `null` if all may. */
  readonly touched: ReadonlySet<string> | null;
}

/** What goes into a plan. */
export interface PlanInput {
  readonly backend: BackendPort;
  /** This node, one per family; the backend has answered what each needs. */
  readonly sides: readonly NodeSide[];
  /** The other nodes, from {@linkcode fold}. */
  readonly peers: Edition<Lease>;
  readonly nexthopObjects: boolean;
  /** Drop packets to addresses of the own subnets that no route takes. */
  readonly blackhole?: boolean;
  /** Something that is another whenever a side may answer otherwise to `onLink`; without it, every peer is asked for each time. */
  readonly ways?: unknown;
  /** Keys that are held by others in the kernel. */
  readonly foreign: ReadonlyMap<string, string>;
}

/** What one side of a peer comes to, before it is compared with the others. */
interface Draft {
  /** What it was made of, besides the lease. */
  readonly node: NodeSide | undefined;
  readonly onLink: string | null | undefined;
  readonly nexthop: number | undefined;
  readonly holder: string | undefined;
  /** What the backend was asked about, its data as they came. */
  readonly peer: Peer<unknown>;
  readonly answer: PeerAnswer;
  readonly side: PlannedSide;
  /** In the order of the side's keys. */
  readonly items: readonly Item[];
}

/** What the last plan was made with, besides its input. */
interface Seen {
  readonly edition: number;
  readonly nexthops: Nexthops;
}

/** What is known of a peer. */
interface Known {
  readonly lease: Lease;
  readonly drafts: readonly Draft[];
  planned: PlannedPeer;
}

/** Plans, remembering what each peer's plan was made of. */
export class Planner {
  readonly #numbering = new NexthopIds();
  /** The edition of the peers whose nexthops have these ids. */
  #named = UNSEEN;
  #ids: ReadonlyMap<Cidr, number> = new Map();
  readonly #items = new CompactMap<string, Item>();
  #last: Pick<PlanInput, "backend" | "sides" | "peers" | "ways"> & Seen | null = null;
  readonly #known = new Map<Lease, Known>();
  /** `null` until somebody asks for them: as a rule nobody does between two changes. */
  #peers: readonly PlannedPeer[] | null = null;
  #waiting: readonly Waiting[] = [];
  #version = 0;
  /** Peers need each other's items: then all are looked at together. */
  #clashes = true;

  /** The ids of the nexthops of peers; the very same map as before as long as the subnets are the same. */
  nexthopsOf(peers: Edition<Lease>): ReadonlyMap<Cidr, number> {
    const [named, { version, gone, fresh }] = [this.#named, peers];
    this.#named = version;
    if (version === named || (version === named + 1 && haveSameSubnets([...gone], fresh))) return this.#ids;
    return this.#ids = this.#numbering.of(subnetsOf(peers.all()));
  }

  /** Everything that should be in the kernel. */
  plan(input: PlanInput): Plan {
    const { backend, sides, ways } = input;
    const { edition } = backend;
    const nexthops = this.#nexthopsFor(input);
    const last = this.#last;
    const anew = backend !== last?.backend || sides !== last.sides;
    const sameWays = ways !== undefined && ways === last?.ways && same(nexthops, last.nexthops);
    const sameAnswers = edition === last?.edition;
    const asks = (known: Known) => (!sameWays && !isCurrent(known, nexthops)) || (!sameAnswers && !isAnswered(known, input));
    const { gone, fresh } = this.#recall(input, nexthops, anew, sameWays && sameAnswers ? null : asks);
    if (gone.length > 0) backend.forget(vanished(gone, fresh));
    this.#last = { backend, sides, peers: input.peers, ways, edition, nexthops };
    const touched = anew || this.#clashes ? null : this.#replace(gone, fresh);
    if (touched === null) this.#settleAll(input);
    if (touched === null || gone.length + fresh.length > 0) this.#peers = null;
    // Somebody may ask when a later plan has failed half-way, and knows others.
    const peers = () => this.#peers ??= input.peers.all().flatMap((lease) => this.#known.get(lease)?.planned ?? []);
    if (touched === null || this.#waiting.length > 0 || [...gone, ...fresh].some(waits)) this.#waiting = waitingOf(peers());
    const [items, waiting, version] = [this.#items, this.#waiting, ++this.#version];
    return {
      items,
      get peers() {
        return peers();
      },
      waiting,
      version,
      touched,
    };
  }

  #nexthopsFor({ peers, nexthopObjects, foreign }: PlanInput): Nexthops {
    if (!nexthopObjects) return null;
    const ids = this.nexthopsOf(peers);
    return { ids, holders: holdersOf(ids, foreign) };
  }

  /** Comes to know each peer: all is asked anew, or what has another lease and what `asks` names, if it is there. */
  #recall(input: PlanInput, nexthops: Nexthops, anew: boolean, asks: ((known: Known) => boolean) | null) {
    const known = this.#known;
    const { peers } = input;
    const { gone, fresh } = anew
      ? { gone: known.keys(), fresh: peers.all() }
      : since(peers, this.#last!.peers.version, () => known.keys());
    const lost = new Set(gone);
    const asked = asks === null || anew ? [] : [...known.values()].filter((it) => !lost.has(it.lease) && asks(it));
    const again = asked.map(({ lease }) => lease);
    const old = [...lost, ...again].map((lease) => known.get(lease)!);
    const made = [...again, ...fresh].map((lease) => knownOf(lease, input, nexthops));
    for (const { lease } of old) known.delete(lease);
    for (const it of made) known.set(it.lease, it);
    return { gone: old, fresh: made };
  }

  /** Takes over what has changed; `null` if peers clash. */
  #replace(gone: readonly Known[], fresh: readonly Known[]): ReadonlySet<string> | null {
    const touched = new Set<string>();
    for (const { planned } of gone) {
      for (const key of planned.sides.flatMap(({ keys }) => keys)) {
        this.#items.delete(key);
        touched.add(key);
      }
    }
    for (const draft of fresh.flatMap(({ drafts }) => drafts)) {
      const { side: { keys }, items } = draft;
      for (let i = 0; i < keys.length; i++) {
        if (!this.#items.add(keys[i]!, items[i]!)) return null;
        touched.add(keys[i]!);
      }
    }
    return touched;
  }

  /** Lets all peers have their items, one after the other. */
  #settleAll({ backend, sides, peers, blackhole = false }: PlanInput): void {
    this.#clashes = true; // should the backend fail
    const own: Item[] = sides.flatMap((side) => backend.node(side) ?? []);
    if (blackhole) { for (const { subnet } of sides) own.push({ kind: "blackhole", dst: subnet }); }
    this.#clashes = false;
    this.#items.clear();
    for (const item of own) this.#items.set(keyOf(item), item);
    for (const lease of peers.all()) {
      const known = this.#known.get(lease)!;
      known.planned = { lease, sides: known.drafts.map((draft) => this.#settle(draft)) };
    }
  }

  /** Adds a peer's items to the plan, unless another peer has one of their keys already: then nothing of it is used. */
  #settle(draft: Draft): PlannedSide {
    const clash = draft.side.keys.find((key) => this.#items.has(key));
    if (clash === undefined) {
      draft.side.keys.forEach((key, i) => this.#items.set(key, draft.items[i]!));
      return draft.side;
    }
    this.#clashes = true;
    const reason = `it needs "${clash}", which is in use for ${this.#ownerOf(clash) ?? "this node itself"}`;
    return { ...draft.side, path: "none", keys: [], state: "rejected", reason };
  }

  /** The subnet for which an item is planned: the first peer that names it, since those behind have not been settled. */
  #ownerOf(key: string): Cidr | undefined {
    for (const lease of this.#last!.peers.all()) {
      for (const { keys, subnet } of this.#known.get(lease)!.planned.sides) if (keys.includes(key)) return subnet;
    }
    return undefined;
  }
}

function subnetsOf(leases: Iterable<Lease>): readonly Cidr[] {
  const subnets: Cidr[] = [];
  for (const { endpoints } of leases) for (const { subnet } of endpoints) subnets.push(subnet);
  return subnets;
}

function haveSameSubnets(a: readonly Lease[], b: readonly Lease[]): boolean {
  const [first, second] = [subnetsOf(a), subnetsOf(b)];
  return first.length === second.length && first.every((subnet, i) => subnet === second[i]);
}

function waits({ planned }: Known): boolean {
  return waitingOf([planned]).length > 0;
}

function waitingOf(peers: readonly PlannedPeer[]): readonly Waiting[] {
  const waiting: Waiting[] = [];
  for (const { sides } of peers) {
    for (const side of sides) if (side.state === "pending" && side.keys.length === 0) waiting.push(side);
  }
  return waiting;
}

/** The ids of the peers' nexthops, and who else holds some of them, by id; `null` where there are no nexthop objects. */
type Nexthops = { readonly ids: ReadonlyMap<Cidr, number>; readonly holders: ReadonlyMap<number, string> } | null;

/** Whether nothing can have changed: as a rule nobody else holds one. */
function same(a: Nexthops, b: Nexthops): boolean {
  return a === null ? b === null : a.ids === b?.ids && a.holders.size === 0 && b.holders.size === 0;
}

/** Whether nothing has changed in what a peer's drafts were made of. */
function isCurrent({ drafts }: Known, nexthops: Nexthops): boolean {
  for (const { node, side: { subnet, publicIp }, onLink, nexthop, holder } of drafts) {
    if (node?.onLink(publicIp) !== onLink || nexthops?.ids.get(subnet) !== nexthop) return false;
    if ((nexthop === undefined ? undefined : nexthops?.holders.get(nexthop)) !== holder) return false;
  }
  return true;
}

/** Whether the backend says what it said before. */
function isAnswered({ lease, drafts }: Known, input: PlanInput): boolean {
  return drafts.every(({ node, peer, answer }) => {
    return lease.backendType !== input.backend.type || node === undefined || input.backend.peer(peer, node) === answer;
  });
}

/** The subnets of those that are gone and have not come back. */
function vanished(gone: readonly Known[], fresh: readonly Known[]): readonly Cidr[] {
  const back = new Set(subnetsOf(fresh.map(({ lease }) => lease)));
  return subnetsOf(gone.map(({ lease }) => lease)).filter((subnet) => !back.has(subnet));
}

function knownOf(lease: Lease, input: PlanInput, nexthops: Nexthops): Known {
  const drafts = lease.endpoints.map((endpoint) => draftOf(lease, endpoint, input, nexthops));
  return { lease, drafts, planned: { lease, sides: drafts.map(({ side }) => side) } };
}

function draftOf(lease: Lease, endpoint: Endpoint, input: PlanInput, nexthops: Nexthops): Draft {
  const { subnet, publicIp, data } = endpoint;
  const node = sideFor(input, subnet);
  const onLink = node?.onLink(publicIp);
  const nexthop = nexthops?.ids.get(subnet);
  const holder = nexthop === undefined ? undefined : nexthops?.holders.get(nexthop);
  const peer = { subnet, publicIp, publicIps: addressesOf(lease, input), data };
  const answer = answerFor(lease, peer, node, input);
  const { path, state, items: asked } = answer;
  const items = nexthop === undefined || holder !== undefined ? asked : asked.flatMap((item) => lowered(item, subnet, nexthop));
  const note = holder === undefined || asked.length === 0 ? null : `it has a plain route, since ${holder}`;
  const side = { subnet, publicIp, path, state, keys: items.map(keyOf), reason: answer.reason ?? note };
  return { node, onLink, nexthop, holder, peer, answer, side, items };
}

/** Sends a peer's route through its nexthop object. */
function lowered(item: Item, subnet: Cidr, nexthop: number): readonly Item[] {
  return item.kind === "route" && item.dst === subnet ? throughNexthop(item, nexthop) : [item];
}

/** A peer's addresses in the families that this node has too. */
function addressesOf({ endpoints }: Lease, input: PlanInput): readonly Ip[] {
  return endpoints.filter(({ subnet }) => sideFor(input, subnet) !== undefined).map(({ publicIp }) => publicIp);
}

function sideFor({ sides }: PlanInput, subnet: Cidr): NodeSide | undefined {
  return sides.find((side) => side.family === familyOf(subnet));
}

/** What the backend says of one side of a peer. */
function answerFor({ backendType }: Lease, peer: Peer<unknown>, node: NodeSide | undefined, { backend }: PlanInput): PeerAnswer {
  if (node === undefined) return pending("this node has no address in the family");
  if (backendType === backend.type) return backend.peer(peer, node);
  return pending(`its backend type is "${backendType}", but ${backend.name} works with "${backend.type}"`);
}

function pending(reason: string): PeerAnswer {
  return { path: "none", items: [], state: "pending", reason };
}
