import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cidr, parseCidr } from "../model/ip.ts";
import { intentOf, plainRules, type PodRange, type Rule, sameRules, targetRules, type TrafficSettings } from "./rules.ts";

const SETTINGS: TrafficSettings = { masquerade: true, forward: true, fullyRandom: true, mode: "iptables", resync: 5 };
const IPV4 = range("10.244.0.0/16", "10.244.1.0/24");
const IPV6 = range("fd00:10::/56", "fd00:10:0:1::/64");
const OTHER = range("10.12.0.0/16", "10.12.5.0/24");
const OWN = [IPV4.network];

function range(network: string, subnet: string): PodRange {
  return { network: parseCidr(network), subnet: parseCidr(subnet) };
}

function rulesOf(purpose: "masquerade" | "forward", settings: TrafficSettings = SETTINGS, of: PodRange = IPV4): readonly Rule[] {
  return intentOf(settings, [of]).families[0]![purpose];
}

/** A rule in one line, to compare lists at a glance. */
function line(rule: Rule): string {
  const side = (side: Rule["source"]) => side === null ? "*" : `${side.not ? "!" : ""}${side.cidr}`;
  return `${rule.marked ? "marked " : ""}${side(rule.source)} > ${side(rule.destination)} ${rule.verdict}`;
}

test("intentOf() gives each family flannel's rules in flannel's order", () => {
  const [ipv4, ipv6] = intentOf(SETTINGS, [IPV4, IPV6]).families;
  assert.deepEqual(ipv4?.masquerade.map(line), [
    "marked * > * return",
    "10.244.1.0/24 > 10.244.0.0/16 return",
    "10.244.0.0/16 > 10.244.1.0/24 return",
    "!10.244.0.0/16 > 10.244.1.0/24 return",
    "10.244.0.0/16 > !224.0.0.0/4 masquerade fully-random",
    "!10.244.0.0/16 > 10.244.0.0/16 masquerade fully-random",
  ]);
  assert.deepEqual(ipv6?.masquerade.map(line).at(4), "fd00:10::/56 > !ff00::/8 masquerade fully-random");
  assert.deepEqual(ipv6?.forward.map(line), ["fd00:10::/56 > * accept", "* > fd00:10::/56 accept"]);
  assert.deepEqual([ipv4?.family, ipv6?.family], [4, 6]);
});

test("intentOf() leaves out what the operator does not want", () => {
  const [ipv4] = intentOf({ ...SETTINGS, masquerade: false, forward: false }, [IPV4]).families;
  assert.deepEqual([ipv4?.masquerade, ipv4?.forward], [[], []]);
  assert.deepEqual(rulesOf("masquerade", { ...SETTINGS, fullyRandom: false }).map((rule) => rule.verdict).slice(4), [
    "masquerade",
    "masquerade",
  ]);
});

test("targetRules() replaces whatever is not ours", () => {
  const wanted = rulesOf("masquerade");
  const stale = rulesOf("masquerade", SETTINGS, range("10.244.0.0/16", "10.244.9.0/24"));
  for (const observed of [[], [null], stale, [null, ...wanted], wanted.toReversed(), wanted.slice(1), [...wanted, wanted[0]!]]) {
    assert.ok(sameRules(targetRules("masquerade", observed, wanted, OWN), wanted));
    assert.ok(!sameRules(observed, wanted));
  }
  assert.equal(targetRules("masquerade", wanted, wanted, OWN), wanted);
  assert.deepEqual(targetRules("masquerade", stale, [], OWN), []);
});

test("targetRules() keeps the complete rules of an agent with another network, wherever they stand", () => {
  for (const purpose of ["masquerade", "forward"] as const) {
    const [ours, theirs] = [rulesOf(purpose), rulesOf(purpose, { ...SETTINGS, fullyRandom: false }, OTHER)];
    const block = purpose === "masquerade" ? theirs.slice(1) : theirs;
    const both = targetRules(purpose, theirs, ours, OWN);
    assert.ok(sameRules(both, [...ours, ...block]));
    assert.equal(targetRules(purpose, both, ours, OWN), both);
    assert.equal(targetRules(purpose, both, theirs, [OTHER.network]), both, "the other agent is content as well");
    assert.ok(sameRules(targetRules(purpose, [...block, null], ours, OWN), [...ours, ...block]));
    assert.ok(sameRules(targetRules(purpose, both, [], OWN), theirs), "and keeps its rules when we go");
    assert.ok(sameRules(targetRules(purpose, [...ours, ...block.slice(1)], ours, OWN), ours), "an incomplete block is nobody's");
    assert.ok(sameRules(targetRules(purpose, both, ours, [...OWN, OTHER.network]), ours), "a former network of ours goes");
  }
});

test("targetRules() takes a network that overlaps ours for a stale one of ours", () => {
  const wider = rulesOf("forward", SETTINGS, range("10.0.0.0/8", "10.3.0.0/24"));
  assert.ok(sameRules(targetRules("forward", wider, rulesOf("forward"), OWN), rulesOf("forward")));
});

test("plainRules() finds what flannel v0.11 made, and no rule that only resembles it", () => {
  const made = rulesOf("masquerade");
  const [, , , fromOutside, outwards, inwards] = made;
  const both: Rule = {
    ...fromOutside!,
    source: { cidr: IPV4.network, not: false },
    destination: { cidr: IPV4.network, not: false },
  };
  const earlier: Rule = { ...fromOutside!, destination: { cidr: "10.244.77.0/24" as Cidr, not: false } };
  const strange: Rule = { ...fromOutside!, destination: { cidr: "192.168.0.0/24" as Cidr, not: false } };
  const list = [null, both, outwards!, fromOutside!, inwards!, made[1]!, made[2]!, earlier, strange, { ...both, marked: true }];
  assert.deepEqual(plainRules("masquerade", list, [IPV4]).toSorted(), [1, 2, 3, 4, 7]);
  assert.deepEqual(plainRules("masquerade", list, [OTHER]), []);
  assert.deepEqual(plainRules("masquerade", list, [IPV4, { ...IPV4, subnet: parseCidr("10.244.2.0/24") }]).length, 5, "each once");
});

test("plainRules() leaves a single forward rule to the administrator who wrote it", () => {
  const [from, to] = rulesOf("forward");
  assert.deepEqual(plainRules("forward", [null, from!, to!], [IPV4]), [1, 2]);
  assert.deepEqual(plainRules("forward", [from!], [IPV4]), []);
  assert.deepEqual(plainRules("forward", [to!, null], [IPV4]), []);
});
