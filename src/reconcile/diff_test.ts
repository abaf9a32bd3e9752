import { test } from "node:test";
import assert from "node:assert/strict";
import { parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { type Item, keyOf } from "../model/item.ts";
import { diff } from "./diff.ts";
import { Ledger } from "./ledger.ts";
import { withSeeds } from "../../test/seed.ts";

const mac = parseMac("02:00:00:00:00:02");
const hop = { via: parseIp("10.244.2.0"), link: "flannel.1", onlink: true };
const ITEMS: readonly Item[] = [
  { kind: "route", dst: parseCidr("10.244.2.0/24"), to: 7, src: null },
  { kind: "neighbour", link: "flannel.1", ip: parseIp("10.244.2.0"), mac },
  {
    ...{ kind: "link", name: "flannel.1", type: "vxlan", vni: 1, port: 8472, local: parseIp("192.0.2.1"), mac, mtu: 1450 },
    ...{ learning: false, gbp: false },
  },
  { kind: "nexthop", id: 7, hop },
  { kind: "fdb", link: "flannel.1", mac, dst: parseIp("192.0.2.2") },
  { kind: "address", link: "flannel.1", ip: parseIp("10.244.1.0"), length: 32 },
  { kind: "reverse-path", link: "eth0" },
];
const UP = ["link", "reverse-path", "address", "fdb", "neighbour", "nexthop", "route"];
const tableOf = (items: readonly Item[]) => new Map(items.map((item) => [keyOf(item), item]));

test("diff() puts upward: whatever an item needs is there before it", () => {
  const changes = diff(tableOf(ITEMS), new Map());
  assert.deepEqual(changes.map(({ op, item }) => [op, item.kind]), UP.map((kind) => ["put", kind]));
  assert.ok(changes.every((change) => change.op === "put" && change.old === null));
});

test("diff() drops downward: nothing is left that needs what is dropped", () => {
  const changes = diff(new Map(), tableOf(ITEMS));
  assert.deepEqual(changes.map(({ op, item }) => [op, item.kind]), [...UP].reverse().map((kind) => ["drop", kind]));
});

test("diff() puts before it drops, so that a replacement is there first", () => {
  const other: Item = { kind: "route", dst: parseCidr("10.244.3.0/24"), to: 7, src: null };
  const changes = diff(tableOf([other]), tableOf([ITEMS[0]!]));
  const drop = { op: "drop", key: keyOf(ITEMS[0]!), item: ITEMS[0] };
  assert.deepEqual(changes, [{ op: "put", key: keyOf(other), item: other, old: null }, drop]);
});

test("diff() says what the kernel holds in the place of an item that is to be put", () => {
  const changed: Item = { kind: "fdb", link: "flannel.1", mac, dst: parseIp("192.0.2.9") };
  const [change] = diff(tableOf([changed]), tableOf(ITEMS.slice(4, 5)));
  assert.deepEqual(change, { op: "put", key: keyOf(changed), item: changed, old: ITEMS[4] });
});

test("diff() of the same is nothing", () => {
  assert.deepEqual(diff(tableOf(ITEMS), tableOf(ITEMS.map((item) => ({ ...item })))), []);
});

test("diff() compares only the keys that it is given", () => {
  const keys = ITEMS.slice(0, 2).map(keyOf);
  assert.deepEqual(diff(tableOf(ITEMS), new Map(), keys).map(({ item }) => item), [ITEMS[1], ITEMS[0]]);
  assert.deepEqual(diff(new Map(), new Map(), keys), []);
});

test("a ledger that is told of changes knows the same differences as a full comparison, but for filters, which stay", () =>
  withSeeds(20, (chance) => {
    const ledger = new Ledger();
    const wanted = new Map<string, Item>();
    const found = new Map<string, Item>();
    const pool = [...ITEMS, ...ITEMS.map((item): Item => item.kind === "fdb" ? { ...item, dst: parseIp("192.0.2.9") } : item)];
    const shake = (table: Map<string, Item>, item: Item) => {
      if (chance.below(2) === 0) table.delete(keyOf(item));
      else table.set(keyOf(item), item);
      return keyOf(item);
    };
    for (let step = 0; step < 60; step++) {
      const item = chance.of(pool);
      if (chance.below(2) === 0) {
        ledger.want(wanted, chance.below(5) === 0 ? (shake(wanted, item), null) : new Set([shake(wanted, item)]));
      } else {
        shake(found, item);
        const kinds = new Set([item.kind]);
        const before = [...wanted.keys()].filter((key) => ledger.isInPlace(key));
        const harmed = ledger.look(kinds, new Map([...found].filter(([, { kind }]) => kinds.has(kind))));
        assert.deepEqual(harmed, before.filter((key) => !ledger.isInPlace(key)));
      }
      const changes = diff(wanted, found).filter(({ op, item }) => op === "put" || item.kind !== "reverse-path");
      const expected = changes.map(({ item }) => keyOf(item)).sort();
      assert.deepEqual([...ledger.differing].sort(), expected, `step ${step}`);
      assert.deepEqual(new Map(ledger.found), found);
    }
  }));
