/**
 * What should be in the kernel now: folds the records, looks which peers are on-link, and plans.
 *
 * @module
 */

import type { NodeSide } from "../model/backend.ts";
import type { Item } from "../model/item.ts";
import type { Kernel, Ownership } from "../model/kernel.ts";
import type { Lease } from "../model/lease.ts";
import { Folder, type Rejected } from "../reconcile/fold.ts";
import { numbersOf } from "../reconcile/nexthops.ts";
import { type Plan, Planner } from "../reconcile/plan.ts";
import type { Goal, Reconciler } from "../reconcile/reconciler.ts";
import { type Macs, type NodeInput, ownershipOf, sidesOf } from "./node.ts";
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
}

/** The last aim, and how to take the next. */
export class Aim {
  readonly #o: AimOptions;
  readonly #folder = new Folder();
  readonly #planner = new Planner();
  #sides: readonly NodeSide[] = [];
  #sidesKey = "";
  #plan: Plan = { items: new Map(), peers: [], waiting: [], version: 0, touched: null };
  #rejected: readonly Rejected[] = [];
  #own: Ownership = { links: [], networks: [], nexthops: new Set(), reversePath: [] };

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

  /** What goes into a backend's answers; `null` while no device leads to the other nodes. */
  input(setup: Setup): NodeInput | null {
    const { surroundings, macs } = this.#o;
    const { external, segments } = surroundings;
    if (external === null) return null;
    const publicIps = surroundings.publicIps(setup.network);
    return { ...setup, external, publicIps, state: null, segments, ways: () => surroundings.ways, macs };
  }

  /** The items of the node itself. */
  nodeItems({ backend, options }: Setup): Item[] {
    return this.#sides.flatMap((side) => backend.node(side, options));
  }

  /**
   * Takes aim anew.
   *
   * @param former Networks of which items may still be in the kernel.
   * @param now Milliseconds of the caller's clock.
   * @returns The goal, and when it may change by itself.
   */
  take(setup: Setup, lease: Lease, former: Ownership["networks"], now: number): { readonly goal: Goal; settlesAt: number | null } {
    const { kernel: { nexthopObjects }, records, surroundings, reconciler, blackhole } = this.#o;
    const { network, backend, options } = setup;
    const devices = backend.links(options);
    const addresses = surroundings.addresses(devices);
    const { peers, rejected } = this.#folder.fold(records.values(), { network, own: lease, addresses });
    this.#rejected = rejected;
    const settlesAt = surroundings.settle(peers, devices, now);
    const input = this.input(setup)!;
    this.#makeSides(input, lease);
    this.#own = ownershipOf(input, surroundings.facts, numbersOf(this.#planner.nexthopsOf(peers)), former);
    reconciler.observe(this.#own);
    const { foreign } = reconciler;
    const { ways } = surroundings;
    this.#plan = this.#planner.plan({ backend, options, sides: this.#sides, peers, nexthopObjects, blackhole, foreign, ways });
    return { goal: { plan: this.#plan, own: this.#own, dropStale: records.full }, settlesAt };
  }

  /** Sides are made anew only when something in them has changed, since plans are remembered by them. */
  #makeSides(input: NodeInput, lease: Lease): void {
    const sides = sidesOf(input, lease);
    const key = JSON.stringify([sides, input.backend.name, input.options]);
    if (key === this.#sidesKey) return;
    this.#sides = sides;
    this.#sidesKey = key;
  }
}
