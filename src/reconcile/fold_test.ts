/**
 * The rules for other nodes' leases, one by one, and all together under hostile records in any order.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { Editions } from "../../test/editions.ts";
import { effortOf } from "../../test/effort.ts";
import { ASSIGNED, leaseOf, NETWORK, type Oddities, recordOf } from "../../test/leases.ts";
import { type Seeded, withSeeds } from "../../test/seed.ts";
import { type Cidr, familyOf, type Ip, overlaps, parseCidr, parseIp } from "../model/ip.ts";
import type { Lease, LeaseRecord } from "../model/lease.ts";
import { fold, type FoldContext, Folder } from "./fold.ts";
import { difference } from "./lists.ts";

const OWN = leaseOf(1);
const ADDRESSES = ["192.0.2.1", "2001:db8::1", "127.0.0.1", "10.244.77.5", "fd00:10:244:77::5", "10.0.0.1"].map(parseIp);
const context: FoldContext = { network: NETWORK, own: OWN, addresses: ADDRESSES };
const assigned: FoldContext = { ...context, network: ASSIGNED };

const keys = (leases: readonly Lease[]) => leases.map(({ key }) => key);
const c = (text: string): Cidr => parseCidr(text);
const ip = (text: string): Ip => parseIp(text);

/** Every rule of its own, with what breaks it; `context` is the one above unless another is given. */
const BROKEN: readonly (readonly [string, Oddities, RegExp, FoldContext?])[] = [
  [
    "outside of the network",
    { subnet: c("10.245.2.0/24") },
    /^subnet 10\.245\.2\.0\/24 is not inside the network 10\.244\.0\.0\/16$/,
  ],
  ["outside, in IPv6", { subnet6: c("fd00:10:245:2::/64") }, /^subnet fd00:10:245:2::\/64 is not inside the network/],
  ["around the network", { subnet: c("10.0.0.0/8") }, /is not inside the network/],
  ["the default route", { subnet: c("0.0.0.0/0") }, /is not inside the network/],
  ["the IPv6 default route", { subnet6: c("::/0") }, /is not inside the network/],
  ["too wide", { subnet: c("10.244.2.0/23") }, /^subnet 10\.244\.2\.0\/23 has not the prefix length \/24 of the network/],
  ["too narrow", { subnet: c("10.244.2.0/25") }, /has not the prefix length \/24/],
  ["one host", { subnet: c("10.244.2.7/32") }, /has not the prefix length \/24/],
  ["too narrow, in IPv6", { subnet6: c("fd00:10:244:2::/65") }, /has not the prefix length \/64/],
  ["the whole network", { subnet: c("10.244.0.0/16") }, /has not the prefix length of a part of the network/, assigned],
  ["our own subnet", { subnet: c("10.244.1.0/24") }, /^subnet 10\.244\.1\.0\/24 overlaps this node's own 10\.244\.1\.0\/24$/],
  ["our own subnet, in IPv6", { subnet6: c("fd00:10:244:1::/64") }, /overlaps this node's own fd00:10:244:1::\/64/],
  ["inside of our own", { subnet: c("10.244.1.128/25") }, /overlaps this node's own 10\.244\.1\.0\/24/, assigned],
  ["around our own", { subnet: c("10.244.0.0/23") }, /overlaps this node's own 10\.244\.1\.0\/24/, assigned],
  ["an address of ours", { subnet: c("10.244.77.0/24") }, /^subnet 10\.244\.77\.0\/24 holds this node's address 10\.244\.77\.5$/],
  ["an address of ours, in IPv6", { subnet6: c("fd00:10:244:77::/64") }, /holds this node's address fd00:10:244:77::5/],
  ["no address", { publicIp: ip("0.0.0.0") }, /^public IP 0\.0\.0\.0 is an unspecified address$/],
  ["loopback", { publicIp: ip("127.1.2.3") }, /^public IP 127\.1\.2\.3 is a loopback address$/],
  ["multicast", { publicIp: ip("239.1.1.1") }, /is a multicast address/],
  ["broadcast", { publicIp: ip("255.255.255.255") }, /is a reserved or broadcast address/],
  ["no address, in IPv6", { publicIp6: ip("::") }, /is an unspecified or loopback address/],
  ["loopback, in IPv6", { publicIp6: ip("::1") }, /is an unspecified or loopback address/],
  ["multicast, in IPv6", { publicIp6: ip("ff02::1") }, /is a multicast address/],
  ["link-local", { publicIp6: ip("fe80::1") }, /is a link-local address/],
  ["IPv4-mapped", { publicIp6: ip("::ffff:192.0.2.9") }, /is an IPv4-mapped address/],
  [
    "inside the pod network",
    { publicIp: ip("10.244.9.9") },
    /^public IP 10\.244\.9\.9 is inside the pod network 10\.244\.0\.0\/16$/,
  ],
  ["inside the pod network, in IPv6", { publicIp6: ip("fd00:10:244:9::9") }, /is inside the pod network fd00:10:244::\/48/],
  [
    "our own public IP",
    { publicIp: ip("192.0.2.1") },
    /^public IP 192\.0\.2\.1 is this node's own: two nodes publish one address$/,
  ],
  ["another address of ours", { publicIp: ip("10.0.0.1") }, /is this node's own/],
  ["our own public IP, in IPv6", { publicIp6: ip("2001:db8::1") }, /is this node's own/],
  [
    "an IPv6 address for an IPv4 subnet",
    { publicIp: ip("2001:db8::2") },
    /^public IP 2001:db8::2 is not of the family of subnet 10\.244\.2/,
  ],
  ["an IPv4 address for an IPv6 subnet", { publicIp6: ip("192.0.2.2") }, /is not of the family of subnet fd00:10:244:2::\/64/],
  ["two subnets of one family", { subnet6: c("10.244.3.0/24"), publicIp6: ip("192.0.2.2") }, /^it has two subnets of one family$/],
];

for (const [what, odd, reason, other] of BROKEN) {
  test(`fold() rejects ${what}, and only that lease`, () => {
    const { peers, rejected } = fold([recordOf(2, odd), recordOf(4)], other ?? context);
    assert.deepEqual(keys(peers), ["node-4"]);
    assert.deepEqual(rejected.map(({ key, lease }) => [key, lease]), [["node-2", leaseOf(2, odd)]]);
    assert.match(rejected[0]!.reason, reason);
  });
}

test("fold() keeps what a good lease says, sorted by number, and leaves out our own", () => {
  const { peers, rejected } = fold([recordOf(10), recordOf(1), recordOf(9), recordOf(2)], context);
  assert.deepEqual(peers, [leaseOf(2), leaseOf(9), leaseOf(10)]);
  assert.deepEqual(rejected, []);
});

test("fold() tells why the store could not read a record", () => {
  const { rejected } = fold([{ key: "x", reason: "PublicIP is missing" }], context);
  assert.deepEqual(rejected, [{ key: "x", lease: null, reason: "PublicIP is missing" }]);
});

test("fold() leaves out endpoints of a family that this network does not have", () => {
  const v4: FoldContext = { ...context, network: { ...NETWORK, ranges: NETWORK.ranges.slice(0, 1) } };
  const bad6 = recordOf(3, { publicIp6: ip("::1") }); // nobody asks
  const { peers, rejected } = fold([recordOf(2), bad6, recordOf(4, { families: [6] })], v4);
  assert.deepEqual(peers.map(({ endpoints }) => endpoints.map(({ subnet }) => subnet)), [["10.244.2.0/24"], ["10.244.3.0/24"]]);
  assert.deepEqual(rejected.map(({ key, reason }) => [key, reason]), [["node-4", "it has no subnet in a family of this network"]]);
});

test("fold() takes a lease of one family in a network of two", () => {
  const { peers } = fold([recordOf(2, { families: [4] }), recordOf(3, { families: [6] })], context);
  assert.deepEqual(keys(peers), ["node-2", "node-3"]);
});

test("fold() gives two equal subnets to the first by key", () => {
  const twin = { subnet: c("10.244.2.0/24"), subnet6: c("fd00:10:244:9::/64") };
  const { peers, rejected } = fold([
    recordOf(3, { ...twin, key: "b" }),
    recordOf(2, { key: "c" }),
    recordOf(4, { key: "a", ...twin }),
  ], context);
  assert.deepEqual(keys(peers), ["a"]);
  assert.deepEqual(rejected.map(({ key, reason }) => [key, reason]), [
    ["b", "subnet 10.244.2.0/24 overlaps 10.244.2.0/24 of a"],
    ["c", "subnet 10.244.2.0/24 overlaps 10.244.2.0/24 of a"],
  ]);
});

test("fold() keeps the narrower of two: a wide one would take the traffic of all inside it", () => {
  const wide = recordOf(9, { key: "a", families: [4], subnet: c("10.244.128.0/17") });
  const inside = [130, 140, 150].map((n) => recordOf(n, { families: [4] }));
  const { peers, rejected } = fold([wide, ...inside, recordOf(2)], assigned);
  assert.deepEqual(keys(peers), ["node-2", "node-130", "node-140", "node-150"]);
  assert.match(rejected[0]!.reason, /^subnet 10\.244\.128\.0\/17 overlaps 10\.244\.1\d0\.0\/24 of node-1\d0$/);
});

test("fold() takes nothing from others for a lease that has itself lost", () => {
  // "a" loses its IPv4 subnet to the narrower "z", so its claim to the IPv6 subnet of "b" does not count.
  const loser = recordOf(9, { key: "a", subnet: c("10.244.8.0/22"), subnet6: c("fd00:10:244:2::/64") });
  const winner = recordOf(9, { key: "z", subnet: c("10.244.9.0/25"), families: [4] });
  const { peers, rejected } = fold([loser, winner, recordOf(2, { key: "b" })], assigned);
  assert.deepEqual(keys(peers), ["b", "z"]);
  assert.deepEqual(keys(rejected.map(({ lease }) => lease!)), ["a"]);
});

/** Records as a hostile store might send them: most are good, the others collide or are odd in any way. */
function hostile(chance: Seeded, count: number): LeaseRecord[] {
  return Array.from({ length: count }, (_, i): LeaseRecord => {
    const key = `k${i}`;
    const n = 2 + chance.below(60);
    if (chance.below(3) > 0) return recordOf(2 + i, { key });
    if (chance.below(8) === 0) return { key, reason: "it is not JSON" };
    const [, odd] = chance.of(BROKEN);
    const length = chance.of([17, 20, 22, 24, 24, 24, 26]);
    const length6 = chance.of([50, 56, 60, 64, 64, 68]);
    const families = chance.of([[4], [6], [4, 6], [4, 6]] as const);
    const own = leaseOf(n);
    const narrowed = {
      subnet: parseCidr(`${own.endpoints[0]!.subnet.split("/")[0]}/${length}`),
      subnet6: parseCidr(`${own.endpoints[1]!.subnet.split("/")[0]}/${length6}`),
    };
    return recordOf(n, { ...chance.of([{}, odd, narrowed, narrowed]), key, families });
  });
}

test("fold() lets through only what keeps every rule, whatever comes", () =>
  withSeeds(6, (chance) => {
    const { peers } = fold(hostile(chance, 60), assigned);
    const subnets = peers.flatMap(({ endpoints }) => endpoints.map(({ subnet }) => subnet));
    for (const [i, a] of subnets.entries()) {
      for (const b of subnets.slice(i + 1)) assert.ok(!overlaps(a, b), `${a} overlaps ${b}`);
      assert.ok(OWN.endpoints.every(({ subnet }) => !overlaps(subnet, a)), `${a} overlaps our own`);
      assert.equal(fold([peerWith(peers, a)], assigned).peers.length, 1, `${a} is good by itself`);
    }
    for (const { endpoints } of peers) {
      assert.ok(endpoints.every(({ subnet, publicIp }) => familyOf(subnet) === familyOf(publicIp)));
    }
  }));

function peerWith(peers: readonly Lease[], subnet: Cidr): LeaseRecord {
  const lease = peers.find(({ endpoints }) => endpoints.some((endpoint) => endpoint.subnet === subnet))!;
  return { key: lease.key, lease };
}

test("fold() answers the same for records in any order, and for one that leaves only its own lease goes", () =>
  withSeeds(8, (chance) => {
    const records = hostile(chance, 60);
    const answer = fold(records, assigned);
    assert.equal(answer.peers.length + answer.rejected.length, records.length);
    assert.deepEqual(fold(chance.shuffled(records), assigned), answer);
    assert.deepEqual(fold([...records].reverse(), assigned), answer);
    const bad = new Set(keys(answer.rejected as unknown as Lease[]));
    assert.deepEqual(fold(records.filter(({ key }) => !bad.has(key)), assigned).peers, answer.peers, "rejected ones do no harm");
  }));

test("a folder that remembers answers as one that does not, after any change", () =>
  withSeeds(6, (chance) => {
    const folder = new Folder();
    let records = hostile(chance, chance.of([5, 60, 120]));
    let now = assigned;
    let before: readonly Lease[] = [];
    let version = 0;
    const editions = new Editions<LeaseRecord>();
    for (let step = 0; step < 30; step++) {
      const edition = editions.next(records);
      if (chance.below(5) > 0) { // else it is one that nobody folds
        const { peers, rejected } = folder.fold(edition, now);
        const all = [...peers.all()];
        assert.equal(summary({ peers: all, rejected }), summary(fold(records, now)), `step ${step}`);
        const { gone, fresh } = difference(before, all);
        if (peers.version === version) assert.deepEqual([gone.size, fresh.length], [0, 0], `step ${step}`);
        else {assert.deepEqual(
            [peers.version, peers.gone, new Set(peers.fresh)],
            [version + 1, gone, new Set(fresh)],
            `step ${step}`,
          );}
        [before, version] = [all, peers.version];
      }
      const replacement = hostile(chance, 120);
      const share = chance.of([0, 0.02, 0.1, 0.8]);
      records = records.map((record) => chance.number() < share ? withKey(chance.of(replacement), record.key) : record);
      const other = chance.below(12);
      if (other === 0) records = chance.shuffled(records);
      if (other === 1) records = records.slice(chance.below(records.length));
      if (other === 2) records = [...records, ...hostile(chance, 5).map((record, i) => withKey(record, `new-${step}-${i}`))];
      if (other === 3) now = { ...now, addresses: chance.of([ADDRESSES, [], ADDRESSES.slice(1)]) };
      if (other === 4) now = { ...now, own: chance.of([OWN, leaseOf(5, { key: "k3" }), leaseOf(1, { expiresAt: step })]) };
    }
  }));

function summary({ peers, rejected }: ReturnType<typeof fold>): string {
  const followed = peers.map(({ key, backendType, endpoints }) => JSON.stringify([key, backendType, endpoints]));
  return [...followed, ...rejected.map(({ key, lease, reason }) => `${key} ${lease?.key} ${reason}`)].join("\n");
}

function withKey(record: LeaseRecord, key: string): LeaseRecord {
  return "lease" in record ? { key, lease: { ...record.lease, key } } : { ...record, key };
}

test("a folder gives the very same answer and leases while nothing changes, so that others need not look", () => {
  const folder = new Folder();
  const records = [recordOf(2), recordOf(3), recordOf(1)];
  const editions = new Editions<LeaseRecord>();
  const first = folder.fold(editions.next(records), context);
  const [two, three] = first.peers.all();
  const renewed = { ...context, own: leaseOf(1, { expiresAt: 5 }) };
  assert.equal(folder.fold(editions.next([...records]), renewed), first);
  const now = editions.next([records[0]!, recordOf(3, { data: null }), recordOf(1, { expiresAt: 5 })]);
  const second = folder.fold(now, renewed).peers.all();
  assert.equal(second[0], two);
  assert.notEqual(second[1], three);
});

test("fold() is quick with 20,000 leases, and with as many that all overlap", () => {
  const wide: FoldContext = {
    ...context,
    network: { ...ASSIGNED, ranges: [{ network: c("0.0.0.0/1"), allocation: null }, ASSIGNED.ranges[1]!] },
    addresses: [...ADDRESSES, ...Array.from({ length: 200 }, (_, i) => ip(`192.168.7.${i}`))],
  };
  const many = Array.from({ length: 20_000 }, (_, i) => recordOf(2 + i, { publicIp: ip(`198.51.100.${i % 250}`) }));
  const nested = many.map((_, i) =>
    recordOf(2, { key: `x${i}`, families: [4], publicIp: ip("198.51.100.1"), subnet: c(`10.${i % 200}.0.0/${10 + i % 16}`) })
  );
  const effort = effortOf(() => {
    assert.equal(fold(many, wide).peers.length, 20_000 - 2, "two hold addresses of ours");
    assert.ok(fold(nested, wide).peers.length < 250);
  });
  assert.ok(effort < 2500, `it took ${Math.round(effort)} ms`);
});
