/**
 * A reconciler with a fake kernel and real backends, for tests: says which peers there are, and lets time pass.
 *
 * @module
 */

import type { Backend, NodeSide } from "../src/model/backend.ts";
import { type Ip, parseCidr, parseIp } from "../src/model/ip.ts";
import type { Route } from "../src/model/item.ts";
import type { Ownership } from "../src/model/kernel.ts";
import type { Lease } from "../src/model/lease.ts";
import { inProcess } from "../src/reconcile/in_process.ts";
import { editionOf } from "../src/reconcile/lists.ts";
import { Planner } from "../src/reconcile/plan.ts";
import { type Goal, Reconciler, type Result } from "../src/reconcile/reconciler.ts";
import { directrouting } from "./backends.ts";
import { nodeSide } from "./contracts/backend.ts";
import { FakeKernel } from "./fake_kernel.ts";
import { leaseOf, NETWORK, type Oddities } from "./leases.ts";

/** A peer behind a router; without oddities, {@linkcode leaseOf} is one on the segment of `eth0`. */
export function farOf(n: number, odd: Oddities = {}): Lease {
  return leaseOf(n, { publicIp: parseIp(`198.51.100.${n}`), publicIp6: parseIp(`2001:db8:1::${n.toString(16)}`), ...odd });
}

const OPTIONS = { Type: "vxlan", VNI: 1, Port: 0, GBP: false, Learning: false, MTU: 0, DirectRouting: false };

/** One node. */
export class Reconciling {
  readonly kernel: FakeKernel;
  readonly reconciler: Reconciler;
  #backend = directrouting as unknown as Backend;
  #options = OPTIONS;
  #port = inProcess(this.#backend, this.#options);
  peers: readonly Lease[] = [];
  dropStale = true;
  /** What the agent owned under an earlier configuration. */
  formerLinks: readonly string[] = [];
  now = 0;
  #planner = new Planner();
  #sides: readonly NodeSide[];

  constructor(options: { readonly nexthopObjects?: boolean; readonly kernel?: FakeKernel } = {}) {
    this.kernel = options.kernel ?? new FakeKernel({
      nexthopObjects: options.nexthopObjects ?? true,
      devices: [{ name: "eth0", addresses: [[parseIp("192.0.2.1"), 24], [parseIp("2001:db8::1"), 64]], strict: true }],
    });
    this.reconciler = new Reconciler(this.kernel);
    this.kernel.watch(() => this.own(), (dirty) => this.reconciler.mark(dirty));
    this.#sides = ([4, 6] as const).map((family) =>
      nodeSide(family, (ip) => this.kernel.onLink(ip, ["flannel.1", "flannel-v6.1"]))
    );
    this.kernel.otherRoute(parseCidr("0.0.0.0/0"), "eth0", parseIp("192.0.2.254"));
  }

  set backend(backend: Backend) {
    this.#backend = backend;
    this.#port = inProcess(backend, this.#options);
  }

  /** Other options, for some of its keys. */
  change(options: Readonly<Record<string, unknown>>): void {
    this.#options = { ...this.#options, ...options };
    this.#port = inProcess(this.#backend, this.#options);
  }

  own(): Ownership {
    const links = [...new Set([...this.#port.links, ...this.formerLinks])];
    return {
      links,
      networks: NETWORK.ranges.map(({ network, allocation }) => ({ network, length: allocation!.length })),
      nexthops: new Set(this.#planner.nexthopsOf(editionOf(this.peers)).values()),
      reversePath: ["eth0", ...links],
      adopts: true,
    };
  }

  goal(): Goal {
    const own = this.own();
    this.reconciler.observe(own);
    const peers = editionOf(this.peers);
    const { foreign } = this.reconciler;
    const { nexthopObjects } = this.kernel;
    const plan = this.#planner.plan({ backend: this.#port, sides: this.#sides, peers, nexthopObjects, foreign });
    return { plan, own, dropStale: this.dropStale };
  }

  /** One reconciliation, after everything that was told has arrived. */
  async reconcile(): Promise<Result> {
    await Promise.resolve();
    return await this.reconciler.reconcile(this.goal(), this.now);
  }

  /** Reconciles whenever the reconciler asks for it, until it is content or the time is over. */
  async run(milliseconds: number): Promise<void> {
    const end = this.now + milliseconds;
    for (let rounds = 0; rounds < 10_000; rounds++) {
      const { retryAt } = await this.reconcile();
      if (retryAt === null || retryAt > end) break;
      this.now = Math.max(this.now + 1, retryAt);
    }
    this.now = end;
  }

  /** Where packets for a peer leave, by family. */
  pathsTo({ endpoints }: Lease): readonly (Ip | null)[] {
    return endpoints.map(({ subnet }) => {
      const route = this.kernel.item(`route ${subnet}`);
      return route === undefined ? null : this.kernel.forwardBy(route as Route);
    });
  }
}
