/**
 * The reconciler against a kernel that fails, lies, forgets and is changed by others.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { hostGw, vxlan } from "../../test/backends.ts";
import { leaseOf, vtepOf } from "../../test/leases.ts";
import { farOf, Reconciling } from "../../test/reconciling.ts";
import { withSeeds } from "../../test/seed.ts";
import type { Backend } from "../model/backend.ts";
import { parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { type Change, describe, type Item, keyOf, rankOf } from "../model/item.ts";

const PEERS = [leaseOf(2), farOf(3), farOf(4)];

/** A node whose kernel holds all that three peers need. */
async function settled(options: ConstructorParameters<typeof Reconciling>[0] = {}): Promise<Reconciling> {
  const node = new Reconciling(options);
  node.peers = PEERS;
  await node.run(5_000);
  assert.equal(node.reconciler.differing.size, 0);
  node.kernel.applied.length = 0;
  return node;
}

test("reconcile() puts everything in the order in which it can be, and then does nothing, not even look", async () => {
  const node = new Reconciling();
  node.peers = PEERS;
  const { changed, failed, retryAt } = await node.reconcile();
  assert.deepEqual([failed, retryAt], [[], null]);
  assert.equal(changed.length, 26);
  const ranks = changed.map(({ item }) => rankOf[item.kind]);
  assert.deepEqual(ranks, [...ranks].sort((a, b) => a - b));
  for (const peer of PEERS) assert.deepEqual(node.pathsTo(peer), peer.endpoints.map(({ publicIp }) => publicIp));
  const looks = node.kernel.observations;
  assert.deepEqual((await node.reconcile()).changed, []);
  assert.equal(node.kernel.observations, looks);
});

test("nothing that is not needed is dropped before the first full list of leases, and then all of it", async () => {
  const node = await settled();
  const again = new Reconciling({ kernel: node.kernel });
  again.dropStale = false;
  await again.run(10_000);
  assert.deepEqual(node.kernel.applied, []);
  again.peers = PEERS.slice(1);
  await again.run(10_000);
  assert.deepEqual(node.kernel.applied, []);
  again.dropStale = true;
  await again.run(10_000);
  assert.deepEqual(node.kernel.applied.map(({ op, item }) => `${op} ${keyOf(item)}`).slice(0, 2), [
    "drop route 10.244.2.0/24",
    "drop route fd00:10:244:2::/64",
  ]);
  assert.equal(again.reconciler.repairs, 0);
});

test("an agent that starts again with no memory changes nothing", async () => {
  for (const nexthopObjects of [true, false]) {
    const node = await settled({ nexthopObjects });
    const again = new Reconciling({ kernel: node.kernel });
    again.peers = PEERS;
    await again.run(10_000);
    assert.deepEqual(node.kernel.applied, []);
  }
});

/** Every change of a life: peers come, move to another way, and go. */
async function life(node: Reconciling): Promise<void> {
  node.peers = PEERS;
  await node.run(3_000);
  node.kernel.otherRoute(parseCidr("198.51.100.3/32"), "eth0", null);
  node.kernel.otherRoute(parseCidr("2001:db8:1::3/128"), "eth0", null);
  node.peers = [PEERS[0]!, PEERS[1]!, farOf(4, { data: { VtepMAC: vtepOf(99) } })];
  await node.run(3_000);
  node.peers = [PEERS[0]!];
  await node.run(3_000);
}

async function changesOfALife(nexthopObjects: boolean): Promise<ReadonlySet<string>> {
  const node = new Reconciling({ nexthopObjects });
  await life(node);
  return new Set(node.kernel.applied.map(({ op, item }) => `${op} ${keyOf(item)}`));
}

const nameOf = ({ op, item }: Change) => `${op} ${keyOf(item)}`;

