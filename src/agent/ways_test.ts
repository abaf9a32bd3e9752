import { test } from "node:test";
import assert from "node:assert/strict";
import { type Ip, parseIp } from "../model/ip.ts";
import type { LinkFact, Lookup } from "../model/kernel.ts";
import { HOLD, settleWays, type Way } from "./ways.ts";

const A = parseIp("192.0.2.2");
const B = parseIp("192.0.2.3");
const device = (name: string, odd: Partial<LinkFact> = {}): LinkFact => ({
  ...{ name, index: 1, kind: "", mac: null, mtu: 1500, up: true, carrier: true, loopback: false, ...odd },
});
const LINKS = [device("eth0"), device("eth1")];
const says = (...answers: readonly (readonly [Ip, string | null])[]): ReadonlyMap<Ip, Lookup> =>
  new Map(answers.map(([ip, onLink]) => [ip, { onLink, link: onLink, src: null }]));
const linksOf = (ways: ReadonlyMap<Ip, Way>) => [...ways.values()].map(({ link }) => link);

test("the first answer is believed at once", () => {
  const { ways, settlesAt } = settleWays(new Map(), says([A, "eth0"], [B, null]), LINKS, 100);
  assert.deepEqual([linksOf(ways), settlesAt], [["eth0", null], null]);
});

for (const [from, to] of [["eth0", null], [null, "eth0"], ["eth0", "eth1"]] as const) {
  test(`a change from ${from} to ${to} is believed when it has held for five seconds`, () => {
    let { ways } = settleWays(new Map(), says([A, from]), LINKS, 0);
    let settlesAt: number | null;
    ({ ways, settlesAt } = settleWays(ways, says([A, to]), LINKS, 1_000));
    assert.deepEqual([linksOf(ways), settlesAt], [[from], 1_000 + HOLD]);
    ({ ways, settlesAt } = settleWays(ways, says([A, to]), LINKS, 1_000 + HOLD - 1));
    assert.deepEqual([linksOf(ways), settlesAt], [[from], 1_000 + HOLD]);
    ({ ways, settlesAt } = settleWays(ways, says([A, to]), LINKS, 1_000 + HOLD));
    assert.deepEqual([linksOf(ways), settlesAt], [[to], null]);
  });
}

test("an answer that comes back in between starts the time anew", () => {
  let { ways } = settleWays(new Map(), says([A, "eth0"]), LINKS, 0);
  for (const [onLink, now] of [[null, 1_000], ["eth0", 4_000], [null, 5_000]] as const) {
    ({ ways } = settleWays(ways, says([A, onLink]), LINKS, now));
  }
  assert.deepEqual(linksOf(settleWays(ways, says([A, null]), LINKS, 6_500).ways), ["eth0"]);
  assert.deepEqual(linksOf(settleWays(ways, says([A, null]), LINKS, 10_000).ways), [null]);
});

test("a change that changes again must hold anew", () => {
  let { ways } = settleWays(new Map(), says([A, null]), LINKS, 0);
  ({ ways } = settleWays(ways, says([A, "eth0"]), LINKS, 1_000));
  ({ ways } = settleWays(ways, says([A, "eth1"]), LINKS, 5_500));
  assert.deepEqual(linksOf(settleWays(ways, says([A, "eth1"]), LINKS, 6_100).ways), [null], "eth1 has held for 0.6 s only");
  assert.deepEqual(linksOf(settleWays(ways, says([A, "eth1"]), LINKS, 10_500).ways), ["eth1"]);
});

for (
  const [what, links] of [
    ["gone", [device("eth1")]],
    ["down", [device("eth0", { up: false }), device("eth1")]],
    ["without a carrier", [device("eth0", { carrier: false }), device("eth1")]],
  ] as const
) {
  test(`a way over a device that is ${what} is left at once`, () => {
    const { ways } = settleWays(new Map(), says([A, "eth0"], [B, "eth0"]), LINKS, 0);
    const after = settleWays(ways, says([A, null], [B, "eth1"]), links, 1);
    assert.deepEqual([linksOf(after.ways), after.settlesAt], [[null, "eth1"], null]);
  });
}

test("the earliest of several changes is waited for, and addresses that nobody asks about any more are forgotten", () => {
  let { ways } = settleWays(new Map(), says([A, "eth0"], [B, "eth0"]), LINKS, 0);
  ({ ways } = settleWays(ways, says([A, null], [B, "eth0"]), LINKS, 1_000));
  const both = settleWays(ways, says([A, null], [B, null]), LINKS, 2_000);
  assert.equal(both.settlesAt, 1_000 + HOLD);
  assert.deepEqual([...settleWays(both.ways, says([B, null]), LINKS, 2_000).ways.keys()], [B]);
});
