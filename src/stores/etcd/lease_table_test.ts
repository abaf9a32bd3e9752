/**
 * What is told of leases that come, change and go, and after gaps; without a server.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Lease, LeaseEvent } from "../../model/lease.ts";
import { leaseRecord } from "../lease_value.ts";
import type { KeyValue } from "./kv.ts";
import { LeaseTable, type News } from "./lease_table.ts";
import { OwnWrites } from "./own_writes.ts";

const PREFIX = "/p/subnets/";
const value = (ip: string, type = "vxlan") => `{"PublicIP":"${ip}","BackendType":"${type}"}`;

function kv(name: string, modRevision: number, text = value("192.168.64.1"), lease = "7"): KeyValue {
  return { key: PREFIX + name, value: text, createRevision: modRevision, modRevision, lease };
}

/** A table with what was listed at a revision. */
function bed(listed: readonly KeyValue[] = [], revision = 10) {
  const own = new OwnWrites();
  const warned: string[] = [];
  const table = new LeaseTable(PREFIX, own, (twin) => warned.push(twin));
  const list = (all: readonly KeyValue[], known: number, replaced = false) => {
    table.begin();
    all.forEach((it) => table.listed(it));
    return table.end(known, replaced);
  };
  list(listed, 0);
  return { own, warned, table, list, revision };
}

/** An event as its keys. */
function keys(event: LeaseEvent | null) {
  if (event === null) return null;
  if (event.type === "snapshot") return { all: event.records.map(({ key }) => key) };
  return { changed: event.changed.map(({ key }) => key), removed: event.removed };
}

function told(news: News) {
  const all = [];
  for (let event = news.take(); event !== null; event = news.take()) all.push(keys(event));
  return all;
}

/** Our lease under a name, written with an etcd lease. */
function hold(own: OwnWrites, name: string, revision: number, lease = "42"): KeyValue {
  const it = kv(name, revision, value("192.168.64.99"), lease);
  own.begin(name, it.value, lease);
  own.done((leaseRecord(name, it.value, null) as { lease: Lease }).lease, revision);
  return it;
}

test("what is told begins with all there is, and goes on with what has changed, once", () => {
  const { table } = bed([kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 4)]);
  using news = table.follow();
  assert.deepEqual(told(news), [{ all: ["10.5.1.0-24", "10.5.2.0-24"] }]);
  table.put(kv("10.5.3.0-24", 11));
  table.put(kv("10.5.1.0-24", 12, value("192.168.64.2")));
  table.put(kv("10.5.1.0-24", 13, value("192.168.64.3")));
  table.remove(`${PREFIX}10.5.2.0-24`, 14);
  assert.deepEqual(told(news), [{ changed: ["10.5.3.0-24", "10.5.1.0-24"], removed: ["10.5.2.0-24"] }]);
  assert.deepEqual(told(news), []);
});

test("a renewal changes nothing, and what comes late or twice is not heard", () => {
  const { table } = bed([kv("10.5.1.0-24", 5)]);
  using news = table.follow();
  told(news);
  table.put(kv("10.5.1.0-24", 8, value("192.168.64.1"), "9"));
  table.put(kv("10.5.1.0-24", 7, value("192.168.64.200")));
  table.put(kv("10.5.1.0-24", 8, value("192.168.64.200")));
  table.remove(`${PREFIX}10.5.1.0-24`, 6);
  table.remove(`${PREFIX}10.5.9.0-24`, 9);
  assert.deepEqual(told(news), []);
  assert.equal(table.entries.get("10.5.1.0-24")!.lease, "9");
});

test("nothing is told before the first list, and a gap is a list with the very same records", () => {
  const own = new OwnWrites();
  const table = new LeaseTable(PREFIX, own, () => {});
  using news = table.follow();
  assert.equal(news.take(), null);
  const it = bed([kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 4)]);
  using followed = it.table.follow();
  const before = followed.take();
  it.table.put(kv("10.5.3.0-24", 11));
  const lost = it.list([kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 15, value("192.168.64.2")), kv("10.5.3.0-24", 11)], 11);
  const after = followed.take();
  assert.equal(lost, false);
  assert.ok(before?.type === "snapshot" && after?.type === "snapshot");
  assert.equal(after.records[0], before.records[0]);
  assert.notEqual(after.records[1], before.records[1]);
  assert.deepEqual(told(followed), [], "and nothing of the time before it");
});

test("keys count as taken subnets whatever stands under them", () => {
  const { table } = bed([kv("10.5.1.0-24", 3, "{"), kv("nonsense", 4), kv("10.5.2.0-24&fd00:5::-64", 5)]);
  assert.deepEqual(table.subnets(new Set(["10.5.9.0-24"])), ["10.5.1.0/24", "10.5.2.0/24", "fd00:5::/64"]);
  assert.deepEqual(table.subnets(new Set(["10.5.1.0-24"])), ["10.5.2.0/24", "fd00:5::/64"]);
});

