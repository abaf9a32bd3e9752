/**
 * Nodes that come, change, go and come again, in lists and between them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "../../../test/seed.ts";
import type { LeaseEvent } from "../../model/lease.ts";
import type { NodeObject } from "./node.ts";
import { NodeTable } from "./node_table.ts";

/** A managed node; `podCidrs` is `null` where only its metadata is told. */
function node(name: string, given: Partial<NodeObject> = {}): NodeObject {
  const annotations = { "kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.168.0.1" };
  return { name, uid: `uid-of-${name}`, version: "1", annotations, podCidrs: null, endsInitialEvents: false, ...given };
}

const PLAIN = { annotations: {} };

function whole(name: string, cidr: string, given: Partial<NodeObject> = {}): NodeObject {
  return node(name, { podCidrs: [cidr], ...given });
}

/** A table with a first list. */
function tableOf(...nodes: readonly NodeObject[]): NodeTable {
  const table = new NodeTable();
  table.beginList();
  nodes.forEach((it) => table.put(it));
  table.endList();
  return table;
}

/** An event in short: what there is of each key. */
function told(event: LeaseEvent | null): unknown {
  if (event === null) return null;
  const records = event.type === "snapshot" ? event.records : event.changed;
  const short = records.map((it) => `${it.key} ${"lease" in it ? it.lease.endpoints.map(({ subnet }) => subnet) : "!"}`).sort();
  return event.type === "snapshot" ? short : { changed: short, removed: event.removed };
}

test("nothing is told before the first list is complete, and then all at once", () => {
  const table = new NodeTable();
  table.beginList();
  table.put(whole("a", "10.1.0.0/24"));
  assert.equal(table.take(), null);
  table.put(whole("b", "10.2.0.0/24"));
  table.put(whole("c", "10.3.0.0/24", PLAIN));
  table.endList();
  assert.deepEqual(told(table.take()), ["a 10.1.0.0/24", "b 10.2.0.0/24"]);
  assert.equal(table.take(), null);
});

test("a heartbeat, which changes nothing of ours, is no news", () => {
  const table = tableOf(whole("a", "10.1.0.0/24"));
  table.take();
  table.put(node("a", { version: "2" }));
  assert.equal(table.take(), null);
  assert.equal(table.unresolved.size, 0);
});

test("a node keeps its pod subnets for as long as it has its uid", () => {
  const table = tableOf(whole("a", "10.1.0.0/24"));
  table.take();
  table.put(node("a", { annotations: { ...node("a").annotations, "public-ip": "192.168.0.9" } }));
  assert.deepEqual(told(table.take()), { changed: ["a 10.1.0.0/24"], removed: [] });
  assert.equal(table.unresolved.size, 0);
});

test("the manager's annotation that goes away takes the lease away, and brings it back without reading the node again", () => {
  const table = tableOf(whole("a", "10.1.0.0/24"));
  table.take();
  table.put(node("a", PLAIN));
  assert.deepEqual(told(table.take()), { changed: [], removed: ["a"] });
  table.put(node("a"));
  assert.deepEqual(told(table.take()), { changed: ["a 10.1.0.0/24"], removed: [] });
});

test("a new node is read once an agent manages it, and told then", () => {
  const table = tableOf();
  table.take();
  table.put(node("a", PLAIN));
  assert.equal(table.unresolved.size, 0, "no agent is on it yet");
  table.put(node("a"));
  assert.deepEqual([...table.unresolved], ["a"]);
  assert.equal(table.take(), null);
  table.resolve(whole("a", "10.1.0.0/24"));
  assert.deepEqual(told(table.take()), { changed: ["a 10.1.0.0/24"], removed: [] });
  assert.equal(table.unresolved.size, 0);
});

test("a node that has no pod subnet when it is read is told with that reason, and read again when it changes", () => {
  const table = tableOf();
  table.take();
  table.put(node("a"));
  table.resolve(node("a", { podCidrs: [] }));
  assert.deepEqual(told(table.take()), { changed: ["a !"], removed: [] });
  assert.equal(table.unresolved.size, 0, "it is not asked for without a reason");
  table.put(node("a", { version: "2" }));
  assert.deepEqual([...table.unresolved], ["a"]);
  table.resolve(whole("a", "10.1.0.0/24"));
  assert.deepEqual(told(table.take()), { changed: ["a 10.1.0.0/24"], removed: [] });
});

