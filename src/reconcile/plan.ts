/**
 * From peers to items: asks the backend what the node and each peer need.
 *
 * Pure. A peer whose data is wrong, or for which the backend fails, is left out with its reason; the others are planned all the same.
 * Answers for peers are kept and used again as long as nothing that went into them has changed.
 *
 * @module
 */

import type { Backend, NodeSide, Schema } from "../model/backend.ts";
import { type Cidr, familyOf, type Ip } from "../model/ip.ts";
import { type Item, keyOf, type Route } from "../model/item.ts";
import type { Endpoint, Lease } from "../model/lease.ts";
import { nexthopIds, throughNexthop } from "./nexthops.ts";

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

/** What should be in the kernel. */
export interface Plan {
  readonly items: ReadonlyMap<string, Item>;
  readonly peers: readonly PlannedPeer[];
  /** Subnets of peers for which nothing is planned now, but whose working path stays. */
  readonly waiting: readonly Cidr[];
}

/** What goes into a plan. */
export interface PlanInput {
  readonly backend: Backend;
  /** Checked options of the backend. */
  readonly options: unknown;
  /** This node, one per family. */
  readonly sides: readonly NodeSide[];
  /** The other nodes, from {@linkcode fold}. */
  readonly peers: readonly Lease[];
  readonly nexthopObjects: boolean;
  /** Keys that are held by others in the kernel. */
  readonly foreign: ReadonlyMap<string, string>;
}

/** What the backend says of one side of a peer, before it is compared with the others. */
type Draft = Omit<PlannedSide, "keys"> & { readonly items: readonly Item[] };

/** What a peer's drafts were made of. */
interface Known {
  readonly lease: Lease;
  readonly ways: string;
  readonly drafts: readonly Draft[];
}

/** Plans, remembering what each peer's plan was made of. */
export class Planner {
  #last: Pick<PlanInput, "backend" | "options" | "sides"> | null = null;
  #known: ReadonlyMap<string, Known> = new Map();

  /** Everything that should be in the kernel. */
  plan(input: PlanInput): Plan {
    const { backend, options, sides } = input;
    if (backend !== this.#last?.backend || options !== this.#last.options || sides !== this.#last.sides) this.#known = new Map();
    this.#last = input;
    const items = new Map<string, Item>();
    for (const side of sides) for (const item of backend.node(side, options)) items.set(keyOf(item), item);
    const lower = input.nexthopObjects ? nexthopsFor(input) : null;
    const owners = new Map<string, Cidr>();
    const known = new Map<string, Known>();
    const peers = input.peers.map((lease) => {
      const { drafts } = this.#draft(lease, input, known);
      return { lease, sides: drafts.map((draft) => settle(draft, lower, items, owners)) };
    });
    this.#known = known;
    const waiting = peers.flatMap(({ sides }) => sides.filter(({ state, keys }) => state === "pending" && keys.length === 0));
    return { items, peers, waiting: waiting.map(({ subnet }) => subnet) };
  }

  #draft(lease: Lease, input: PlanInput, known: Map<string, Known>): Known {
    const ways = lease.endpoints.map(({ subnet, publicIp }) => sideFor(input, subnet)?.onLink(publicIp)).join();
    const before = this.#known.get(lease.key);
    const now = before?.lease === lease && before.ways === ways
      ? before
      : { lease, ways, drafts: lease.endpoints.map((endpoint) => draftSide(lease, endpoint, input)) };
    known.set(lease.key, now);
    return now;
  }
}

function sideFor({ sides }: PlanInput, subnet: Cidr): NodeSide | undefined {
  return sides.find((side) => side.family === familyOf(subnet));
}

function draftSide(lease: Lease, { subnet, publicIp, data }: Endpoint, input: PlanInput): Draft {
  const { backend, options } = input;
  const nothing = (state: Draft["state"], reason: string): Draft => ({ subnet, publicIp, path: "none", items: [], state, reason });
  const side = sideFor(input, subnet);
  if (side === undefined) return nothing("pending", "this node has no address in the family");
  if (lease.backendType !== backend.type) {
    return nothing("pending", `its backend type is "${lease.backendType}", but ${backend.name} works with "${backend.type}"`);
  }
  const checked = checkWith(backend.leaseData, data);
  if ("issue" in checked) return nothing("rejected", `its backend data is wrong: ${checked.issue}`);
  try {
    const { path, items, pending } = backend.peer({ subnet, publicIp, data: checked.value }, side, options);
    return { subnet, publicIp, path, items, state: pending === undefined ? "planned" : "pending", reason: pending ?? null };
  } catch (error) {
    return nothing("pending", `backend ${backend.name} failed for it: ${(error as Error).message}`);
  }
}

/** Adds a peer's items to the plan, unless another peer has one of their keys already: then nothing of it is used. */
function settle(
  { items: drafted, ...side }: Draft,
  lower: Lower | null,
  items: Map<string, Item>,
  owners: Map<string, Cidr>,
): PlannedSide {
  const { wanted, note } = lower === null ? { wanted: drafted, note: null } : lower(drafted);
  const keys = wanted.map(keyOf);
  const clash = keys.find((key) => items.has(key));
  if (clash !== undefined) {
    const reason = `it needs "${clash}", which is in use for ${owners.get(clash) ?? "this node itself"}`;
    return { ...side, path: "none", keys: [], state: "rejected", reason };
  }
  keys.forEach((key, i) => {
    items.set(key, wanted[i]!);
    owners.set(key, side.subnet);
  });
  return { ...side, keys, reason: side.reason ?? note };
}

/** Sends routes through nexthop objects; a note says where one could not. */
type Lower = (items: readonly Item[]) => { readonly wanted: readonly Item[]; readonly note: string | null };

function nexthopsFor({ peers, foreign }: PlanInput): Lower {
  const ids = nexthopIds(peers.flatMap((lease) => lease.endpoints.map(({ subnet }) => subnet)));
  return (items) => {
    let note: string | null = null;
    const wanted = items.flatMap((item) => {
      const id = item.kind === "route" ? ids.get(item.dst) : undefined;
      if (id === undefined) return [item];
      const holder = foreign.get(`nexthop ${id}`);
      if (holder === undefined) return throughNexthop(item as Route, id);
      note = `it has a plain route, since ${holder}`;
      return [item];
    });
    return { wanted, note };
  };
}

/** Checks a value with a schema. */
export function checkWith<T>(schema: Schema<T>, value: unknown): { readonly value: T } | { readonly issue: string } {
  const result = schema["~standard"].validate(value);
  if (result instanceof Promise) return { issue: "the schema answers with a promise" };
  if (result.issues === undefined) return { value: result.value };
  const issue = result.issues[0]!;
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return { issue: path === "" ? issue.message : `${path}: ${issue.message}` };
}