test("an older state is known by its revision, its cluster, or a lease that is not as it was", () => {
  const known = [kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 8)];
  assert.equal(bed(known).list([kv("10.5.1.0-24", 3)], 10), false, "a deletion");
  assert.equal(bed(known).list([kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 12)], 10), false, "a change");
  assert.equal(bed(known).list([kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 6)], 10), true, "an earlier write");
  assert.equal(bed(known).list([...known, kv("10.5.3.0-24", 9)], 10), true, "a key that was not there");
  assert.equal(bed(known).list(known, 10, true), true, "another cluster");
});

test("what an older state does not have is kept for a while, but our own lease is told to be gone", () => {
  const { own, table, list } = bed([kv("10.5.1.0-24", 3), kv("10.5.2.0-24", 8)]);
  table.put(hold(own, "10.5.3.0-24", 9));
  using news = table.follow();
  told(news);
  list([kv("10.5.1.0-24", 3)], 10, true);
  assert.deepEqual(told(news), [{ all: ["10.5.1.0-24", "10.5.2.0-24"] }]);
  table.put(hold(own, "10.5.3.0-24", 5, "43"));
  assert.deepEqual(told(news), [{ changed: ["10.5.3.0-24"], removed: [] }]);
  table.put(kv("10.5.2.0-24", 6)); // its owner has written it again
  table.dropHeld();
  assert.deepEqual(told(news), []);
  list([kv("10.5.1.0-24", 3)], 10, true);
  told(news);
  table.dropHeld();
  assert.deepEqual(told(news), [{ changed: [], removed: ["10.5.2.0-24"] }]);
});

test("our own lease in an older state is to be written again, unless it is our last write", () => {
  for (const [text, lease, all] of [["", "42", 1], [value("192.168.64.99", "host-gw"), "41", 0]] as const) {
    const { own, table, list } = bed();
    const mine = hold(own, "10.5.3.0-24", 9);
    table.put(mine);
    using news = table.follow();
    told(news);
    list([{ ...mine, modRevision: 5, lease, ...text !== "" && { value: text } }], 10, true);
    assert.equal((keys(news.take()) as { all: string[] }).all.length, all);
    assert.equal(told(news).length, 1 - all, "and what stands there follows");
  }
});

test("a lease of ours over which another node writes is gone before the other's is there", () => {
  const { own, table, warned } = bed();
  table.put(hold(own, "10.5.3.0-24", 9));
  using news = table.follow();
  told(news);
  table.put(kv("10.5.3.0-24", 11, value("192.168.64.5"), "77"));
  assert.deepEqual(told(news), [{ changed: [], removed: ["10.5.3.0-24"] }, { changed: ["10.5.3.0-24"], removed: [] }]);
  assert.deepEqual(warned, []);
});

test("a host with our address is named, and the lease stays ours", () => {
  const { own, table, warned } = bed();
  table.put(hold(own, "10.5.3.0-24", 9));
  using news = table.follow();
  told(news);
  table.put(kv("10.5.3.0-24", 11, value("192.168.64.99", "host-gw"), "77"));
  assert.deepEqual(told(news), [{ changed: ["10.5.3.0-24"], removed: [] }]);
  assert.equal(warned.length, 1);
  assert.match(warned[0]!, /^Two hosts publish 192\.168\.64\.99: .*10\.5\.3\.0-24.*host-gw.*--public-ip/);
});

test("our own writes alarm nobody: late ones, those under way, and the same without an end", () => {
  const { own, table, warned } = bed();
  const first = hold(own, "10.5.3.0-24", 9);
  table.put(first);
  own.begin("10.5.3.0-24", value("192.168.64.99", "host-gw"), "43");
  table.put({ ...first, modRevision: 12, lease: "43", value: value("192.168.64.99", "host-gw") });
  own.done((leaseRecord("10.5.3.0-24", value("192.168.64.99", "host-gw"), null) as { lease: Lease }).lease, 12);
  table.put({ ...first, modRevision: 13, lease: "0", value: value("192.168.64.99", "host-gw") });
  table.put(kv("10.5.4.0-24", 14, value("192.168.64.99")));
  assert.deepEqual(warned, []);
  assert.equal(table.entries.get("10.5.3.0-24")!.lease, "0");
});

test("the newest lease is one that can be asked for by its key", () => {
  const { table } = bed([kv("10.5.1.0-24", 3), kv("nonsense", 9), kv("10.5.2.0-24", 4)]);
  assert.deepEqual(table.newest(), { key: `${PREFIX}10.5.2.0-24`, modRevision: 4 });
  assert.equal(bed().table.newest(), null);
});
