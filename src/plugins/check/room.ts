/**
 * A node in a network namespace of its own, with a device `eth0` that leads to peers: what a backend plans is put into a real kernel.
 *
 * @module
 */

import type { NodeSide } from "../../model/backend.ts";
import type { Family } from "../../model/ip.ts";
import { describe, type Item, KINDS, type Link } from "../../model/item.ts";
import type { Kernel, Ownership } from "../../model/kernel.ts";
import type { Lease } from "../../model/lease.ts";
import { editionOf } from "../../reconcile/lists.ts";
import { numbersOf } from "../../reconcile/nexthops.ts";
import { type Plan, Planner } from "../../reconcile/plan.ts";
import { Reconciler } from "../../reconcile/reconciler.ts";
import { Bench, Finding } from "./bench.ts";
import type { Case } from "./planners.ts";
import { LINK, NETWORKS, publicIpOf, subnetOf } from "./world.ts";

/** What `ip -batch` makes of an empty namespace. */
export const NETWORK_COMMANDS: readonly string[] = [
  "link set lo up",
  `link add ${LINK} type veth peer name eth1`,
  `link set ${LINK} up`,
  "link set eth1 up",
  `addr add 192.0.2.1/24 dev ${LINK}`,
  `addr add 2001:db8::1/64 dev ${LINK} nodad`,
  `route add default via 192.0.2.254 dev ${LINK}`,
  `route add default via 2001:db8::fffe dev ${LINK}`,
  `route add 203.0.113.0/24 via 192.0.2.253 dev ${LINK}`, // somebody else's
];

/** This machine can not show whether something holds. */
export class Skip extends Error {
  override readonly name = "Skip";
}

/** A peer: its number, where it is if it has moved, and whose data it publishes if not its own. */
export interface Resident {
  readonly n: number;
  readonly at?: number;
}

const FAMILIES: readonly Family[] = [4, 6];
/** Milliseconds after which what lingers is gone. */
const LATER = 5_000;

/** An agent on the node, with no memory of any before. */
export class Room implements Disposable {
  readonly bench: Bench;
  readonly kernel: Kernel;
  readonly #sides: readonly NodeSide[];
  readonly #planner = new Planner();
  readonly #reconciler: Reconciler;
  #now = 0;
  #plan: Plan | null = null;
  #own: Ownership;

  private constructor(bench: Bench, kernel: Kernel, sides: readonly NodeSide[]) {
    this.bench = bench;
    this.kernel = kernel;
    this.#sides = sides;
    this.#reconciler = new Reconciler(kernel);
    this.#own = this.#ownership([]);
  }

  static async open({ subject, state }: Case, kernel: Kernel): Promise<Room> {
    const bench = await Bench.open(subject, state);
    const sides: NodeSide[] = [];
    for (const family of FAMILIES) sides.push(await bench.side(family));
    const room = new Room(bench, kernel, sides);
    for (const side of sides) while (bench.port.node(side) === null) await bench.node(side.family);
    return room;
  }

  /** What was planned last. */
  get plan(): Plan {
    return this.#plan!;
  }

  /** What would be changed for some peers. */
  async changes(peers: readonly Resident[]): Promise<readonly string[]> {
    const goal = await this.#goal(peers);
    this.#reconciler.observe(this.#own);
    return this.#reconciler.changes(goal, this.#now).map(({ op, item }) => `${op} ${describe(item)}`);
  }

  /** Makes the kernel hold what some peers need. @throws {Finding} If it does not. @throws {Skip} If it can not. */
  async settle(peers: readonly Resident[]): Promise<void> {
    const goal = await this.#goal(peers);
    for (let round = 0; round < 3; round++) {
      this.#now += LATER;
      await this.#reconciler.reconcile(goal, this.#now);
    }
    const { differing, failures } = this.#reconciler;
    const waiting = new Set(
      this.plan.peers.flatMap(({ sides }) => sides.filter(({ state }) => state !== "planned").flatMap(({ keys }) => keys)),
    );
    for (const key of differing) {
      if (waiting.has(key)) continue;
      const failure = failures.get(key);
      const item = failure?.item ?? goal.plan.items.get(key);
      if (item?.kind === "link" && /not supported|EOPNOTSUPP/.test(failure?.reason ?? "")) {
        throw new Skip(`this kernel has no devices of type ${(item as Link).type}`);
      }
      if (item === undefined) {
        throw new Finding(`"${key}" stays in the kernel, although nothing needs it`, "see docs/backends.md, Items");
      }
      throw new Finding(
        `the kernel does not hold "${describe(item)}" as it was planned: ${failure?.reason ?? "it reads back otherwise"}`,
        "plan what the kernel takes; pending tells why a peer can not be reached",
      );
    }
  }

  /** Takes an item away, as somebody else would. */
  async harm(item: Item): Promise<void> {
    await this.kernel.apply([{ op: "drop", item }]);
    this.#reconciler.mark(KINDS);
  }

  /** What of ours the kernel holds, loose filters left out. */
  held(): readonly Item[] {
    const { items } = this.kernel.observe(new Set(KINDS), this.#own);
    return [...items.values()].filter(({ kind }) => kind !== "reverse-path");
  }

  /** Removes everything. */
  async clear(): Promise<void> {
    const items = this.held();
    const order = [...items].sort((a, b) => KINDS.indexOf(b.kind) - KINDS.indexOf(a.kind));
    await this.kernel.apply(order.map((item) => ({ op: "drop", item })));
  }

  [Symbol.dispose](): void {
    this.bench[Symbol.dispose]();
  }

  async #goal(residents: readonly Resident[]) {
    const peers: Lease[] = [];
    for (const { n, at = n } of residents) {
      const endpoints = [];
      for (const family of FAMILIES) {
        const [data] = await this.bench.data([at], family);
        endpoints.push({ subnet: subnetOf(n, family), publicIp: publicIpOf(at, family), data });
      }
      peers.push({ key: `node-${n}`, backendType: this.bench.port.type, endpoints, expiresAt: null });
    }
    this.#own = this.#ownership(peers);
    const plan = () =>
      this.#planner.plan({
        backend: this.bench.port,
        sides: this.#sides,
        peers: editionOf(peers),
        nexthopObjects: this.kernel.nexthopObjects,
        foreign: this.#reconciler.foreign,
      });
    this.#plan = plan();
    await this.bench.settle("peer");
    this.#plan = plan();
    return { plan: this.#plan, own: this.#own, dropStale: true };
  }

  #ownership(peers: readonly Lease[]): Ownership {
    const { links, adopts } = this.bench.port;
    return {
      links,
      networks: FAMILIES.map((family) => NETWORKS[family]),
      nexthops: numbersOf(this.#planner.nexthopsOf(editionOf(peers))),
      reversePath: [LINK, ...links],
      adopts,
    };
  }
}
