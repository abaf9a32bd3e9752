import { test } from "node:test";
import assert from "node:assert/strict";
import { leaseOf } from "../../test/leases.ts";
import { withSeeds } from "../../test/seed.ts";
import { parseCidr, parseIp } from "../model/ip.ts";
import type { Route } from "../model/item.ts";
import { NexthopIds, nexthopIds, throughNexthop } from "./nexthops.ts";

const v6 = (n: number) => leaseOf(n).endpoints[1]!.subnet;

/** Two IPv6 subnets that hash to one number. */
const TWINS = [parseCidr("fd25:ea84:8217:e200::/64"), parseCidr("fd9c:bb33:b1b4:85a::/64")] as const;

test("the id of an IPv4 subnet is its address as a number", () => {
  const subnets = ["10.244.2.0/24", "1.0.0.0/8", "223.255.255.0/24"].map(parseCidr);
  assert.deepEqual([...nexthopIds(subnets).values()], [0x0af40200, 0x01000000, 0xdfffff00]);
});

test("the id of an IPv6 subnet has the top nibble f, which IPv4 ids have not, and says which subnet it is", () => {
  const subnets = Array.from({ length: 2000 }, (_, n) => v6(n + 1));
  const ids = [...nexthopIds(subnets).values()];
  assert.equal(new Set(ids).size, ids.length);
  for (const id of ids) assert.ok(id >= 0xf0000000 && id <= 0xffffffff && Number.isInteger(id), `${id}`);
});

test("of two IPv6 subnets with one hash the later by number takes the next id, in whatever order they come", () => {
  const [a, b] = TWINS;
  const alone = nexthopIds([a]).get(a)!;
  assert.equal(nexthopIds([b]).get(b), alone, "they are no twins any more: look for others");
  for (const order of [[a, b], [b, a]]) {
    const ids = nexthopIds(order);
    assert.deepEqual(new Set(ids.values()), new Set([alone, (0xf0000000 | ((alone + 1) & 0x0fffffff)) >>> 0]));
    assert.equal([...ids].find(([, id]) => id === alone)![0], [...ids.keys()][0], "the first by number has its own");
  }
});

test("an IPv6 subnet never takes the id of a reserved IPv4 subnet", () => {
  const subnet = v6(2);
  const id = nexthopIds([subnet]).get(subnet)!;
  const v4 = parseCidr(`${id >>> 24}.${(id >>> 16) & 255}.${(id >>> 8) & 255}.${id & 255}/32`);
  assert.notEqual(nexthopIds([subnet, v4]).get(subnet), id);
});

test("ids do not depend on the order of subnets, nor on what was asked before", () =>
  withSeeds(5, (chance) => {
    const ids = new NexthopIds();
    const all = [
      ...TWINS,
      ...Array.from({ length: 50 }, (_, n) => leaseOf(n + 1).endpoints.map(({ subnet }) => subnet)).flat(),
    ];
    for (let step = 0; step < 20; step++) {
      const some = chance.shuffled(all).slice(chance.below(all.length));
      const expected = nexthopIds([...some].sort());
      assert.deepEqual(new Map([...ids.of(some)].sort()), new Map([...expected].sort()));
    }
  }));

test("NexthopIds gives the very same map for the same subnets", () => {
  const ids = new NexthopIds();
  const first = ids.of([v6(2), v6(3)]);
  assert.equal(ids.of([v6(2), v6(3)]), first);
  assert.notEqual(ids.of([v6(2)]), first);
});

test("throughNexthop() moves the hop into an object, and leaves a route that names one as it is", () => {
  const hop = { via: parseIp("192.0.2.2"), link: "eth0", onlink: false };
  const route: Route = { kind: "route", dst: parseCidr("10.244.2.0/24"), to: hop, src: parseIp("10.244.1.0") };
  assert.deepEqual(throughNexthop(route, 7), [{ kind: "nexthop", id: 7, hop }, { ...route, to: 7 }]);
  assert.deepEqual(throughNexthop({ ...route, to: 9 }, 7), [{ ...route, to: 9 }]);
  const alone = { ...route, to: { ...hop, via: null } };
  assert.deepEqual(throughNexthop(alone, 7), [alone], "without a gateway there is nothing to gain");
});
