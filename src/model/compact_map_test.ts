import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "../../test/seed.ts";
import { CompactMap } from "./compact_map.ts";

test("a compact map does what a Map does, in the same order", () => {
  const random = seeded(11);
  const [ours, theirs] = [new CompactMap<string, number>(), new Map<string, number>()];
  for (let i = 0; i < 20_000; i++) {
    const key = `key ${Math.floor(random.number() * 500)}`;
    const what = random.number();
    if (what < 0.6) {
      ours.set(key, i);
      theirs.set(key, i);
    } else if (what < 0.9995) assert.equal(ours.delete(key), theirs.delete(key));
    else {
      ours.clear();
      theirs.clear();
    }
    assert.deepEqual([ours.size, ours.has(key), ours.get(key)], [theirs.size, theirs.has(key), theirs.get(key)]);
  }
  assert.deepEqual([...ours], [...theirs]);
  assert.deepEqual([[...ours.keys()], [...ours.values()]], [[...theirs.keys()], [...theirs.values()]]);
  const seen: [string, number][] = [];
  ours.forEach((value, key) => seen.push([key, value]));
  assert.deepEqual(seen, [...theirs]);
});

test("a compact map is made of entries, and holds undefined and the empty text", () => {
  const map = new CompactMap<string, number | undefined>([["", 1], ["a", undefined], ["", 2]]);
  assert.deepEqual([[...map], map.size, map.has("a"), map.has("b")], [[["", 2], ["a", undefined]], 2, true, false]);
});

test("entries that are gone through can be deleted", () => {
  const map = new CompactMap<string, number>(Array.from({ length: 100 }, (_, i) => [`${i}`, i] as const));
  for (const [key, value] of map) if (value % 2 === 0) map.delete(key);
  assert.deepEqual([...map.values()], Array.from({ length: 50 }, (_, i) => 2 * i + 1));
});

test("hashes of keys that differ in one character do not crowd", () => {
  const map = new CompactMap<string, number>();
  const start = performance.now();
  for (let i = 0; i < 100_000; i++) map.set(`route 10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`, i);
  for (let i = 0; i < 100_000; i++) assert.equal(map.get(`route 10.${i >> 16}.${(i >> 8) & 255}.${i & 255}/32`), i);
  assert.ok(performance.now() - start < 5_000);
});
