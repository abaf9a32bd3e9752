/**
 * An agent's life on a virtual clock: what it needs to start, what it does when things around it change, fail and come back.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { FakeNode, type FakeNodeOptions } from "../test/fake_node.ts";
import { FakeCluster, LIFETIME } from "../test/fake_store.ts";
import { leaseOf, type Oddities, vtepOf } from "../test/leases.ts";
import { type Seeded, seeded, withSeeds } from "../test/seed.ts";
import { VirtualClock } from "../test/virtual_clock.ts";
import { openBackends } from "../test/backends.ts";
import type { NodeSide, OpenSide } from "./model/backend.ts";
import type { BackendPort, Backends } from "./model/backend_port.ts";
import { type Ip, parseCidr, parseIp, parseMac } from "./model/ip.ts";
import { describe, type Route, type WireguardLink } from "./model/item.ts";
import { BACKEND_API, defineBackend } from "./model/backend.ts";
import type { Lease, LeaseRecord } from "./model/lease.ts";
import { inProcess } from "./reconcile/in_process.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** The network configuration. */
function conf(odd: Record<string, unknown> = {}): string {
  return JSON.stringify({ Network: "10.244.0.0/16", Backend: { Type: "vxlan" }, ...odd });
}

const DUAL = { EnableIPv6: true, IPv6Network: "fd00:10:244::/48" };

/** One world: a cluster, and nodes in it that share a clock. */
class World {
  readonly clock = new VirtualClock();
  readonly cluster = new FakeCluster(this.clock, () => 0);

  node(odd: Partial<FakeNodeOptions> = {}): FakeNode {
    const { clock, cluster } = this;
    return new FakeNode({ name: "a", clock, cluster, flags: ["--backend=directrouting"], chance: seeded(7), ...odd });
  }

  /** A node that has started in a network with some peers. */
  async started(
    odd: Partial<FakeNodeOptions> & { readonly conf?: string; readonly peers?: readonly Lease[] } = {},
  ): Promise<FakeNode> {
    this.cluster.configure(odd.conf ?? conf());
    for (const lease of odd.peers ?? PEERS) this.put(lease);
    const node = this.node(odd);
    node.start();
    await this.clock.pass(3_000);
    assert.equal(node.notReady, null);
    node.kernel.applied.length = 0;
    node.log.length = 0;
    return node;
  }

  put(lease: Lease): void {
    this.cluster.put({ key: lease.key, lease }, lease.key);
  }
}

const peerOf = (n: number, odd: Oddities = {}) => leaseOf(n, { families: [4], ...odd });
const farOf = (n: number, odd: Oddities = {}) => peerOf(n, { publicIp: parseIp(`198.51.100.${n}`), ...odd });
/** Two on the node's segment, and one behind a router. */
const PEERS = [peerOf(2), peerOf(3), farOf(4)];

function pathTo({ kernel }: FakeNode, { endpoints }: Lease): Ip | null {
  const route = kernel.item(`route ${endpoints[0]!.subnet}`);
  return route === undefined ? null : kernel.forwardBy(route as Route);
}

function assertReaches(node: FakeNode, peers: readonly Lease[]): void {
  for (const peer of peers) assert.equal(pathTo(node, peer), peer.endpoints[0]!.publicIp, peer.key);
}

