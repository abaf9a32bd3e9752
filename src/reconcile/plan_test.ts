/**
 * Planning: what becomes of peers that clash, lie or cannot be planned, and that a planner who remembers plans as one who does not.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { directrouting, hostGw, vxlan } from "../../test/backends.ts";
import { nodeSide } from "../../test/contracts/backend.ts";
import { Editions } from "../../test/editions.ts";
import { leaseOf, vtepOf } from "../../test/leases.ts";
import { withSeeds } from "../../test/seed.ts";
import type { Backend, NodeSide } from "../model/backend.ts";
import { type Ip, parseCidr, parseIp } from "../model/ip.ts";
import { type Item, keyOf } from "../model/item.ts";
import type { Lease } from "../model/lease.ts";
import { inProcess } from "./in_process.ts";
import { editionOf } from "./lists.ts";
import { type Plan, type PlanInput, Planner } from "./plan.ts";

const OPTIONS = { Type: "vxlan", VNI: 1, Port: 0, GBP: false, Learning: false, MTU: 0, DirectRouting: false };
const asBackend = (backend: unknown, options: unknown = OPTIONS) => inProcess(backend as Backend, options);
const VXLAN = asBackend(vxlan);
const SIDES = [nodeSide(4), nodeSide(6)];

function inputOf(peers: readonly Lease[], odd: Partial<PlanInput> = {}): PlanInput {
  const base = { backend: VXLAN, sides: SIDES, nexthopObjects: true, foreign: new Map() };
  return { ...base, peers: editionOf(peers), ...odd };
}

const planOf = (peers: readonly Lease[], odd: Partial<PlanInput> = {}) => new Planner().plan(inputOf(peers, odd));
const statesOf = ({ peers }: Plan) =>
  peers.map(({ lease, sides }) => [lease.key, ...sides.map(({ state, path }) => `${state} ${path}`)]);
const sideOf = ({ peers }: Plan, key: string, i = 0) => peers.find(({ lease }) => lease.key === key)!.sides[i]!;

test("a plan holds the node's items, and for each peer a nexthop and what it needs, in both families", () => {
  const plan = planOf([leaseOf(2)]);
  const own = SIDES.flatMap((side) => vxlan.node(side, OPTIONS)).map(keyOf);
  const [v4, v6] = plan.peers[0]!.sides;
  assert.deepEqual([...plan.items.keys()], [...own, ...v4!.keys, ...v6!.keys]);
  assert.deepEqual(v4!.keys, [
    "fdb flannel.1 02:00:00:00:00:02",
    "neighbour flannel.1 10.244.2.0",
    "nexthop 183763456",
    "route 10.244.2.0/24",
  ]);
  assert.deepEqual(plan.items.get("route 10.244.2.0/24"), {
    ...{ kind: "route", dst: parseCidr("10.244.2.0/24"), to: 183763456, src: parseIp("10.244.1.0") },
  });
  assert.equal((plan.items.get(v6!.keys[2]!) as { readonly id: number }).id >>> 28, 0xf);
});

test("without nexthop objects routes hold their hops themselves", () => {
  const plan = planOf([leaseOf(2)], { nexthopObjects: false });
  assert.ok([...plan.items.values()].every(({ kind }) => kind !== "nexthop"));
  assert.deepEqual((plan.items.get("route 10.244.2.0/24") as { readonly to: unknown }).to, {
    ...{ via: "10.244.2.0", link: "flannel.1", onlink: true },
  });
});

test("a peer whose nexthop id somebody else has gets a plain route, and says so", () => {
  const holder = "nexthop 183763456 belongs to protocol 4 on eth7";
  const plan = planOf([leaseOf(2), leaseOf(3)], { foreign: new Map([["nexthop 183763456", holder]]) });
  assert.equal(typeof (plan.items.get("route 10.244.2.0/24") as { readonly to: unknown }).to, "object");
  assert.ok(!plan.items.has("nexthop 183763456"));
  assert.deepEqual([sideOf(plan, "node-2").state, sideOf(plan, "node-2").reason], [
    "planned",
    `it has a plain route, since ${holder}`,
  ]);
  assert.equal(sideOf(plan, "node-2", 1).reason, null);
  assert.equal(typeof (plan.items.get("route 10.244.3.0/24") as { readonly to: unknown }).to, "number");
});

test("of two peers with one MAC address the first by subnet has it; nothing is used of the other, in that family", () => {
  const plan = planOf([leaseOf(2), leaseOf(3, { data: { VtepMAC: vtepOf(2) } }), leaseOf(4)]);
  assert.deepEqual(statesOf(plan), [
    ["node-2", "planned vxlan", "planned vxlan"],
    ["node-3", "rejected none", "rejected none"],
    ["node-4", "planned vxlan", "planned vxlan"],
  ]);
  assert.equal(sideOf(plan, "node-3").reason, `it needs "fdb flannel.1 02:00:00:00:00:02", which is in use for 10.244.2.0/24`);
  assert.deepEqual([plan.items.has("route 10.244.3.0/24"), plan.items.has("neighbour flannel.1 10.244.3.0")], [false, false]);
});

test("a peer that was crowded out is planned as soon as the other lets go", () => {
  const planner = new Planner();
  const thief = leaseOf(3, { data: { VtepMAC: vtepOf(2) } });
  planner.plan(inputOf([leaseOf(2), thief]));
  const plan = planner.plan(inputOf([thief]));
  assert.deepEqual(statesOf(plan), [["node-3", "planned vxlan", "planned vxlan"]]);
  assert.ok(plan.items.has("route 10.244.3.0/24") && !plan.items.has("route 10.244.2.0/24"));
});

test("a peer of another backend type waits with that reason, and its working path is asked to stay", () => {
  const plan = planOf([leaseOf(2, { backendType: "host-gw" }), leaseOf(3)]);
  assert.deepEqual(statesOf(plan)[0], ["node-2", "pending none", "pending none"]);
  assert.equal(sideOf(plan, "node-2").reason, 'its backend type is "host-gw", but vxlan works with "vxlan"');
  assert.deepEqual(plan.waiting.map(({ subnet, publicIp }) => [subnet, publicIp]), [
    ["10.244.2.0/24", "192.0.2.2"],
    ["fd00:10:244:2::/64", "2001:db8::2"],
  ]);
});

test("a peer whose data is wrong is rejected with what the schema says", () => {
  const plan = planOf([
    leaseOf(2, { data: { VtepMAC: 7 } }),
    leaseOf(3, { data: null }),
    leaseOf(4, { data: { VtepMAC: "ff:ff:ff:ff:ff:ff" } }),
  ]);
  assert.deepEqual(statesOf(plan).map(([, state]) => state), Array(3).fill("rejected none"));
  assert.match(sideOf(plan, "node-2").reason!, /^its backend data is wrong: VtepMAC: /);
  assert.match(sideOf(plan, "node-4").reason!, /VtepMAC is not a 48-bit unicast MAC address/);
  assert.deepEqual(plan.waiting, []);
});

test("a family that this node has no side for waits; the other is planned", () => {
  const plan = planOf([leaseOf(2)], { sides: SIDES.slice(0, 1) });
  assert.deepEqual(statesOf(plan), [["node-2", "planned vxlan", "pending none"]]);
  assert.equal(sideOf(plan, "node-2", 1).reason, "this node has no address in the family");
});

test("a backend that fails for one peer fails for that one", () => {
  const brittle = {
    ...vxlan,
    peer: (peer: Parameters<typeof vxlan.peer>[0], side: NodeSide, options: typeof OPTIONS) => {
      if (peer.subnet === "10.244.3.0/24") throw new Error("I can not do threes");
      return vxlan.peer(peer, side, options);
    },
  };
  const plan = planOf([2, 3, 4].map((n) => leaseOf(n)), { backend: asBackend(brittle) });
  assert.deepEqual(statesOf(plan).map(([, v4, v6]) => [v4, v6]), [
    ["planned vxlan", "planned vxlan"],
    ["pending none", "planned vxlan"],
    ["planned vxlan", "planned vxlan"],
  ]);
  assert.equal(sideOf(plan, "node-3").reason, "backend vxlan failed for it: I can not do threes");
  assert.deepEqual(plan.waiting.map(({ subnet }) => subnet), ["10.244.3.0/24"]);
});

test("a backend that fails for the node fails the plan, and the next one is whole", () => {
  const planner = new Planner();
  let fails = false;
  const moody = {
    ...vxlan,
    node: (side: NodeSide, options: typeof OPTIONS) => (fails && assert.fail("no"), vxlan.node(side, options)),
  };
  const input = inputOf([leaseOf(2)], { backend: asBackend(moody) });
  planner.plan(input);
  fails = true;
  assert.throws(() => planner.plan({ ...input, sides: [nodeSide(4)] }));
  assert.throws(() => planner.plan({ ...input, sides: [nodeSide(4)] }));
  fails = false;
  const sides = [nodeSide(4), nodeSide(6)];
  assert.deepEqual(planner.plan({ ...input, sides }).items, planOf([leaseOf(2)], { sides }).items);
});

test("a host-gw peer that is not on-link waits, but keeps its route", () => {
  const plan = planOf([leaseOf(2, { backendType: "host-gw" })], { backend: asBackend(hostGw) });
  assert.deepEqual(statesOf(plan), [["node-2", "pending direct", "pending direct"]]);
  assert.ok(plan.items.has("route 10.244.2.0/24"));
  assert.deepEqual(plan.waiting, []);
});

/** Sides that answer by a table which changes under them, as the agent's do. */
function sidesBy(onLink: () => ReadonlySet<Ip>): readonly NodeSide[] {
  return ([4, 6] as const).map((family) => nodeSide(family, (ip) => onLink().has(ip) ? "eth0" : null));
}