for (const nexthopObjects of [true, false]) {
  const kernel = nexthopObjects ? "a kernel with nexthop objects" : "an old kernel";

  test(`${kernel}: whatever fails once is there in the end, and nothing else suffers`, async () => {
    const healthy = new Reconciling({ nexthopObjects });
    await life(healthy);
    for (const name of await changesOfALife(nexthopObjects)) {
      const node = new Reconciling({ nexthopObjects });
      let failures = 1;
      node.kernel.fault = (change) => nameOf(change) === name && failures-- > 0 ? "ENOBUFS" : null;
      await life(node);
      await node.run(5_000);
      assert.ok(failures <= 0, `${name} was never tried`);
      assert.deepEqual(node.kernel.text(), healthy.kernel.text(), name);
      assert.deepEqual([node.reconciler.differing.size, node.reconciler.failures.size], [0, 0], name);
    }
  });

  test(`${kernel}: whatever fails always stays pending with its reason and longer and longer pauses, and comes when it can`, async () => {
    for (const name of await changesOfALife(nexthopObjects)) {
      const node = new Reconciling({ nexthopObjects });
      const tries: number[] = [];
      node.kernel.fault = (change) => nameOf(change) === name ? (tries.push(node.now), "EINVAL: no reason given") : null;
      await life(node);
      await node.run(120_000);
      assert.ok(tries.length > 0, `${name} was never tried`);
      if (node.reconciler.differing.size > 0) { // else it is not needed any more
        const [key] = [name.slice(name.indexOf(" ") + 1)];
        const failure = node.reconciler.failures.get(key);
        assert.match(failure!.reason, /^Cannot (put|drop) .*EINVAL: no reason given$/, name);
        assert.ok(failure!.retryAt > node.now - 30_000 && failure!.retryAt <= node.now + 30_000, name);
        const pauses = tries.slice(1).map((at, i) => at - tries[i]!).slice(-8);
        assert.deepEqual(pauses, [...pauses].sort((a, b) => a - b), `${name}: ${pauses}`);
        assert.ok(tries.length < 40, `${name} was tried ${tries.length} times`);
      }
      node.kernel.fault = () => null;
      await node.run(60_000);
      assert.deepEqual([node.reconciler.differing.size, node.reconciler.failures.size], [0, 0], name);
      assert.deepEqual(node.kernel.violations, []);
    }
  });
}

test("what fails for the first time is told once", async () => {
  const node = new Reconciling();
  node.peers = PEERS;
  node.kernel.fault = ({ item }) => keyOf(item) === "route 10.244.2.0/24" ? "EINVAL" : null;
  const { failed } = await node.reconcile();
  assert.equal(failed.length, 1);
  assert.match(failed[0]!, /^Cannot put route 10\.244\.2\.0\/24 .*: EINVAL$/);
  node.now += 1_000;
  assert.deepEqual((await node.reconcile()).failed, []);
});

test("what failed is tried again at once when somebody changes something of its kind", async () => {
  const node = new Reconciling();
  node.peers = PEERS;
  let broken = true;
  node.kernel.fault = ({ item }) => broken && keyOf(item) === "route 10.244.2.0/24" ? "EINVAL" : null;
  await node.run(60_000);
  broken = false;
  assert.deepEqual((await node.reconcile()).changed, [], "not yet");
  node.kernel.emit("neighbour");
  assert.deepEqual((await node.reconcile()).changed, [], "that was another kind");
  node.kernel.emit("route");
  assert.equal((await node.reconcile()).changed.length, 1);
});

/** Somebody else's items in the places of ours. */
const FOREIGN: readonly Item[] = [
  { kind: "route", dst: parseCidr("10.244.2.0/24"), to: { via: parseIp("192.0.2.77"), link: "eth0", onlink: false }, src: null },
  { kind: "nexthop", id: 0x0af40200, hop: { via: parseIp("192.0.2.77"), link: "eth0", onlink: false } },
  {
    ...{
      kind: "link",
      name: "flannel.1",
      type: "vxlan",
      vni: 9,
      port: 1,
      local: parseIp("192.0.2.77"),
      mac: vtepOf(77),
      mtu: 1400,
    },
    ...{ learning: false, gbp: false },
  },
];

for (const foreign of FOREIGN) {
  test(`a ${foreign.kind} of somebody else's is never touched, is named, and makes way when it goes`, async () => {
    const node = new Reconciling();
    node.kernel.set(foreign, "other");
    node.peers = PEERS;
    await node.run(60_000);
    assert.deepEqual(node.kernel.violations, []);
    assert.deepEqual(node.kernel.text("other"), [describe(foreign)]);
    const failure = node.reconciler.failures.get(keyOf(foreign));
    if (foreign.kind !== "nexthop") assert.match(failure!.reason, /somebody else|EEXIST/);
    else assert.deepEqual(node.pathsTo(PEERS[0]!), PEERS[0]!.endpoints.map(({ publicIp }) => publicIp), "it has a plain route");
    node.kernel.delete(keyOf(foreign));
    await node.reconcile();
    assert.deepEqual([node.reconciler.differing.size, node.reconciler.failures.size], [0, 0]);
    assert.deepEqual(node.pathsTo(PEERS[0]!), PEERS[0]!.endpoints.map(({ publicIp }) => publicIp));
  });
}