test("an agent waits for a configuration, and starts when it comes", async () => {
  const world = new World();
  const node = world.node();
  node.start();
  await world.clock.pass(HOUR);
  assert.match(node.notReady!, /^the network configuration has not been read yet/);
  assert.deepEqual(node.kernel.applied, []);
  world.cluster.configure(conf());
  await world.clock.pass(100);
  assert.equal(node.notReady, null);
  assert.equal(node.subnet, "10.244.1.0/24");
  assert.equal(
    node.file.text,
    "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  );
  await node.stop();
  assert.equal(node.ended, null);
  assert.equal(node.kernel.watchers, 0);
});

test("a configuration that is wrong is named, and mended in the store", async () => {
  const world = new World();
  world.cluster.configure("{");
  const node = world.node({ flags: [] });
  node.start();
  await world.clock.pass(1_000);
  assert.equal(node.ended, undefined);
  assert.match(node.notReady!, /\/coreos\.com\/network\/config/);
  world.cluster.configure(conf({ Backend: { Type: "wireguard" } }));
  await world.clock.pass(1_000);
  assert.match(
    node.notReady!,
    /^There is no backend "wireguard" \(Backend\.Type in \/coreos\.com\/network\/config\); there are: vxlan/,
  );
  world.cluster.configure(conf());
  await world.clock.pass(1_000);
  assert.equal(node.notReady, null);
  world.cluster.configure("nonsense");
  await world.clock.pass(1_000);
  assert.equal(node.notReady, null, "what worked goes on");
  assert.ok(node.log.filter((line) => line.startsWith("error")).length >= 3);
});

test("a configuration file that is wrong from the start ends the agent; one that becomes wrong does not", async () => {
  const world = new World();
  world.cluster.configure("{");
  const node = world.node({ kind: "embedded" });
  node.start();
  await world.clock.pass(1_000);
  assert.equal(node.ended?.name, "StartError");
  world.cluster.configure(conf());
  node.start();
  await world.clock.pass(1_000);
  world.cluster.configure("{");
  await world.clock.pass(1_000);
  assert.deepEqual([node.ended, node.notReady], [undefined, null]);
});

test("an agent without a device that leads anywhere does not start, and says what to do", async () => {
  const world = new World();
  world.cluster.configure(conf());
  const node = world.node();
  node.kernel.dropOtherRoute(parseCidr("0.0.0.0/0"));
  node.start();
  await world.clock.pass(1_000);
  assert.match(node.ended!.message, /there is no default route \(IPv4\); name the device with --iface/);
});

test("a ready node holds what its peers need, says so, and then does nothing at all", async () => {
  const world = new World();
  const node = await world.started();
  assertReaches(node, PEERS);
  const { peers, kernel, lease, mtu, link, backend } = node.report;
  assert.deepEqual(peers.map(({ sides }) => [sides[0]!.subnet, sides[0]!.path, sides[0]!.state]), [
    ["10.244.2.0/24", "direct", "in-sync"],
    ["10.244.3.0/24", "direct", "in-sync"],
    ["10.244.4.0/24", "vxlan", "in-sync"],
  ]);
  assert.deepEqual([kernel.pending, kernel.repairs, kernel.items], [0, 0, 2 + 2 + 2 * 2 + 4]);
  assert.deepEqual([lease.subnet, lease.publicIP, lease.expiresAt], [
    "10.244.1.0/24",
    "192.0.2.1",
    world.clock.now() - 3_000 + LIFETIME,
  ]);
  assert.deepEqual([mtu, link, backend], [1450, { name: "eth0", address: "192.0.2.1", mtu: 1500 }, "directrouting"]);
  const { observations, factReads, lookups } = node.kernel;
  await world.clock.pass(4 * MINUTE);
  assert.deepEqual([node.kernel.observations, node.kernel.factReads, node.kernel.lookups], [observations, factReads, lookups]);
  assert.deepEqual([node.kernel.applied, node.file.written.length], [[], 1]);
});

test("once in five minutes everything is looked at, so what nobody told is found", async () => {
  const world = new World();
  const node = await world.started();
  node.kernel.entries.delete("route 10.244.4.0/24"); // without an event
  await world.clock.pass(6 * MINUTE);
  assertReaches(node, PEERS);
});

test("a lease is renewed an hour before its end, again and again, and nothing else happens", async () => {
  const world = new World();
  const node = await world.started();
  await world.clock.pass(22 * HOUR);
  assert.equal(node.store.calls["renew"], undefined);
  for (const _ of [1, 2, 3]) await world.clock.pass(23 * HOUR);
  assert.equal(node.store.calls["renew"], 3);
  assert.deepEqual([node.store.calls["acquire"], node.notReady, node.kernel.applied, node.file.written.length], [1, null, [], 1]);
});

test("--subnet-lease-renew-margin moves the renewal", async () => {
  const world = new World();
  const node = await world.started({ flags: ["--subnet-lease-renew-margin=120"] });
  await world.clock.pass(22 * HOUR + MINUTE);
  assert.equal(node.store.calls["renew"], 1);
});

test("an outage of the store changes nothing, and the node stays ready while its lease is valid", async () => {
  const world = new World();
  const node = await world.started();
  node.store.fail("connection refused");
  await world.clock.pass(23 * HOUR + 30 * MINUTE);
  assert.deepEqual([node.notReady, node.kernel.applied, node.report.store.connected], [null, [], false]);
  assert.equal(node.report.problems[0]!.why, "connection refused");
  assertReaches(node, PEERS);
  await world.clock.pass(HOUR);
  assert.match(node.notReady!, /^the lease has expired and could not be renewed/);
  assert.deepEqual(node.kernel.applied, []);
  node.store.fail(null);
  await world.clock.pass(MINUTE);
  assert.deepEqual([node.notReady, node.subnet, node.file.written.length], [null, "10.244.1.0/24", 1]);
  assert.ok(node.log.filter((line) => line.startsWith("error")).length <= 3, "not a line for every try");
});

test("a store that hangs stops nothing else: repairs go on, and a stop is at once", async () => {
  const world = new World();
  const node = await world.started();
  node.store.hang(true);
  await world.clock.pass(23 * HOUR + MINUTE);
  node.kernel.delete("route 10.244.4.0/24");
  await world.clock.pass(200);
  assertReaches(node, PEERS);
  await node.stop();
  assert.equal(node.ended, null);
});

test("what changed in the store while the watch was broken is known after it", async () => {
  const world = new World();
  const node = await world.started();
  node.store.fail("connection reset");
  world.cluster.remove(PEERS[0]!.key);
  world.put(peerOf(9));
  world.put(farOf(4, { publicIp: parseIp("198.51.100.44") }));
  await world.clock.pass(10 * MINUTE);
  assertReaches(node, PEERS);
  node.store.fail(null);
  await world.clock.pass(MINUTE);
  assertReaches(node, [peerOf(9), farOf(4, { publicIp: parseIp("198.51.100.44") })]);
  assert.equal(pathTo(node, PEERS[0]!), null);
});

test("pauses after failures grow, and begin anew once the store has answered", async () => {
  const world = new World();
  const node = await world.started();
  const tries = async (milliseconds: number) => {
    node.log.length = 0;
    await world.clock.pass(milliseconds);
    return node.log.filter((line) => line.endsWith(" refused")).length / 2; // for the configuration, and for the leases
  };
  node.store.fail("refused");
  assert.ok(await tries(MINUTE) <= 8);
  assert.ok(await tries(10 * MINUTE) <= 41);
  node.store.fail(null);
  await world.clock.pass(MINUTE);
  node.store.fail("refused");
  assert.ok(await tries(10_000) >= 4, "quick again");
});

test("a lease that is gone from the store is taken again: the same subnet if it is free", async () => {
  const world = new World();
  const node = await world.started();
  world.cluster.remove(node.agent.report().lease.subnet!.replace("/", "-"));
  await world.clock.pass(1_000);
  assert.deepEqual([node.notReady, node.subnet, node.file.written.length], [null, "10.244.1.0/24", 1]);
  assert.deepEqual(node.kernel.applied, []);
  assert.ok(node.log.some((line) => line.startsWith("warning The lease is lost")));
});

test("an own lease that the store gives another subnet is taken with that", async () => {
  const world = new World();
  const node = await world.started();
  const own = leaseOf(9, { families: [4], key: "10.244.1.0-24", publicIp: parseIp("192.0.2.1") });
  world.cluster.put({ key: own.key, lease: own }, node.name);
  await world.clock.pass(2_000);
  assert.deepEqual([node.notReady, node.subnet], [null, "10.244.9.0/24"]);
  assert.ok(node.log.includes("warning The lease is lost: the store gives 10.244.1.0-24 the subnet 10.244.9.0/24 now"));
  assert.match(node.file.text!, /FLANNEL_SUBNET=10\.244\.9\.1\/24/);
});

test("public addresses that the store sets are waited for, choose the device and stand in for those of the flags", async () => {
  const world = new World();
  world.cluster.configure(conf());
  const node = world.node({ flags: ["--public-ip=203.0.113.1"] });
  node.kernel.device({ name: "eth1", addresses: [[parseIp("198.51.100.9"), 24]] });
  let tell = (_: readonly Ip[]): void => {};
  const store = Object.assign(node.store, { configuredPublicIps: () => new Promise<readonly Ip[]>((resolve) => tell = resolve) });
  node.start();
  await world.clock.pass(MINUTE);
  assert.deepEqual([node.report.link.name, store.calls["acquire"]], [null, undefined]);
  tell([parseIp("198.51.100.9")]);
  await world.clock.pass(1_000);
  assert.deepEqual([node.notReady, node.report.link.name, node.report.lease.publicIP], [null, "eth1", "198.51.100.9"]);
  Object.assign(store, { configuredPublicIps: () => Promise.resolve([parseIp("198.51.100.9")]) });
  assert.deepEqual(await node.dryRun(), [], "a plan chooses as the agent does");
});

test("where there is little memory the first list is taken over in parts, and nothing is dropped before its end", async () => {
  const world = new World();
  let reliefs = 0;
  const relieve = () => Promise.resolve(void reliefs++);
  const node = await world.started({ conf: conf({ Network: "10.240.0.0/12" }), peers: [peerOf(2), peerOf(3)], relieve });
  await node.stop();
  world.cluster.remove(peerOf(3).key);
  const many = Array.from({ length: 1200 }, (_, i) => peerOf(300 + i, { publicIp: parseIp(`203.0.${113 + (i >> 8)}.${i & 255}`) }));
  many.forEach((lease) => world.put(lease));
  node.kernel.applied.length = reliefs = 0;
  node.start();
  await world.clock.pass(MINUTE);
  assert.equal(node.notReady, null);
  assertReaches(node, [peerOf(2), ...many]);
  assert.ok(reliefs >= 3, `${reliefs}`);
  const ops = node.kernel.applied.map(({ op, item }) => `${op} ${describe(item)}`);
  const dropped = ops.findIndex((line) => line.startsWith("drop route 10.244.3.0/24"));
  assert.ok(dropped > ops.findLastIndex((line) => line.startsWith("put route")), `dropped at ${dropped}`);
});

test("a store that can not tell which node this is ends the agent", async () => {
  const world = new World();
  world.cluster.configure(conf());
  const node = world.node();
  Object.assign(node.store, { configuredPublicIps: () => Promise.reject(new Error("this is no node")) });
  node.start();
  await world.clock.pass(1_000);
  assert.deepEqual([node.ended?.name, node.ended?.message], ["StartError", "this is no node"]);
});

test("a subnet that somebody else has taken is given up for another: subnet.env, then all items, puts before drops", async () => {
  const world = new World();
  const node = await world.started();
  world.put(farOf(1, { key: "10.244.1.0-24", publicIp: parseIp("198.51.100.7") }));
  world.cluster.put({ key: "10.244.1.0-24", lease: farOf(1, { key: "10.244.1.0-24" }) }, "thief");
  await world.clock.pass(24 * HOUR);
  assert.equal(node.subnet, "10.244.5.0/24");
  assert.match(node.file.text!, /FLANNEL_SUBNET=10\.244\.5\.1\/24/);
  assert.ok(
    node.kernel.entries.has("address flannel.1 10.244.5.0/32") && !node.kernel.entries.has("address flannel.1 10.244.1.0/32"),
  );
  assertReaches(node, [...PEERS, farOf(1)]);
  const ops = node.kernel.applied.map(({ op, item }) => `${op} ${describe(item)}`);
  assert.ok(ops.indexOf("put address 10.244.5.0/32 dev flannel.1") < ops.indexOf("drop address 10.244.1.0/32 dev flannel.1"));
  assert.equal(node.notReady, null);
});

test("while no subnet is free after a loss the node says so, and its pods keep working", async () => {
  const world = new World();
  const node = await world.started();
  world.cluster.configure(conf({ SubnetMin: "10.244.1.0", SubnetMax: "10.244.1.0" }));
  await world.clock.pass(1_000);
  world.cluster.put(
    { key: "10.244.1.0-24", lease: farOf(1, { key: "10.244.1.0-24", expiresAt: world.clock.now() + HOUR }) },
    "thief",
  );
  world.cluster.remove("10.244.1.0-24");
  world.cluster.put({ key: "other", lease: farOf(1, { key: "other", expiresAt: world.clock.now() + HOUR }) }, "thief");
  await world.clock.pass(MINUTE);
  assert.match(node.notReady!, /the lease is lost: .*|no \/24 from 10\.244\.1\.0 to 10\.244\.1\.0 is free/);
  assertReaches(node, PEERS);
  await world.clock.pass(2 * HOUR);
  assert.equal(node.notReady, null, "the other's lease has ended");
});

test("another public address is published at once, under the same subnet", async () => {
  const world = new World();
  const node = await world.started();
  node.kernel.device({ name: "eth0", addresses: [[parseIp("192.0.2.9"), 24]] });
  await world.clock.pass(1_000);
  const own = world.cluster.leases().find(({ endpoints }) => endpoints[0]!.subnet === "10.244.1.0/24")!;
  assert.deepEqual([own.endpoints[0]!.publicIp, node.report.lease.publicIP, node.subnet], [
    "192.0.2.9",
    "192.0.2.9",
    "10.244.1.0/24",
  ]);
  const link = node.kernel.item("link flannel.1");
  assert.ok(link?.kind === "link" && link.type === "vxlan" && link.local === "192.0.2.9");
  assertReaches(node, PEERS);
});

test("another MTU of the external device is written to subnet.env and to the vxlan device", async () => {
  const world = new World();
  const node = await world.started();
  node.kernel.device({ name: "eth0", mtu: 9000 });
  await world.clock.pass(1_000);
  assert.match(node.file.text!, /FLANNEL_MTU=8950\n/);
  const link = node.kernel.item("link flannel.1");
  assert.ok(link?.kind === "link" && link.mtu === 8950);
});

test("--ip-blackhole-route drops what no pod has, and is gone after a start without it", async () => {
  const world = new World();
  const node = await world.started({ flags: ["--backend=directrouting", "--ip-blackhole-route"] });
  const key = `blackhole ${node.subnet}`;
  node.kernel.delete(key);
  await world.clock.pass(10);
  assert.ok(node.kernel.item(key));
  await node.stop();
  node.start(["--backend=directrouting"]);
  await world.clock.pass(3_000);
  assert.equal(node.notReady, null);
  assert.equal(node.kernel.item(key), undefined);
});

test("an external device that is gone leaves everything as it can be, and is taken up when it is back", async () => {
  const world = new World();
  const node = await world.started();
  node.kernel.unplug("eth0");
  await world.clock.pass(MINUTE);
  assert.equal(node.ended, undefined);
  assert.match(node.report.problems[0]!.why, /there is no default route/);
  assert.ok(node.kernel.entries.has("link flannel.1"));
  node.kernel.device({ name: "eth0", addresses: [[parseIp("192.0.2.1"), 24]] });
  node.kernel.otherRoute(parseCidr("0.0.0.0/0"), "eth0", parseIp("192.0.2.254"));
  await world.clock.pass(MINUTE);
  assert.equal(node.notReady, null);
  assertReaches(node, PEERS);
  assert.deepEqual(node.report.problems, []);
});

test("a peer moves to the direct way when that has held for five seconds, and one that flaps does not move", async () => {
  const world = new World();
  const node = await world.started();
  const host = parseCidr("198.51.100.4/32");
  node.kernel.otherRoute(host, "eth0", null);
  await world.clock.pass(4_000);
  assert.equal(node.peer(parseCidr("10.244.4.0/24"))!.path, "vxlan");
  node.kernel.dropOtherRoute(host);
  await world.clock.pass(3_000);
  node.kernel.otherRoute(host, "eth0", null);
  await world.clock.pass(4_000);
  assert.equal(node.kernel.applied.length, 0);
  await world.clock.pass(2_000);
  assert.equal(node.peer(parseCidr("10.244.4.0/24"))!.path, "direct");
  const moved = node.kernel.applied.map(({ op, item }) => `${op} ${item.kind}`);
  assert.deepEqual(moved, ["put nexthop", "drop neighbour", "drop fdb"], "one replace of the nexthop; the route is not touched");
});

test("a peer leaves the direct way at once when that is dead", async () => {
  const world = new World();
  const node = await world.started();
  node.kernel.device({ name: "eth1", addresses: [[parseIp("198.51.100.1"), 24]] });
  await world.clock.pass(10_000);
  assert.equal(node.peer(parseCidr("10.244.4.0/24"))!.path, "direct");
  node.kernel.device({ name: "eth1", up: false });
  await world.clock.pass(200);
  assert.equal(node.peer(parseCidr("10.244.4.0/24"))!.path, "vxlan");
  assertReaches(node, PEERS);
});

test("an agent that starts again with no memory changes nothing: not in the kernel, not in the file", async () => {
  for (const odd of [{}, { ip6: "2001:db8::1", conf: conf(DUAL) }, { nexthopObjects: false }]) {
    const world = new World();
    const node = await world.started({
      ...odd,
      peers: PEERS.map((_, i) => leaseOf(i + 2, i === 2 ? { publicIp: parseIp("198.51.100.4") } : {})),
    });
    const before = node.kernel.text();
    await node.stop();
    node.start();
    await world.clock.pass(MINUTE);
    assert.equal(node.notReady, null);
    assert.deepEqual([node.kernel.applied, node.file.written.length], [[], 1]);
    assert.deepEqual(node.kernel.text(), before);
  }
});

test("an agent that starts with another backend puts its kernel right before others read of it, and drops nothing until then", async () => {
  const world = new World();
  const node = await world.started({ flags: ["--backend=host-gw"], peers: [] });
  await node.stop();
  const published = () => world.cluster.leases().find(({ endpoints: [end] }) => end!.publicIp === "192.0.2.1")!.backendType;
  const seen: string[] = [];
  let links = node.kernel.ownLinks().length;
  node.kernel.afterChange = () => {
    if (node.kernel.ownLinks().length !== links) seen.push(`${links = node.kernel.ownLinks().length} while ${published()}`);
  };
  for (const backend of ["vxlan", "host-gw"]) {
    node.start([`--backend=${backend}`]);
    await world.clock.pass(MINUTE);
    assert.deepEqual([node.notReady, published()], [null, backend]);
    await node.stop();
  }
  assert.deepEqual(seen, ["1 while host-gw", "0 while host-gw"]);
});

test("an agent that starts while the store is out leaves everything in place, and is not ready", async () => {
  const world = new World();
  const node = await world.started();
  await node.stop();
  node.store.fail("connection refused");
  node.start();
  await world.clock.pass(HOUR);
  assert.deepEqual([node.kernel.applied, node.ended], [[], undefined]);
  assert.notEqual(node.notReady, null);
  assertReaches(node, PEERS);
  node.store.fail(null);
  await world.clock.pass(MINUTE);
  assert.equal(node.notReady, null);
  assert.deepEqual(node.kernel.applied, []);
});

test("leases that vanished while the agent was down are cleared away after the first full list, and not before", async () => {
  const world = new World();
  const node = await world.started();
  await node.stop();
  world.cluster.remove(PEERS[2]!.key);
  const watch = node.store.watch.bind(node.store);
  let silent = true;
  node.store.watch = async function* (signal) {
    while (silent && !signal.aborted) await new Promise<void>((resolve) => world.clock.after(100, resolve));
    yield* watch(signal);
  };
  node.start();
  await world.clock.pass(MINUTE);
  assert.deepEqual(node.kernel.applied, []);
  assert.match(node.notReady!, /the list of leases has not been read yet/);
  silent = false;
  await world.clock.pass(5_000);
  assert.equal(pathTo(node, PEERS[2]!), null);
  assertReaches(node, PEERS.slice(0, 2));
  assert.equal(node.notReady, null);
});

for (const [type, backend, nexthopObjects] of [["vxlan", "directrouting", true], ["host-gw", "host-gw", false]] as const) {
  test(`${backend}: another network replaces the subnet, and what belonged to the old one is cleared away`, async () => {
    const world = new World();
    const peers = PEERS.slice(0, 2).map((peer) => ({ ...peer, backendType: type }));
    const node = await world.started({ nexthopObjects, flags: [`--backend=${backend}`], peers });
    world.cluster.configure(conf({ Network: "10.96.0.0/16" }));
    const odd = { key: "new", subnet: parseCidr("10.96.2.0/24"), publicIp: parseIp("192.0.2.33"), backendType: type };
    const other = peerOf(2, odd);
    world.put(other);
    await world.clock.pass(10_000);
    assert.equal(node.subnet, "10.96.1.0/24");
    assert.match(node.file.text!, /FLANNEL_NETWORK=10\.96\.0\.0\/16\nFLANNEL_SUBNET=10\.96\.1\.1\/24/);
    assert.equal(node.file.written.length, 2, "never a mixture of old and new");
    assertReaches(node, [other]);
    assert.deepEqual(node.kernel.text().filter((line) => line.includes("10.244.")), []);
    assert.equal(node.notReady, null);
  });
}

test("another public address is published also if it came while no lease could be taken", async () => {
  const world = new World();
  world.cluster.configure(conf({ SubnetMin: "10.244.2.0", SubnetMax: "10.244.2.0" }));
  world.put(peerOf(2));
  const node = world.node();
  node.start();
  await world.clock.pass(MINUTE);
  assert.match(node.notReady!, /no \/24 from .* is free/);
  node.kernel.device({ name: "eth0", addresses: [[parseIp("192.0.2.9"), 24]] });
  await world.clock.pass(MINUTE);
  world.cluster.remove("node-2");
  await world.clock.pass(MINUTE);
  assert.deepEqual(world.cluster.leases().map(({ endpoints }) => endpoints[0]!.publicIp), ["192.0.2.9"]);
});

test("another backend in the configuration takes over the routes in place", async () => {
  const world = new World();
  const node = await world.started({ flags: [], peers: PEERS.slice(0, 2) });
  for (const peer of PEERS.slice(0, 2)) world.put({ ...peer, backendType: "host-gw" });
  node.kernel.afterChange = () => assertReaches(node, PEERS.slice(0, 2));
  world.cluster.configure(conf({ Backend: { Type: "host-gw" } }));
  await world.clock.pass(10_000);
  node.kernel.afterChange = () => {};
  assert.equal(node.report.backend, "host-gw");
  assert.deepEqual(node.kernel.ownLinks(), []);
  assert.match(node.file.text!, /FLANNEL_MTU=1500\n/);
});

test("subnet.env that can not be written is tried again, and said", async () => {
  const world = new World();
  world.cluster.configure(conf());
  const node = world.node();
  node.file.fails = 'Cannot write "/run/flannel/subnet.env": EROFS';
  node.start();
  await world.clock.pass(MINUTE);
  assert.match(node.notReady!, /EROFS/);
  node.file.fails = null;
  await world.clock.pass(10_000);
  assert.deepEqual([node.notReady, node.file.written.length], [null, 1]);
});

test("subnet.env waits until the node's own device is there", async () => {
  const world = new World();
  world.cluster.configure(conf());
  const node = world.node();
  node.kernel.fault = ({ item }) => item.kind === "link" ? "EOPNOTSUPP: no vxlan here" : null;
  node.start();
  await world.clock.pass(MINUTE);
  assert.equal(node.file.text, null);
  assert.match(node.notReady!, /subnet\.env waits for link flannel\.1/);
  assert.ok(node.report.problems.some(({ why }) => why.includes("no vxlan here")));
  node.kernel.fault = () => null;
  await world.clock.pass(MINUTE);
  assert.equal(node.notReady, null);
});

test("a kernel that throws is asked again, is logged once, and nothing is lost", async () => {
  const world = new World();
  const node = await world.started();
  const observe = node.kernel.observe;
  node.kernel.observe = () => {
    throw new Error("Cannot read routes: ENOMEM");
  };
  node.kernel.emit("route");
  await world.clock.pass(MINUTE);
  assert.match(node.notReady!, /ENOMEM/);
  assert.equal(node.log.filter((line) => line.includes("ENOMEM")).length, 1);
  node.kernel.observe = observe;
  await world.clock.pass(2_000);
  assert.equal(node.notReady, null);
});

test("a node is not ready while its traffic rules are not in place", async () => {
  const world = new World();
  const node = await world.started();
  node.traffic.lastError = "iptables: Permission denied";
  assert.equal(node.notReady, "iptables: Permission denied");
});

test("one bad lease harms only itself, and is shown with its reason", async () => {
  const world = new World();
  const node = await world.started();
  const bad: LeaseRecord[] = [
    { key: "x", reason: "it is not JSON" },
    ...[farOf(50, { subnet: parseCidr("10.244.0.0/17") }), farOf(51, { publicIp: parseIp("192.0.2.1") }), farOf(52, { data: "?" })]
      .map((lease) => ({ key: lease.key, lease })),
  ];
  for (const record of bad) world.cluster.put(record, null);
  await world.clock.pass(1_000);
  assert.equal(node.report.peers.length, PEERS.length + bad.length);
  assert.deepEqual([node.kernel.applied, node.notReady], [[], null]);
});

test("events of a busy node are answered at once, but the facts are read at most ten times a second", async () => {
  const world = new World();
  const node = await world.started();
  const { factReads } = node.kernel;
  for (let i = 0; i < 100; i++) {
    node.kernel.emit("facts", "reverse-path");
    await world.clock.pass(10);
  }
  assert.ok(node.kernel.factReads - factReads <= 11, `${node.kernel.factReads - factReads} reads`);
  node.kernel.delete("route 10.244.4.0/24");
  await world.clock.settle();
  await world.clock.settle();
  assertReaches(node, PEERS);
});

/** A history of leases: peers come, change and go, and some are not good. */
function history(chance: Seeded): readonly (readonly [key: string, lease: Lease | null])[] {
  return Array.from({ length: 60 }, () => {
    const n = 2 + chance.below(12);
    const key = `node-${n}`;
    const subnet = parseCidr(`10.244.${chance.of([n, n, n, n + 1])}.0/24`);
    const data = { VNI: 1, VtepMAC: vtepOf(chance.of([n, n, n, 2])) };
    const lease = chance.of([peerOf, farOf])(n, {
      key,
      subnet,
      data,
    });
    return [key, chance.below(4) === 0 ? null : lease];
  });
}

test("the same leases give the same kernel, however the news of them came", () =>
  withSeeds(6, async (chance) => {
    const changes = history(chance);
    const last = [...new Map(changes)];
    const endOf = async (
      changes: readonly (readonly [string, Lease | null])[],
      pause: number,
      odd: (node: FakeNode, i: number) => void,
    ) => {
      const world = new World();
      const node = await world.started({ peers: [] });
      for (const [i, [key, lease]] of changes.entries()) {
        if (lease === null) world.cluster.remove(key);
        else world.put(lease);
        odd(node, i);
        await world.clock.pass(pause);
      }
      node.store.fail(null);
      await world.clock.pass(2 * MINUTE);
      assert.equal(node.notReady, null);
      const { peers } = node.report;
      return [node.kernel.text(), peers.map(({ key, sides }) => [key, sides[0]?.state, sides[0]?.path, sides[0]?.reason])];
    };
    const expected = await endOf(last, 0, () => {});
    const ways: Readonly<Record<string, () => Promise<unknown>>> = {
      "one by one": () => endOf(changes, 3_000, () => {}),
      "all at once": () => endOf(changes, 0, () => {}),
      "squashed": () => endOf(changes, 100, ({ store }) => store.delay = () => chance.below(2_000)),
      "reversed": () => endOf([...last].reverse(), 500, () => {}),
      "in any order": () => endOf(chance.shuffled(last), 50, () => {}),
      "with gaps": () => endOf(changes, 700, ({ store }, i) => store.fail(i % 9 < 4 ? "connection reset" : null)),
      "with breaks": () => endOf(changes, 200, ({ store }, i) => i % 7 === 0 && store.breakWatches("EOF")),
    };
    for (const [way, end] of Object.entries(ways)) assert.deepEqual(await end(), expected, way);
  }));

test("a dry run says what would change, and changes nothing", async () => {
  const world = new World();
  const node = await world.started();
  await node.stop();
  assert.deepEqual(await node.dryRun(), []);
  node.kernel.delete("route 10.244.4.0/24");
  world.cluster.remove(PEERS[0]!.key);
  const text = node.kernel.text();
  const calls = { ...node.store.calls };
  const changes = (await node.dryRun()).map(({ op, item }) => `${op} ${item.kind}`);
  assert.deepEqual(changes, ["put route", "drop route", "drop nexthop"]);
  assert.deepEqual(node.kernel.text(), text);
  assert.deepEqual([node.store.calls["acquire"], node.store.calls["renew"]], [calls["acquire"], calls["renew"]]);
});

test("what the kernel tells nobody of is looked at every ten seconds", async () => {
  const key = `${"A".repeat(42)}E=`;
  const [link, mtu] = ["flannel-wg", 1420];
  const silent = defineBackend({
    ...{ name: "silent", api: BACKEND_API, type: "vxlan", options: (it: unknown) => it, leaseData: (it: unknown) => it },
    ...{ mtu: () => mtu, publish: () => null, links: () => [link] },
    node: () => [{ kind: "link", name: link, type: "wireguard", port: 51820, publicKey: key, privateKeyFile: null, mtu }],
    peer({ subnet, publicIp }) {
      const publicKey = `${subnet}`;
      const endpoint = { ip: publicIp, port: 51820 };
      return {
        path: "silent",
        items: [
          { kind: "wireguard-peer", link, publicKey, endpoint, keepalive: 0, presharedKey: null },
          { kind: "allowed-ip", link, cidr: subnet, publicKey },
          { kind: "route", dst: subnet, to: { via: null, link, onlink: false }, src: null },
        ],
      };
    },
  });
  const backends = { devices: [], open: () => Promise.resolve(inProcess(silent, {})) };
  const world = new World();
  const node = await world.started({ backends, flags: [] });
  assertReaches(node, PEERS);
  const { subnet } = PEERS[0]!.endpoints[0]!;
  const device = node.kernel.item(`link ${link}`) as WireguardLink;
  node.kernel.delete(`wireguard-peer ${link} ${subnet}`);
  node.kernel.set({ ...device, publicKey: null }, "agent");
  assert.equal(pathTo(node, PEERS[0]!), null);
  await world.clock.pass(10_000);
  assertReaches(node, PEERS);
  assert.deepEqual(node.kernel.item(`link ${link}`), device);
  assert.equal(node.report.kernel.repairs, 3);

  const { observations } = node.kernel;
  await world.clock.pass(MINUTE);
  assert.equal(node.kernel.observations - observations, 6);
  const other = await new World().started();
  const before = other.kernel.observations;
  await world.clock.pass(MINUTE);
  assert.equal(other.kernel.observations, before, "a kernel that tells everything is left alone");
});

test("a dry run needs a configuration and a lease", async () => {
  const world = new World();
  world.cluster.configure(conf());
  await assert.rejects(world.node().dryRun(), { name: "StartError", message: /This node has no lease yet/ });
});

test("the MAC address of a device outlives the device, and the agent if the lease tells it", async () => {
  const world = new World();
  const node = await world.started({ chance: seeded(11) });
  const macOf = () => (node.kernel.item("link flannel.1") as { readonly mac: string }).mac;
  const mac = macOf();
  node.kernel.delete("link flannel.1");
  await world.clock.pass(1_000);
  assert.equal(macOf(), mac);
  await node.stop();
  node.kernel.delete("link flannel.1");
  node.start();
  await world.clock.pass(3_000);
  assert.equal(macOf(), mac);
});

test("a stop ends everything, at any moment of the start", async () => {
  for (let steps = 0; steps < 12; steps++) {
    const world = new World();
    world.cluster.configure(conf());
    const node = world.node();
    node.store.latency = () => 10;
    node.start();
    await world.clock.pass(steps * 5);
    const stopped = node.stop();
    await world.clock.pass(1);
    await stopped;
    assert.deepEqual([node.ended, node.kernel.watchers, world.cluster.listeners.size], [null, 0, 0], `after ${steps * 5} ms`);
    await world.clock.pass(25 * HOUR);
    assert.ok((node.store.calls["renew"] ?? 0) === 0);
  }
});

test("devices of a backend that nobody knows by name go when another takes its place, and it is closed", async () => {
  let closed = 0;
  const builtIn = openBackends({ folders: [], log: () => {} });
  const mine = defineBackend({
    ...{ name: "mine", api: BACKEND_API, type: "mine", options: () => null, leaseData: () => null },
    mtu: (external) => external,
    publish: () => null,
    links: () => ["mine0"],
    node: ({ address, mtu }) => [{
      ...{ kind: "link", name: "mine0", type: "vxlan", vni: 7, port: 4789, local: address, mtu, learning: false, gbp: false },
      mac: parseMac("02:00:00:00:00:07"),
    }],
    peer: () => ({ path: "none", items: [] }),
  });
  const backends: Backends = {
    devices: builtIn.devices,
    open: async (request) =>
      request.name === "mine" ? { ...inProcess(mine, null), close: () => void closed++ } : await builtIn.open(request),
  };
  const world = new World();
  const node = await world.started({ flags: [], backends, conf: conf({ Backend: { Type: "mine" } }) });
  assert.ok(node.kernel.item("link mine0"));
  world.cluster.configure(conf());
  await world.clock.pass(MINUTE);
  assert.deepEqual([node.notReady, node.report.backend, closed], [null, "vxlan", 1]);
  assert.deepEqual([node.kernel.item("link mine0"), node.kernel.item("link flannel.1")?.kind], [undefined, "link"]);
  await node.stop();
});

/** A backend that answers what the node needs only after a while, as one in a Worker does. */
function late(port: BackendPort, clock: VirtualClock, changed: () => void): BackendPort {
  const known = new Set<string>();
  const asked = new Set<string>();
  const soon = <T>(question: string, answer: () => T): T | null => {
    if (known.has(question)) return answer();
    if (!asked.has(question)) {
      clock.after(LATE, () => {
        known.add(question);
        it.edition++;
        changed();
      });
    }
    asked.add(question);
    return null;
  };
  const it = {
    ...port,
    edition: 0,
    mtu: (...args: Parameters<BackendPort["mtu"]>) => soon(JSON.stringify(args), () => port.mtu(...args)),
    publish: (side: OpenSide) => soon(`publish ${JSON.stringify(side)}`, () => port.publish(side)),
    node: (side: NodeSide) => soon(`node ${JSON.stringify(side)}`, () => port.node(side)),
  };
  return it;
}
const LATE = 300;

test("what a backend answers late is waited for, and until then its last plan is kept in place", async () => {
  const world = new World();
  const builtIn = openBackends({ folders: [], log: () => {} });
  const open: Backends["open"] = async (request) => late(await builtIn.open(request), world.clock, request.changed);
  const node = await world.started({ flags: [], backends: { devices: builtIn.devices, open } });
  assert.deepEqual([node.file.written.length, node.report.mtu], [1, 1450]);
  assertReaches(node, PEERS);
  world.cluster.configure(conf({ Backend: { Type: "vxlan", VNI: 9, MTU: 1400 } }));
  await world.clock.pass(LATE / 2);
  node.kernel.delete("route 10.244.4.0/24");
  await world.clock.pass(10);
  assertReaches(node, PEERS);
  await world.clock.pass(LATE);
  assert.deepEqual(
    [node.kernel.item("link flannel.9"), node.file.written.length],
    [undefined, 1],
    "it has not said what the node needs",
  );
  await world.clock.pass(MINUTE);
  assert.equal(node.notReady, null);
  assert.ok(node.kernel.item("link flannel.9"));
  assert.match(node.file.text!, /MTU=1350/);
  assertReaches(node, PEERS);
});
