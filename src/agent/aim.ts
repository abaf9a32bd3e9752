/**
 * What should be in the kernel now: folds the records, looks which peers are on-link, and plans.
 *
 * @module
 */

import type { BareSide, NodeSide } from "../model/backend.ts";
import type { BackendPort } from "../model/backend_port.ts";
import type { Item } from "../model/item.ts";
import type { Kernel, Ownership } from "../model/kernel.ts";
import type { Lease } from "../model/lease.ts";
import { Folder, type Rejected } from "../reconcile/fold.ts";
import { numbersOf } from "../reconcile/nexthops.ts";
import { type Plan, Planner } from "../reconcile/plan.ts";
import type { Goal, Reconciler } from "../reconcile/reconciler.ts";
import { bareSides, familiesOf, type Macs, type NodeInput, ownershipOf, sidesOf } from "./node.ts";
import type { Records } from "./records.ts";
import type { Setup } from "./setup.ts";
import type { Surroundings } from "./surroundings.ts";

/** What an aim is taken with. */
export interface AimOptions {
  readonly kernel: Pick<Kernel, "nexthopObjects">;
  readonly records: Records;
  readonly surroundings: Surroundings;
  readonly macs: Macs;
  readonly reconciler: Reconciler;
  /** Plan blackhole routes for the own subnets. */
  readonly blackhole: boolean;
  /** The names of devices that backends make. */
  readonly devices: readonly RegExp[];
}

/** What came of taking aim. */
export interface Taken {
  /** `null` before the backend has said what the node needs. */
  readonly goal: Goal | null;
  /** It is for the node as it is now, and not the last one, which stands until the backend has answered. */
  readonly current: boolean;
  /** When it may change by itself, in milliseconds of the caller's clock. */
  readonly settlesAt: number | null;
}

/** What an aim depends on besides settings, leases and surroundings. */
export interface Circumstances {
  /** What the backend's effects have started with. */
  readonly state: unknown;
  /** Networks of which items may still be in the kernel. */
  readonly former: Ownership["networks"];
  /** What is not planned may be dropped: all leases are known. */
  readonly dropStale: boolean;
  /** Milliseconds of the caller's clock. */
  readonly now: number;
}

/** The last aim, and how to take the next. */
export class Aim {
  readonly #o: AimOptions;
  readonly #folder = new Folder();
  readonly #planner = new Planner();
  #sides: readonly NodeSide[] = [];
  #sidesKey = "";
  #backend: BackendPort | null = null;
  #goal: Goal | null = null;
  /** All that backends have made in this run. */
  readonly #made = new Set<string>();
  #plan: Plan = { items: new Map(), peers: [], waiting: [], version: 0, touched: null };
  #rejected: readonly Rejected[] = [];
  #own: Ownership = { links: [], networks: [], nexthops: new Set(), reversePath: [], adopts: false };

  constructor(options: AimOptions) {
    this.#o = options;
  }

  /** This node, one side per family. */
  get sides(): readonly NodeSide[] {
    return this.#sides;
  }

  /** What was planned last. */
  get plan(): Plan {
    return this.#plan;
  }

  /** The records that are not followed. */
  get rejected(): readonly Rejected[] {
    return this.#rejected;
  }

  /** How our items are known. */
  get own(): Ownership {
    return this.#own;
  }

  /** What goes into a backend's answers; `null` while no device leads to the other nodes, or the backend has not told its MTU. */
  input(setup: Setup): Omit<NodeInput, "state"> | null {
    const { surroundings, macs } = this.#o;
    const { external, segments } = surroundings;
    const mtu = external === null ? null : setup.backend.mtu(external.link.mtu, familiesOf(setup.network));
    if (external === null || mtu === null) return null;
    const publicIps = surroundings.publicIps(setup.network);
    return { ...setup, external, mtu, publicIps, segments, ways: () => surroundings.ways, macs };
  }

  /** This node as effects see it before they start; empty while that is not known. */
  bareSides(setup: Setup): readonly BareSide[] {
    const input = this.input(setup);
    return input === null ? [] : bareSides(input);
  }

  /** The items of the node itself. */
  nodeItems({ backend }: Setup): Item[] {
    return this.#sides.flatMap((side) => backend.node(side) ?? []);
  }

  /**
   * Takes aim anew.
   */
  take(
    setup: Setup,
    lease: Lease,
    { state, former, dropStale, now }: Circumstances,
  ): Taken {
    const { kernel: { nexthopObjects }, records, surroundings, reconciler, blackhole } = this.#o;
    const { network, backend } = setup;
    const devices = backend.links;
    const addresses = surroundings.addresses(devices);
    const { peers, rejected } = this.#folder.fold(records.edition(), { network, own: lease, addresses });
    this.#rejected = rejected;
    const settlesAt = surroundings.settle(peers, devices, now);
    const bare = this.input(setup);
    if (bare === null) return { goal: this.#goal, current: false, settlesAt };
    const input = { ...bare, state };
    this.#makeSides(input, lease);
    if (this.#sides.some((side) => backend.node(side) === null)) return { goal: this.#goal, current: false, settlesAt };
    const nexthops = numbersOf(this.#planner.nexthopsOf(peers));
    backend.links.forEach((link) => this.#made.add(link));
    this.#own = ownershipOf(input, { facts: surroundings.facts, nexthops, former, devices: this.#o.devices, made: this.#made });
    reconciler.observe(this.#own);
    const { foreign } = reconciler;
    const { ways } = surroundings;
    this.#plan = this.#planner.plan({ backend, sides: this.#sides, peers, nexthopObjects, blackhole, foreign, ways });
    this.#goal = { plan: this.#plan, own: this.#own, dropStale: dropStale && backend.settled };
    return { goal: this.#goal, current: true, settlesAt };
  }

  /** Sides are made anew only when something in them has changed, since plans are remembered by them. */
  #makeSides(input: NodeInput, lease: Lease): void {
    const sides = sidesOf(input, lease);
    const key = JSON.stringify(sides);
    if (key === this.#sidesKey && input.backend === this.#backend) return;
    this.#sides = sides;
    this.#backend = input.backend;
    this.#sidesKey = key;
  }
}
