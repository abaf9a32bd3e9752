import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bitsOf,
  type Cidr,
  cidrOf,
  contains,
  familyOf,
  lengthOf,
  networkOf,
  overlaps,
  parseCidr,
  parseIp,
  plus,
} from "../model/ip.ts";
import type { Range } from "../model/lease.ts";
import { type Choice, chooseSubnets, isLeaseOf } from "./allocate.ts";

const V4: Range = {
  network: parseCidr("10.3.0.0/16"),
  allocation: { length: 24, min: parseIp("10.3.1.0"), max: parseIp("10.3.255.0") },
};
const V6: Range = {
  network: parseCidr("fd00:3::/48"),
  allocation: { length: 64, min: parseIp("fd00:3:0:1::"), max: parseIp("fd00:3:0:ffff::") },
};

type Texts = { readonly own?: string[][]; readonly previous?: string[]; readonly taken?: string[] };

function choose(ranges: readonly Range[], { own = [], previous = [], taken = [] }: Texts, random = () => 0): readonly Cidr[] {
  const cidrs = (texts: string[]) => texts.map(parseCidr);
  return chooseSubnets({ ranges, own: own.map(cidrs), previous: cidrs(previous), taken: cidrs(taken), random } satisfies Choice);
}

const CASES: readonly (readonly [what: string, ranges: readonly Range[], given: Texts, chosen: string[]])[] = [
  ["starts at the first subnet", [V4], {}, ["10.3.1.0/24"]],
  ["keeps its own lease", [V4], { own: [["10.3.9.0/24"]], previous: ["10.3.8.0/24"] }, ["10.3.9.0/24"]],
  ["keeps its own lease even where another overlaps it", [V4], { own: [["10.3.9.0/24"]], taken: ["10.0.0.0/8"] }, ["10.3.9.0/24"]],
  ["takes the own lease that fits", [V4], { own: [["10.3.9.0/25"], ["10.3.7.0/24"]] }, ["10.3.7.0/24"]],
  ["gives up an own lease of another length", [V4], { own: [["10.3.9.0/25"]] }, ["10.3.1.0/24"]],
  ["gives up an own lease before min", [V4], { own: [["10.3.0.0/24"]] }, ["10.3.1.0/24"]],
  ["gives up an own lease of another network", [V4], { own: [["10.4.9.0/24"]] }, ["10.3.1.0/24"]],
  ["takes the previous subnet", [V4], { previous: ["10.3.8.0/24"], taken: ["10.3.7.0/24", "10.3.9.0/24"] }, ["10.3.8.0/24"]],
  ["does not take a previous subnet from another node", [V4], { previous: ["10.3.8.0/24"], taken: ["10.3.8.0/24"] }, [
    "10.3.1.0/24",
  ]],
  ["does not take a previous subnet that is overlapped", [V4], { previous: ["10.3.8.0/24"], taken: ["10.3.8.128/25"] }, [
    "10.3.1.0/24",
  ]],
  ["does not take a previous subnet that does not fit", [V4], { previous: ["10.3.0.0/24", "10.9.9.0/24"] }, ["10.3.1.0/24"]],
  ["passes over every overlap", [V4], { taken: ["10.3.1.0/24", "10.3.2.128/25", "10.3.4.0/22"] }, ["10.3.3.0/24"]],
  ["passes over what begins before the range", [V4], { taken: ["10.3.0.0/18"] }, ["10.3.64.0/24"]],
  ["minds only its own family", [V4], { taken: ["fd00:3::/48"], own: [["fd00:3::/64"]], previous: ["fd00:3:0:5::/64"] }, [
    "10.3.1.0/24",
  ]],
  ["chooses each family by itself", [V4, V6], { taken: ["10.3.1.0/24", "fd00:3:0:1::/64", "fd00:3:0:2::/63"] }, [
    "10.3.2.0/24",
    "fd00:3:0:4::/64",
  ]],
  ["keeps a dual-stack lease", [V4, V6], { own: [["10.3.9.0/24", "fd00:3:0:9::/64"]] }, ["10.3.9.0/24", "fd00:3:0:9::/64"]],
  ["keeps IPv4 when IPv6 is switched on", [V4, V6], { own: [["10.3.9.0/24"]] }, ["10.3.9.0/24", "fd00:3:0:1::/64"]],
  ["keeps IPv4 when IPv6 is switched off", [V4], { own: [["10.3.9.0/24", "fd00:3:0:9::/64"]] }, ["10.3.9.0/24"]],
  ["serves IPv6 alone", [V6], { taken: ["10.3.1.0/24"] }, ["fd00:3:0:1::/64"]],
];