test("items that are not in our places are not even looked at", async () => {
  const node = new Reconciling();
  const others: Item[] = [
    { kind: "route", dst: parseCidr("10.99.0.0/24"), to: { via: parseIp("192.0.2.77"), link: "eth0", onlink: false }, src: null },
    { kind: "route", dst: parseCidr("10.244.0.0/17"), to: { via: parseIp("192.0.2.77"), link: "eth0", onlink: false }, src: null },
    { kind: "neighbour", link: "eth0", ip: parseIp("192.0.2.77"), mac: vtepOf(7) },
    { kind: "nexthop", id: 7, hop: { via: parseIp("192.0.2.77"), link: "eth0", onlink: false } },
  ];
  others.forEach((item) => node.kernel.set(item, "other"));
  await node.run(1_000);
  node.peers = PEERS;
  await node.run(10_000);
  node.peers = [];
  await node.run(10_000);
  assert.deepEqual(node.kernel.text("other"), others.map(describe).sort());
  assert.deepEqual(node.kernel.violations, []);
});

test("what a former flanneld left is replaced in place, and dropped where the full list shows it stale", async () => {
  const node = new Reconciling();
  const [near, far] = [parseCidr("10.244.2.0/24"), parseCidr("10.244.50.0/24")];
  const hop = { via: parseIp("192.0.2.2"), link: "eth0", onlink: false };
  for (const dst of [near, far]) node.kernel.set({ kind: "route", dst, to: hop, src: null }, "flanneld");
  node.peers = PEERS;
  node.kernel.afterChange = () => assert.equal(node.pathsTo(PEERS[0]!)[0], "192.0.2.2");
  await node.run(1_000);
  const routes = node.kernel.applied.filter(({ item }) => item.kind === "route");
  assert.ok(routes.some((change) => change.op === "put" && keyOf(change.item) === `route ${near}` && change.old !== null));
  assert.ok(routes.some((change) => change.op === "drop" && keyOf(change.item) === `route ${far}` && "adopted" in change.item));
  assert.deepEqual(node.kernel.text("flanneld"), []);
});

test("a look that was interrupted drops nothing, and is made again", async () => {
  const node = await settled();
  node.kernel.interrupted = () => false;
  node.peers = PEERS.slice(0, 2);
  node.kernel.emit("route", "nexthop", "fdb", "neighbour");
  const { retryAt } = await node.reconcile();
  assert.equal(retryAt, node.now + 1_000);
  node.now += 5_000;
  await node.reconcile();
  assert.deepEqual(node.kernel.applied, []);
  node.kernel.interrupted = null;
  await node.run(5_000);
  assert.ok(node.kernel.applied.length > 0);
  assert.equal(node.reconciler.differing.size, 0);
});

test("items that an interrupted look did not show are left alone by the kernel's own check, and found in the end", async () => {
  const node = await settled();
  node.kernel.interrupted = (key) => key.startsWith("route");
  node.kernel.emit("route");
  await node.reconcile();
  node.kernel.interrupted = null;
  const before = node.kernel.text();
  await node.run(5_000);
  assert.deepEqual(node.kernel.text(), before);
  assert.equal(node.reconciler.failures.size, 0);
});

test("every single item that is deleted is back in one reconciliation, and counted", async () => {
  const node = await settled();
  const before = node.kernel.text();
  for (const key of [...node.kernel.entries.keys()]) {
    const { repairs } = node.reconciler;
    node.now += 60_000;
    node.kernel.delete(key);
    await node.reconcile();
    assert.deepEqual(node.kernel.text(), before, key);
    assert.ok(node.reconciler.repairs > repairs, key);
  }
  assert.deepEqual(node.kernel.violations, []);
});

/** The same item, changed by somebody who holds our mark. */
function changed(item: Item): Item {
  const hop = { via: parseIp("192.0.2.200"), link: "eth0", onlink: false };
  switch (item.kind) {
    case "link":
      return { ...item, mtu: 1300 };
    case "wireguard-peer":
      return { ...item, keepalive: item.keepalive + 1 };
    case "allowed-ip":
      return { ...item, publicKey: "" };
    case "fdb":
      return { ...item, dst: parseIp("192.0.2.200") };
    case "neighbour":
      return { ...item, mac: parseMac("02:00:00:00:00:c8") };
    case "nexthop":
      return { ...item, hop };
    case "route":
      return { ...item, to: hop };
    case "address":
    case "reverse-path":
    case "blackhole":
      return item;
    default:
      return item satisfies never;
  }
}