test("a node that was made again in a gap keeps its way until its new subnet is read", () => {
  const table = tableOf(whole("a", "10.1.0.0/24"));
  table.take();
  table.put(node("a", { uid: "second" }));
  assert.equal(table.take(), null);
  table.resolve(whole("a", "10.9.0.0/24", { uid: "second" }));
  assert.deepEqual(told(table.take()), { changed: ["a 10.9.0.0/24"], removed: [] });
});

test("what was read of a node that is gone, or of the one before it, is not taken for the node", () => {
  const table = tableOf();
  table.take();
  table.put(node("a"));
  table.remove("a");
  table.resolve(whole("a", "10.1.0.0/24"));
  assert.equal(table.take(), null, "it is gone");
  table.put(node("a", { uid: "second" }));
  table.resolve(whole("a", "10.1.0.0/24"));
  assert.deepEqual([...table.unresolved], ["a"], "the one with the second uid is still to be read");
});

test("a list takes away what it does not name, and is told as a snapshot", () => {
  const table = tableOf(whole("a", "10.1.0.0/24"), whole("b", "10.2.0.0/24"));
  table.take();
  table.beginList();
  table.put(node("b"));
  table.endList();
  assert.deepEqual(told(table.take()), ["b 10.2.0.0/24"]);
});

test("a list that broke off takes nothing away", () => {
  const table = tableOf(whole("a", "10.1.0.0/24"), whole("b", "10.2.0.0/24"));
  table.take();
  table.beginList();
  table.put(node("b"));
  assert.equal(table.take(), null);
  table.beginList();
  table.put(node("a"));
  table.put(node("b"));
  table.endList();
  assert.deepEqual(told(table.take()), ["a 10.1.0.0/24", "b 10.2.0.0/24"]);
});

test("a reader that does not keep up gets the last state of each node, once", () => {
  const table = tableOf();
  table.take();
  for (let i = 1; i < 100; i++) table.put(whole("a", `10.${i}.0.0/24`, { uid: `uid ${i}` }));
  table.put(whole("b", "10.200.0.0/24"));
  table.remove("b");
  assert.deepEqual(told(table.take()), { changed: ["a 10.99.0.0/24"], removed: ["b"] });
});

test("whatever the order and the gaps, what was told is what there is", () => {
  const { below, of } = seeded(7);
  for (let round = 0; round < 200; round++) {
    const truth = new Map<string, NodeObject>();
    const table = tableOf();
    const heard = new Map<string, unknown>();
    const hear = () => {
      const event = table.take();
      if (event === null) return;
      if (event.type === "snapshot") heard.clear();
      for (const record of event.type === "snapshot" ? event.records : event.changed) {
        heard.set(record.key, told({ type: "snapshot", records: [record] }));
      }
      if (event.type === "changes") event.removed.forEach((key) => heard.delete(key));
    };
    for (let step = 0; step < 40; step++) {
      const name = of(["a", "b", "c"]);
      const old = truth.get(name);
      if (old !== undefined && below(4) === 0) truth.delete(name);
      else if (old === undefined || below(3) === 0) {
        truth.set(name, whole(name, `10.${below(200)}.0.0/24`, { uid: `${round}.${step}`, ...below(3) === 0 ? PLAIN : {} }));
      }
      const now = truth.get(name);
      if (below(5) === 0) continue; // a gap: the list below fills it
      if (now === undefined) table.remove(name);
      else table.put({ ...now, podCidrs: null });
      if (below(2) === 0) { for (const it of [...table.unresolved]) if (truth.has(it)) table.resolve(truth.get(it)!); }
      hear();
    }
    table.beginList();
    for (const it of truth.values()) table.put({ ...it, podCidrs: null });
    table.endList();
    for (const it of [...table.unresolved]) table.resolve(truth.get(it)!);
    hear();
    hear();
    const expected = [...truth.values()].filter(({ annotations }) => annotations["kube-subnet-manager"] === "true");
    assert.deepEqual([...heard.values()].flat().sort(), expected.map(({ name, podCidrs }) => `${name} ${podCidrs}`).sort());
  }
});