test("chooseSubnets() follows flannel's order", () => {
  for (const [what, ranges, given, chosen] of CASES) assert.deepEqual(choose(ranges, given), chosen, `it ${what}`);
});

test("chooseSubnets() picks at random among the first hundred free subnets", () => {
  const all = new Set<string>();
  for (let i = 0; i < 1000; i++) all.add(choose([V4], { taken: ["10.3.50.0/24"] }, () => i / 1000)[0]!);
  assert.equal(all.size, 100);
  assert.ok(all.has("10.3.1.0/24") && all.has("10.3.101.0/24"));
  assert.ok(!all.has("10.3.50.0/24"));
});

test("chooseSubnets() gives out every subnet once, and then says what to do", () => {
  const range: Range = {
    network: parseCidr("10.3.0.0/20"),
    allocation: { length: 24, min: parseIp("10.3.1.0"), max: parseIp("10.3.15.0") },
  };
  const taken: string[] = [];
  for (let i = 0; i < 15; i++) taken.push(choose([range], { taken }, () => (i * 7 % 15) / 15)[0]!);
  assert.equal(new Set(taken).size, 15);
  assert.throws(() => choose([range], { taken }), {
    message: "Cannot take a lease: no /24 from 10.3.1.0 to 10.3.15.0 is free; " +
      "give back leases that nobody uses, or let the network configuration say a wider Network or smaller subnets",
  });
});

test("chooseSubnets() names a lease that blocks the network", () => {
  const given = { taken: ["10.3.5.0/24", "10.0.0.0/8"] };
  assert.throws(() => choose([V4], given), /is free \(the lease 10\.0\.0\.0\/8 alone takes many of them\);/);
});

test("chooseSubnets() says when nothing tells how to cut the network", () => {
  const given = { network: V4.network, allocation: null };
  assert.throws(() => choose([given], {}), { message: /^Cannot choose a subnet of 10\.3\.0\.0\/16: nothing says how/ });
});

test("chooseSubnets() finds a free subnet among 20,000 leases and in an IPv6 network of four billion subnets at once", () => {
  const wide: Range = {
    network: parseCidr("10.0.0.0/8"),
    allocation: { length: 24, min: parseIp("10.0.1.0"), max: parseIp("10.255.255.0") },
  };
  const six: Range = {
    network: parseCidr("fd00::/32"),
    allocation: { length: 64, min: parseIp("fd00:0:0:1::"), max: parseIp("fd00::ffff:ffff:0:0:0:0") },
  };
  const taken = Array.from({ length: 20_000 }, (_, i) => `10.${i + 1 >> 8}.${i + 1 & 255}.0/24`).reverse();
  const start = performance.now();
  const chosen = choose([wide, six], { taken: [...taken, "fd00::/33", "fd00:0:8000::/34"], previous: ["10.0.1.0/24"] });
  const took = performance.now() - start;
  assert.deepEqual(chosen, ["10.78.33.0/24", "fd00:0:c000::/64"]);
  assert.ok(took < 2000, `took ${took} ms`);
});

