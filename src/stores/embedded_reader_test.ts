import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { LeaseEvent, LeaseRecord } from "../model/lease.ts";
import { Database, HISTORY } from "./embedded_database.ts";
import { type Cursor, type Look, look } from "./embedded_reader.ts";

const FOR_EVER = new AbortController().signal;
const START = 1_700_000_000_000;

/** A database, and one reader of it. */
class Followed implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), "weft-reader-"));
  readonly #database = new Database({ path: join(this.#folder, "leases.db"), readOnly: false, random: Math.random });
  cursor: Cursor | null = null;

  async look(now = START): Promise<Look> {
    const found = await this.#database.read(FOR_EVER, (db) => look(db, this.cursor, now));
    this.cursor = found.cursor;
    return found;
  }

  /** What has happened: the keys, `!` before those that are no lease. */
  async news(now = START): Promise<unknown> {
    return brief((await this.look(now)).event);
  }

  write(run: (db: DatabaseSync) => void): Promise<void> {
    return this.#database.write(FOR_EVER, run);
  }

  sql(statement: string): Promise<void> {
    return this.write((db) => db.exec(statement));
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

function brief(event: LeaseEvent | null): unknown {
  const keys = (records: readonly LeaseRecord[]) => records.map((it) => ("lease" in it ? "" : "!") + it.key);
  if (event === null) return null;
  return event.type === "snapshot" ? { all: keys(event.records) } : { changed: keys(event.changed), removed: event.removed };
}

function insert(db: DatabaseSync, number: number, expiresAt: number | null = null): void {
  db.prepare("INSERT INTO lease (key, value, node, expires_at) VALUES (?, ?, 'n', ?)")
    .run(`10.3.${number}.0-24`, '{"PublicIP":"192.168.0.1"}', expiresAt);
}

test("look() gives everything first, then only what has changed", async () => {
  using it = new Followed();
  await it.write((db) => [2, 1].forEach((number) => insert(db, number)));
  assert.deepEqual(await it.news(), { all: ["10.3.1.0-24", "10.3.2.0-24"] });
  assert.equal(await it.news(), null);
  await it.write((db) => insert(db, 3));
  await it.sql("UPDATE lease SET value = '{' WHERE key = '10.3.1.0-24'");
  assert.deepEqual(await it.news(), { changed: ["10.3.3.0-24", "!10.3.1.0-24"], removed: [] });
  await it.sql("DELETE FROM lease WHERE key = '10.3.2.0-24'");
  assert.deepEqual(await it.news(), { changed: [], removed: ["10.3.2.0-24"] });
  assert.equal(await it.news(), null);
});

test("look() gives the end of what happened meanwhile", async () => {
  using it = new Followed();
  await it.write((db) => insert(db, 1));
  await it.look();
  await it.sql("DELETE FROM lease");
  await it.write((db) => insert(db, 1));
  assert.deepEqual(await it.news(), { changed: ["10.3.1.0-24"], removed: [] }, "removed and made again");
  await it.write((db) => insert(db, 2));
  await it.sql("DELETE FROM lease WHERE key = '10.3.2.0-24'");
  assert.deepEqual(await it.news(), { changed: [], removed: ["10.3.2.0-24"] }, "made and removed again");
  await it.sql("UPDATE lease SET key = '10.3.9.0-24'");
  assert.deepEqual(await it.news(), { changed: ["10.3.9.0-24"], removed: ["10.3.1.0-24"] }, "renamed");
});

test("look() gives everything again to who is too far behind, and no sooner", async () => {
  using it = new Followed();
  const manyTimes = (times: number) =>
    it.write((db) => {
      for (let i = 0; i < times; i++) insert(db, 1), db.exec("DELETE FROM lease WHERE key = '10.3.1.0-24'");
    });
  await it.write((db) => insert(db, 7));
  await it.look();
  await manyTimes(HISTORY / 2);
  assert.deepEqual(await it.news(), { changed: [], removed: ["10.3.1.0-24"] });
  await manyTimes(HISTORY / 2 + 1);
  assert.deepEqual(await it.news(), { all: ["10.3.7.0-24"] });
  await manyTimes(HISTORY);
  await it.write((db) => {
    const { n } = db.prepare("SELECT count(*) AS n FROM removed").get() as { n: number };
    assert.equal(n, 1, "old deletions are forgotten");
  });
});

test("look() loses no deletion while others are forgotten", async () => {
  using it = new Followed();
  const count = HISTORY + 200;
  await it.write((db) => {
    for (let i = 0; i < count; i++) db.prepare("INSERT INTO lease (key, value, node) VALUES (?, '', 'n')").run(`k${i}`);
  });
  const there = new Set<string>();
  for (let left = count;; left -= 300) {
    const { event } = await it.look();
    if (event?.type === "snapshot") {
      there.clear();
      event.records.forEach(({ key }) => there.add(key));
    }
    if (event?.type === "changes") event.removed.forEach((key) => there.delete(key));
    assert.equal(there.size, Math.max(left, 0));
    if (left <= 0) break;
    await it.sql("DELETE FROM lease WHERE key IN (SELECT key FROM lease LIMIT 300)");
  }
});

test("look() tells of a lease's end once, and when the next one is due", async () => {
  using it = new Followed();
  await it.write((db) => [[1, 500], [2, 1000], [3, null]].forEach(([n, ms]) => insert(db, n!, ms === null ? null : START + ms!)));
  assert.equal((await it.look()).nextExpiry, START + 500);
  assert.equal(await it.news(START + 499), null);
  assert.deepEqual(await it.news(START + 500), { changed: [], removed: ["10.3.1.0-24"] });
  assert.equal(await it.news(START + 999), null);
  await it.sql("DELETE FROM lease WHERE key = '10.3.1.0-24'");
  await it.news(START + 999);
  assert.deepEqual(await it.news(START + 2000), { changed: [], removed: ["10.3.2.0-24"] });
  assert.equal((await it.look(START + 2000)).nextExpiry, null);
  it.cursor = null;
  assert.deepEqual(await it.news(START + 2000), { all: ["10.3.3.0-24"] }, "who comes later does not see what has expired");
});

test("look() knows a renewed lease, and one that was made to end in the past", async () => {
  using it = new Followed();
  await it.write((db) => [1, 2].forEach((number) => insert(db, number, START + 500)));
  await it.look();
  await it.sql(`UPDATE lease SET expires_at = ${START + 9000} WHERE key = '10.3.1.0-24'`);
  await it.sql("UPDATE lease SET expires_at = 5 WHERE key = '10.3.2.0-24'");
  assert.deepEqual(await it.news(START + 600), { changed: ["10.3.1.0-24"], removed: ["10.3.2.0-24"] });
});

test("look() gives everything again when the clock was set back, or the database is another", async () => {
  using it = new Followed();
  await it.write((db) => insert(db, 1, START + 500));
  await it.look();
  assert.deepEqual(await it.news(START + 600), { changed: [], removed: ["10.3.1.0-24"] });
  assert.deepEqual(await it.news(START + 400), { all: ["10.3.1.0-24"] });
  it.cursor = { ...it.cursor!, id: "another" };
  assert.deepEqual(await it.news(START + 400), { all: ["10.3.1.0-24"] });
  it.cursor = { ...it.cursor!, seq: 1000 };
  assert.deepEqual(await it.news(START + 400), { all: ["10.3.1.0-24"] }, "it was put back to an earlier state");
});