test("every single item that is changed is set right in one reconciliation, in place", async () => {
  const node = await settled();
  const before = node.kernel.text();
  for (const { item } of [...node.kernel.entries.values()]) {
    if (item.kind === "address") continue;
    node.now += 60_000;
    node.kernel.set(changed(item), "agent");
    node.kernel.applied.length = 0;
    await node.reconcile();
    assert.deepEqual(node.kernel.text(), before, keyOf(item));
    const [put] = node.kernel.applied;
    assert.ok(put?.op === "put" && put.old !== null && keyOf(put.item) === keyOf(item), keyOf(item));
  }
});

test("a device that goes down or away comes back with all that was on it", async () => {
  const node = await settled();
  const before = node.kernel.text();
  const link = node.kernel.item("link flannel.1")!;
  for (
    const harm of [() => node.kernel.delete("link flannel.1"), () => node.kernel.set({ ...link, down: true } as Item, "agent")]
  ) {
    node.now += 60_000;
    harm();
    assert.deepEqual(node.pathsTo(PEERS[1]!)[0], null);
    await node.reconcile();
    assert.deepEqual(node.kernel.text(), before);
  }
});

test("a device that must be made anew to be changed gets back all that was on it, in one reconciliation", async () => {
  const node = await settled();
  node.change({ Port: 4789 });
  await node.reconcile();
  assert.equal((node.kernel.item("link flannel.1") as { readonly port: number }).port, 4789);
  for (const peer of PEERS) assert.deepEqual(node.pathsTo(peer), peer.endpoints.map(({ publicIp }) => publicIp));
  assert.deepEqual([node.reconciler.differing.size, node.reconciler.repairs], [0, 0]);
});

test("what becomes ours by another ownership is looked for at once", async () => {
  const node = await settled();
  const left = { ...node.kernel.item("link flannel.1") as Item, name: "flannel.9" } as Item;
  node.kernel.set(left, "agent");
  await node.run(5_000);
  assert.ok(node.kernel.entries.has("link flannel.9"), "a device that nobody says is ours stays");
  node.formerLinks = ["flannel.9"];
  await node.run(5_000);
  assert.ok(!node.kernel.entries.has("link flannel.9"));
});

test("a filter that somebody makes strict is made loose again, also on a device that is made anew", async () => {
  const node = await settled();
  for (const link of ["eth0", "flannel.1"]) {
    node.kernel.filterStrictly(link);
    await node.reconcile();
    assert.equal(node.kernel.isStrict(link), false);
  }
  node.kernel.strictByDefault = true;
  node.kernel.delete("link flannel.1");
  await node.reconcile();
  assert.equal(node.kernel.isStrict("flannel.1"), false);
});

test("somebody who keeps undoing our work is fought a few times at once, then ever more slowly, and is named", async () => {
  const node = await settled();
  const repairs: number[] = [];
  const undo = () =>
    node.kernel.set(
      { ...node.kernel.item("fdb flannel.1 02:00:00:00:00:03") as Item, dst: parseIp("192.0.2.99") } as Item,
      "agent",
    );
  const end = node.now + 60_000;
  while (node.now < end) {
    undo();
    const { changed } = await node.reconcile();
    if (changed.length > 0) repairs.push(node.now);
    node.now += 10;
  }
  const start = repairs[0]!;
  assert.ok(repairs.filter((at) => at < start + 200).length >= 10, "at once, as long as it may be a mistake");
  assert.ok(repairs.length < 30, `${repairs.length} times in a minute: ${repairs.map((at) => at - start)}`);
  const { reason } = node.reconciler.failures.get("fdb flannel.1 02:00:00:00:00:03")!;
  assert.match(
    reason,
    /^somebody keeps undoing fdb 02:00:00:00:00:03 dev flannel\.1 dst 198\.51\.100\.3 and has just changed it to "fdb .* dst 192\.0\.2\.99"$/,
  );
  assert.deepEqual(node.pathsTo(PEERS[2]!), PEERS[2]!.endpoints.map(({ publicIp }) => publicIp), "the others do not suffer");
  await node.run(60_000);
  assert.equal(node.reconciler.differing.size, 0, "they have stopped");
});

