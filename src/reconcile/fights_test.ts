import { test } from "node:test";
import assert from "node:assert/strict";
import { effortOf } from "../../test/effort.ts";
import { Fights, pauseAfter } from "./fights.ts";

/** Repairs an item as soon as it may be, again and again; tells the times. */
function fight(fights: Fights, key: string, start: number, times: number): number[] {
  let now = start;
  return Array.from({ length: times }, () => {
    now = Math.max(now, fights.pausedUntil(key));
    fights.repaired(key, now);
    return now;
  });
}

test("pauses double from 0.1 s to 30 s, however many failures there were", () => {
  assert.deepEqual([1, 2, 3, 9, 10, 1000, 1e9].map(pauseAfter), [100, 200, 400, 25_600, 30_000, 30_000, 30_000]);
});

test("ten repairs are made at once, each further one after a longer pause, and it does not end while the fight goes on", () => {
  const times = fight(new Fights(), "a", 1_000, 24);
  const pauses = times.slice(1).map((at, i) => at - times[i]!);
  assert.deepEqual(pauses.slice(0, 9), Array(9).fill(0));
  assert.deepEqual(pauses.slice(9), [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, ...Array(5).fill(30_000)]);
});

test("items are counted apart, and all together", () => {
  const fights = new Fights();
  fight(fights, "a", 0, 15);
  assert.equal(fights.pausedUntil("b"), 0);
  fight(fights, "b", 0, 2);
  assert.equal(fights.total, 17);
});

test("an item that was left alone for ten seconds after its pause begins anew", () => {
  const fights = new Fights();
  const last = fight(fights, "a", 0, 12).at(-1)!;
  const until = fights.pausedUntil("a");
  fights.repaired("a", until + 10_001);
  assert.ok(fights.pausedUntil("a") <= until + 10_001);
  assert.ok(until > last);
});

test("the loss of a device with very many items is counted quickly", () => {
  const fights = new Fights();
  const effort = effortOf(() => {
    for (let round = 0; round < 3; round++) for (let i = 0; i < 80_000; i++) fights.repaired(`k${i}`, 20_000 * round);
  });
  assert.equal(fights.total, 240_000);
  assert.ok(effort < 3_000, `it took ${Math.round(effort)} ms`);
});