test("a planner that remembers plans as one that does not, and says which keys it touched", () =>
  withSeeds(6, (chance) => {
    const planner = new Planner();
    let near: ReadonlySet<Ip> = new Set();
    const sides = sidesBy(() => near);
    let peers = Array.from({ length: 30 }, (_, i) => leaseOf(i + 2));
    const editions = new Editions<Lease>();
    let input = inputOf([], { peers: editions.next(peers), backend: asBackend(directrouting), sides, ways: near });
    let before: ReadonlyMap<string, Item> = new Map();
    for (let step = 0; step < 40; step++) {
      const plan = planner.plan(input);
      const anew = new Planner().plan(input);
      assert.deepEqual(new Map([...plan.items].sort()), new Map([...anew.items].sort()), `items, step ${step}`);
      assert.deepEqual([plan.peers, plan.waiting], [anew.peers, anew.waiting], `peers, step ${step}`);
      assert.equal(plan.version, step + 1);
      const differ = [...new Set([...before.keys(), ...plan.items.keys()])].filter((key) =>
        before.get(key) !== plan.items.get(key)
      );
      if (plan.touched !== null) assert.deepEqual(differ.filter((key) => !plan.touched!.has(key)), [], `touched, step ${step}`);
      before = new Map(plan.items);
      const n = 2 + chance.below(30);
      const odd = { key: `node-${n}` };
      switch (chance.below(7)) {
        case 0:
          peers = peers.filter(({ key }) => key !== odd.key);
          break;
        case 1:
          peers = [...peers.filter(({ key }) => key !== odd.key), leaseOf(n, odd)];
          break;
        case 2: // it takes somebody else's MAC address, or its own again
          peers = peers.map((lease) =>
            lease.key === odd.key ? leaseOf(n, { data: { VtepMAC: vtepOf(chance.of([n, n, n + 1])) } }) : lease
          );
          break;
        case 3:
          peers = peers.map((lease) =>
            lease.key === odd.key ? leaseOf(n, { backendType: chance.of(["vxlan", "wireguard"]) }) : lease
          );
          break;
        case 4:
          near = new Set(
            peers.filter(() => chance.below(3) === 0).flatMap(({ endpoints }) => endpoints.map(({ publicIp }) => publicIp)),
          );
          break;
        case 5:
          input = { ...input, foreign: new Map(chance.of([[], [["nexthop 183763456", "theirs"]]])) };
          break;
        case 6:
          if (chance.below(3) === 0) input = { ...input, nexthopObjects: !input.nexthopObjects };
          if (chance.below(3) === 0) input = { ...input, sides: sidesBy(() => near) };
          break;
      }
      if (chance.below(5) === 0) editions.next(peers.slice(1)); // one that nobody plans
      input = { ...input, peers: editions.next(peers), ways: near };
    }
  }));

test("a planner asks nobody again while nothing has changed, and only those whose answer may be another", () => {
  let asked = 0;
  let near: ReadonlySet<Ip> = new Set();
  const counting = { ...directrouting, peer: (...args: Parameters<typeof vxlan.peer>) => (asked++, directrouting.peer(...args)) };
  const planner = new Planner();
  const peers = [2, 3, 4].map((n) => leaseOf(n));
  const input = inputOf(peers, { backend: asBackend(counting), sides: sidesBy(() => near), ways: near });
  const plan = (odd: Partial<PlanInput>) => {
    asked = 0;
    planner.plan({ ...input, ...odd });
    return asked;
  };
  assert.equal(plan({}), 6);
  assert.equal(plan({ peers: editionOf(peers) }), 0);
  assert.equal(plan({ peers: editionOf([peers[0]!, leaseOf(3), peers[2]!]) }), 2);
  near = new Set([peers[2]!.endpoints[0]!.publicIp]);
  assert.equal(plan({ peers: editionOf([peers[0]!, peers[2]!]), ways: near }), 2);
  assert.equal(plan({ peers: editionOf([peers[0]!, peers[2]!]), ways: near, backend: asBackend(counting) }), 4);
});
