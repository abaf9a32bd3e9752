/**
 * Many agents in one process: a cluster of nodes on a few segments, with faults by chance, on a virtual clock.
 *
 * Whatever happens, no agent touches what is not its own, and none cuts a path that worked and that is still wanted. When the faults are
 * over, every node reaches every other. One seed gives always the same run.
 *
 * @module
 */

import assert from "node:assert/strict";
import { networkOf, parseCidr, parseIp, plus } from "../src/model/ip.ts";
import { type Item, keyOf, type Route } from "../src/model/item.ts";
import { FakeNode } from "./fake_node.ts";
import { FakeCluster } from "./fake_store.ts";
import { type Seeded, seeded } from "./seed.ts";
import { VirtualClock } from "./virtual_clock.ts";

/** How large and how long a simulation is. */
export interface SimulationOptions {
  readonly seed: number;
  readonly nodes: number;
  /** Faults, one after the other. */
  readonly steps: number;
  /** The networks have IPv6 too. */
  readonly ipv6?: boolean;
}

const SEGMENTS = 3;
/** Longest time that changes of leases are on their way, per node, in milliseconds: in a large cluster more of them go together. */
const DELAY = 50;
const MINUTE = 60_000;

/** A node with what the simulation must know of it. */
interface Member {
  readonly node: FakeNode;
  readonly segment: number;
  running: boolean;
}

/** A cluster under faults. */
export class Simulation {
  readonly clock = new VirtualClock();
  readonly chance: Seeded;
  readonly cluster: FakeCluster;
  readonly members: readonly Member[];
  readonly #o: SimulationOptions;
  #addresses = 0;