test("peace makes the fight be forgotten", async () => {
  const node = await settled();
  const undo = () => node.kernel.delete("route 10.244.3.0/24");
  for (let i = 0; i < 12; i++) {
    if (node.kernel.entries.has("route 10.244.3.0/24")) undo();
    await node.reconcile();
  }
  assert.equal(node.reconciler.differing.size, 1);
  await node.run(120_000);
  undo();
  assert.equal((await node.reconcile()).changed.length, 1);
});

test("what packets under way may need stays a second longer than the route that used it", async () => {
  const node = await settled();
  node.peers = PEERS.slice(0, 2);
  const { retryAt } = await node.reconcile();
  assert.deepEqual(node.kernel.applied.map(({ item }) => item.kind), ["route", "route", "nexthop", "nexthop"]);
  assert.equal(retryAt, node.now + 1_000);
  node.now += 999;
  assert.deepEqual((await node.reconcile()).changed, []);
  node.now += 1;
  assert.deepEqual((await node.reconcile()).changed.map(({ item }) => item.kind), ["neighbour", "neighbour", "fdb", "fdb"]);
});

test("a device that is not needed any more stays for five seconds, in which others still send to it", async () => {
  const node = await settled();
  node.formerLinks = ["flannel.1", "flannel-v6.1"];
  node.backend = hostGw as unknown as Backend;
  node.change({});
  node.peers = [];
  const kinds = async () => new Set((await node.reconcile()).changed.map(({ item }) => item.kind));
  await kinds();
  node.now += 1_000;
  assert.deepEqual(await kinds(), new Set(["neighbour", "fdb"]));
  node.now += 3_999;
  assert.deepEqual(await kinds(), new Set());
  node.now += 1;
  assert.deepEqual(await kinds(), new Set(["address", "link"]));
});

test("what is needed again before it went stays, and its time starts anew when it is not needed again", async () => {
  const node = await settled();
  node.peers = PEERS.slice(0, 2);
  await node.reconcile();
  node.now += 900;
  node.peers = PEERS;
  await node.reconcile();
  node.peers = PEERS.slice(0, 2);
  node.now += 100;
  await node.reconcile();
  node.now += 900;
  assert.deepEqual((await node.reconcile()).changed, []);
});

test("a peer that changes to another backend keeps its working path until ours is told to take it up or its lease is gone", async () => {
  const node = await settled();
  const waiting = farOf(3, { backendType: "host-gw" });
  node.peers = [PEERS[0]!, waiting, PEERS[2]!];
  await node.run(60_000);
  assert.deepEqual(node.kernel.applied, []);
  assert.deepEqual(node.pathsTo(PEERS[1]!), PEERS[1]!.endpoints.map(({ publicIp }) => publicIp));
  node.peers = [PEERS[0]!, PEERS[2]!];
  await node.run(60_000);
  assert.deepEqual(node.pathsTo(PEERS[1]!), [null, null]);
});

test("a path that leads to another node than the peer that waits is none, and goes", async () => {
  for (const nexthopObjects of [true, false]) {
    const node = await settled({ nexthopObjects });
    const [near, far] = [
      leaseOf(2, { backendType: "x", publicIp: parseIp("192.0.2.99") }),
      farOf(3, { backendType: "x", publicIp6: parseIp("2001:db8::9") }),
    ];
    node.peers = [near, far, PEERS[2]!];
    await node.run(60_000);
    assert.deepEqual(node.pathsTo(near), [null, "2001:db8::2"]);
    assert.deepEqual(node.pathsTo(far), ["198.51.100.3", null]);
    assert.equal(node.kernel.entries.has("fdb flannel-v6.1 02:00:00:00:00:03"), false);
  }
});

test("a nexthop that was somebody else's when no peer needed it is ours once one does", async () => {
  const before = await settled();
  const { kernel } = before;
  const node = new Reconciling({ kernel });
  for (const key of [...kernel.entries.keys()]) if (key.startsWith("route") && key.includes("fd00")) kernel.delete(key);
  node.dropStale = false;
  await node.run(1_000); // no peer is known yet, so an IPv6 nexthop on eth0 says nothing to anybody
  assert.ok(node.reconciler.foreign.size > 0);
  node.peers = PEERS;
  await node.run(1_000);
  assert.equal(node.reconciler.foreign.size, 0);
  assert.ok(
    PEERS.every(({ endpoints }) =>
      endpoints.every(({ subnet }) => typeof (kernel.item(`route ${subnet}`) as { to: unknown }).to === "number")
    ),
  );
});