test("chooseSubnets() never chooses what overlaps a lease", () => {
  let seed = 1;
  const next = (below: number) => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
  for (let round = 0; round < 300; round++) {
    const taken = Array.from({ length: next(40) }, () => parseCidr(`10.3.${next(256)}.${next(256)}/${16 + next(3) * 4 + next(5)}`))
      .filter((subnet) => !subnet.endsWith("/16"));
    let chosen: readonly Cidr[];
    try {
      chosen = choose([V4], { taken }, () => next(1000) / 1000);
    } catch {
      const starts = Array.from({ length: 255 }, (_, i) => parseCidr(`10.3.${i + 1}.0/24`));
      assert.ok(starts.every((start) => taken.some((it) => overlaps(it, start))), "it was full");
      continue;
    }
    assert.equal(chosen.length, 1);
    assert.equal(familyOf(chosen[0]!), 4);
    assert.ok(!taken.some((it) => overlaps(it, chosen[0]!)), `${chosen[0]} among ${taken}`);
  }
});

test("isLeaseOf() knows a node by any of its public addresses", () => {
  const endpoint = (subnet: string, ip: string) => ({ subnet: parseCidr(subnet), publicIp: parseIp(ip), data: null });
  const endpoints = [endpoint("10.3.1.0/24", "192.168.0.1"), endpoint("fd00:3:0:1::/64", "fd00::1")];
  const lease = { key: "", backendType: "", endpoints, expiresAt: null };
  assert.ok(isLeaseOf(lease, [parseIp("192.168.0.2"), parseIp("fd00::1")]));
  assert.ok(!isLeaseOf(lease, [parseIp("192.168.0.2")]));
});

/** All that may be chosen, by trying one start after the other. */
function naively({ network, allocation }: Range, taken: readonly Cidr[]): Cidr[] {
  const { length, min, max } = allocation!;
  const free: Cidr[] = [];
  for (let subnet = cidrOf(min, length); free.length < 100; subnet = cidrOf(plus(networkOf(subnet), sizeOf(subnet)), length)) {
    if (!contains(network, subnet)) break;
    if (!taken.some((other) => overlaps(other, subnet))) free.push(subnet);
    if (networkOf(subnet) === max) break;
  }
  return free;
}

function sizeOf(subnet: Cidr): bigint {
  return 1n << BigInt(bitsOf(familyOf(subnet)) - lengthOf(subnet));
}

test("chooseSubnets() has the same choice as one that tries every subnet", () => {
  let seed = 7;
  const next = (below: number) => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
  const ranges: Range[] = [
    V4,
    { network: parseCidr("10.3.0.0/20"), allocation: { length: 26, min: parseIp("10.3.2.64"), max: parseIp("10.3.13.128") } },
    { network: parseCidr("fd00:3::/56"), allocation: { length: 64, min: parseIp("fd00:3:0:3::"), max: parseIp("fd00:3:0:f0::") } },
  ];
  const near = (range: Range) => {
    const { length, min } = range.allocation!;
    const start = plus(min, sizeOf(cidrOf(min, length)) * BigInt(next(70)) + BigInt(next(64)));
    return cidrOf(start, Math.min(length - 5 + next(12), bitsOf(familyOf(min)) - 1));
  };
  for (let round = 0; round < 21; round++) {
    const range = ranges[round % ranges.length]!;
    const taken = Array.from({ length: next(60) }, () => near(ranges[next(4) === 0 ? next(3) : round % 3]!));
    const expected = naively(range, taken);
    for (const [i, subnet] of expected.entries()) {
      if (i % 33 !== round % 33 && i !== expected.length - 1) continue; // any of them shows a difference before it
      const random = () => (i + 0.5) / expected.length;
      assert.deepEqual(chooseSubnets({ ranges: [range], own: [], previous: [], taken, random }), [subnet], `${taken}`);
    }
    if (expected.length === 0) {
      assert.throws(() => chooseSubnets({ ranges: [range], own: [], previous: [], taken, random: () => 0 }), /is free/);
    }
  }
});