  constructor(options: SimulationOptions) {
    this.#o = options;
    this.chance = seeded(options.seed);
    this.cluster = new FakeCluster(this.clock, () => this.chance.number());
    const v6 = options.ipv6 ? { EnableIPv6: true, IPv6Network: "fd00:10:244::/48" } : {};
    this.cluster.configure(JSON.stringify({ Network: "10.244.0.0/16", ...v6, Backend: { Type: "vxlan" } }));
    this.members = Array.from({ length: options.nodes }, (_, i) => this.#member(i));
  }

  /** Runs it from the start to the end, and checks what must hold. */
  async run(): Promise<void> {
    for (const member of this.members) {
      this.#start(member);
      await this.clock.pass(this.chance.below(1_000) / this.members.length);
    }
    await this.clock.pass(20_000);
    this.assertWhole("at the start");
    for (let step = 0; step < this.#o.steps; step++) {
      this.#fault();
      await this.clock.pass(this.chance.of([10, 300, 3_000, 20_000]));
      this.assertHarmless(`at step ${step}`);
    }
    await this.#heal();
    this.assertWhole("at the end");
    await this.#assertRestartsChangeNothing();
    await Promise.all(this.members.map(({ node }) => node.stop()));
    assert.equal(this.cluster.listeners.size, 0, "everybody has let go of the store");
  }

  /** Nobody has touched what is not his. */
  assertHarmless(when: string): void {
    for (const { node } of this.members) {
      assert.deepEqual(node.kernel.violations, [], `${node.name} ${when}`);
      assert.deepEqual(node.kernel.text("other"), [`nexthop 7 via ${this.#gateway(node)} dev eth0`], `${node.name} ${when}`);
      assert.equal(node.ended instanceof Error, false, `${node.name} ${when}: ${node.ended?.message}`);
    }
  }

  /** Every node is ready and reaches every other. */
  assertWhole(when: string): void {
    this.assertHarmless(when);
    const leases = this.members.map(({ node }) => node.report.lease);
    assert.equal(new Set(leases.map(({ subnet }) => subnet)).size, leases.length, `subnets are different ${when}`);
    for (const [i, { node }] of this.members.entries()) {
      assert.equal(node.notReady, null, `${node.name} is not ready ${when}`);
      for (const [j, { subnet, publicIP }] of leases.entries()) {
        if (j === i) continue;
        const route = node.kernel.item(`route ${subnet}`) as Route | undefined;
        const reached = route === undefined ? null : node.kernel.forwardBy(route);
        assert.equal(reached, publicIP, `from ${node.name} to node-${j} ${when}`);
      }
      const routes = [...node.kernel.entries.keys()].filter((key) => key.startsWith("route "));
      assert.equal(routes.length, (this.members.length - 1) * (this.#o.ipv6 ? 2 : 1), `${node.name} has no route too many ${when}`);
    }
  }

  #member(i: number): Member {
    const segment = i % SEGMENTS;
    const ip = `192.0.${segment}.${1 + Math.floor(i / SEGMENTS)}`;
    const ip6 = this.#o.ipv6 ? { ip6: `2001:db8:${segment}::${(i + 1).toString(16)}` } : {};
    const { clock, cluster, chance } = this;
    const flags = ["--backend=directrouting"];
    const nexthopObjects = i % 5 !== 4;
    const node = new FakeNode({ name: `node-${i}`, clock, cluster, chance, ip, ...ip6, flags, nexthopObjects });
    node.kernel.set({ kind: "nexthop", id: 7, hop: { via: this.#gateway(node), link: "eth0", onlink: false } }, "other");
    node.store.latency = () => chance.below(20);
    node.store.delay = () => chance.below(DELAY * this.#o.nodes);
    return { node, segment, running: false };
  }

  /** Some router on the node's segment. */
  #gateway({ kernel }: FakeNode) {
    return plus(networkOf(parseCidr(`${kernel.devices.get("eth0")?.addresses[0]?.[0] ?? this.#lost(kernel)}/24`)), 254);
  }

  #lost(kernel: FakeNode["kernel"]): never {
    throw new Error(`eth0 is gone: ${kernel.text()}`);
  }

  #start(member: Member): void {
    member.node.start();
    member.running = true;
  }

  #fault(): void {
    const member = this.chance.of(this.members);
    const { node } = member;
    switch (this.chance.below(10)) {
      case 0: // an agent stops, or comes back
        if (member.running) void node.stop();
        else node.start();
        member.running = !member.running;
        break;
      case 1:
        node.store.fail(this.chance.of(["connection refused", null]));
        break;
      case 2: // all at once
        for (const each of this.members) each.node.store.fail("the server is gone");
        this.clock.after(this.chance.below(2 * MINUTE), () => this.members.forEach((each) => each.node.store.fail(null)));
        break;
      case 3:
        node.store.hang(this.chance.below(2) === 0);
        break;
      case 4:
        node.store.breakWatches("connection reset");
        break;
      case 5: // an administrator deletes a lease
        this.cluster.remove(this.chance.of([...this.cluster.entries.keys(), "nothing"]));
        break;
      case 6:
        this.#harm(node);
        break;
      case 7: // the kernel refuses for a while
        node.kernel.fault = () => this.chance.below(3) === 0 ? "ENOBUFS" : null;
        this.clock.after(this.chance.below(30_000), () => node.kernel.fault = () => null);
        break;
      case 8:
        this.#readdress(member);
        break;
      default: // what is no lease at all
        this.cluster.put({ key: `odd-${this.chance.below(3)}`, reason: "it is not JSON" }, null);
    }
  }

  /** Deletes something of the agent's, or changes it. */
  #harm({ kernel }: FakeNode): void {
    const keys = [...kernel.entries].filter(([, { owner }]) => owner === "agent").map(([key]) => key);
    if (keys.length === 0) return;
    const item = kernel.item(this.chance.of(keys))!;
    if (item.kind === "fdb" && this.chance.below(2) === 0) kernel.set({ ...item, dst: parseIp("203.0.113.9") } as Item, "agent");
    else kernel.delete(keyOf(item));
  }

  /** The node gets another address on its segment. */
  #readdress({ node, segment }: Member): void {
    const { addresses } = node.kernel.devices.get("eth0")!;
    const ip = parseIp(`192.0.${segment}.${200 + this.#addresses++ % 50}`);
    if (this.members.some(({ node }) => node.kernel.devices.get("eth0")!.addresses.some(([other]) => other === ip))) return;
    node.kernel.device({ name: "eth0", addresses: [[ip, 24], ...addresses.slice(1)] });
  }

  async #heal(): Promise<void> {
    await this.clock.pass(2 * MINUTE);
    for (const member of this.members) {
      member.node.store.fail(null);
      member.node.store.hang(false);
      member.node.kernel.fault = () => null;
      if (!member.running) this.#start(member);
    }
    for (const key of [...this.cluster.entries.keys()].filter((key) => key.startsWith("odd-"))) this.cluster.remove(key);
    await this.clock.pass(MINUTE);
  }

  async #assertRestartsChangeNothing(): Promise<void> {
    const some = this.chance.shuffled(this.members).slice(0, 10);
    for (const { node } of some) {
      node.kernel.applied.length = 0;
      await node.stop();
      node.start();
    }
    await this.clock.pass(20_000);
    for (const { node } of some) {
      assert.deepEqual(node.kernel.applied.map(({ op, item }) => `${op} ${keyOf(item)}`), [], `${node.name} starts again`);
      assert.equal(node.notReady, null, node.name);
    }
  }
}