test("a kernel that throws is looked at again as a whole", async () => {
  const node = await settled();
  const { kernel } = node;
  const apply = kernel.apply.bind(kernel);
  kernel.apply = async (changes) => {
    await apply(changes.slice(0, 1));
    throw new Error("the socket is gone");
  };
  node.peers = PEERS.slice(0, 1);
  await assert.rejects(node.reconcile(), { message: "the socket is gone" });
  kernel.apply = apply;
  const observe = kernel.observe.bind(kernel);
  kernel.observe = () => {
    throw new Error("the socket is gone");
  };
  await assert.rejects(node.reconcile(), { message: "the socket is gone" });
  kernel.observe = observe;
  const looks = kernel.observations;
  await node.run(5_000);
  assert.ok(kernel.observations > looks);
  assert.equal(node.reconciler.differing.size, 0);
});

test("peers that stay lose no packet, whatever changes around them", () =>
  withSeeds(12, async (chance) => {
    const node = new Reconciling({ nexthopObjects: chance.below(4) > 0 });
    node.peers = PEERS;
    await node.run(3_000);
    for (let step = 0; step < 25; step++) {
      node.now += chance.of([10, 500, 2_000]);
      const before = node.peers;
      mutate(node, chance.below(7), 2 + chance.below(8), chance.of([1, 2, 3]));
      const steady = before.filter(({ key }) => node.peers.some((peer) => peer.key === key));
      const alive = steady.filter((peer) => node.pathsTo(peer).every((path) => path !== null));
      node.kernel.afterChange = () => {
        for (const peer of alive) {
          assert.ok(node.pathsTo(peer).every((path) => path !== null), `${peer.key} is cut off at step ${step}`);
        }
      };
      await node.reconcile();
      node.kernel.afterChange = () => {};
    }
    await node.run(10_000);
    assert.equal(node.reconciler.differing.size, 0);
    const own = (peer: typeof PEERS[0]) => peer!.endpoints.map(({ publicIp }) => publicIp);
    for (const peer of node.peers) assert.deepEqual(node.pathsTo(peer), own(peer), peer.key);
  }));

function mutate(node: Reconciling, what: number, n: number, variant: number): void {
  const key = `node-${n}`;
  const without = node.peers.filter((peer) => peer.key !== key);
  switch (what) {
    case 0: // gone
      node.peers = without;
      break;
    case 1: // on the segment, or behind a router
      node.peers = [...without, variant === 1 ? leaseOf(n) : farOf(n)];
      break;
    case 2: // another VTEP
      node.peers = node.peers.map((peer) => peer.key === key ? farOf(n, { data: { VtepMAC: vtepOf(n + 256 * variant) } }) : peer);
      break;
    case 3: // another public address
      node.peers = node.peers.map((peer) => peer.key === key ? farOf(n, { publicIp: parseIp(`203.0.113.${variant}${n}`) }) : peer);
      break;
    case 4: // an on-link route comes
      node.kernel.otherRoute(parseCidr(`198.51.100.${n}/32`), "eth0", null);
      break;
    case 5: // ... and goes; what went over it goes over a router now, as it does on Linux
      node.kernel.dropOtherRoute(parseCidr(`198.51.100.${n}/32`));
      break;
    default: // one of the backends that tell each other apart
      node.kernel.emit("route", "fdb");
  }
}

test("another backend replaces what the last one made, in place, and the devices go last", async () => {
  const node = await settled();
  node.formerLinks = ["flannel.1", "flannel-v6.1"];
  node.backend = hostGw as unknown as Backend;
  node.peers = [2, 3].map((n) => leaseOf(n, { backendType: "host-gw" }));
  const near = node.peers[0]!;
  node.kernel.afterChange = () => assert.deepEqual(node.pathsTo(near), near.endpoints.map(({ publicIp }) => publicIp));
  await node.run(10_000);
  assert.deepEqual(node.kernel.ownLinks(), []);
  assert.equal(node.reconciler.differing.size, 0);
  node.kernel.afterChange = () => {};
  node.formerLinks = [];
  node.backend = vxlan as unknown as Backend;
  node.peers = PEERS;
  await node.run(10_000);
  assert.equal(node.reconciler.differing.size, 0);
});
