/**
 * Long lists that are nearly the same, compared with what a slow and simple way finds.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "../../test/seed.ts";
import { carryOver, difference } from "./lists.ts";

/** A list that is nearly like another: some are missing, some new, some elsewhere. */
function changed(list: readonly string[], number: () => number, fresh: () => string): string[] {
  const now = [...list];
  for (let i = Math.floor(number() * 4); i > 0; i--) {
    const at = Math.floor(number() * (now.length + 1));
    const what = number();
    if (what < 0.4) now.splice(at, 1);
    else if (what < 0.8) now.splice(at, 0, fresh());
    else now.push(...now.splice(at, 1));
  }
  return now;
}

test("what is known is carried over to the list as it is now, and what differs is told", () => {
  const chance = seeded(7);
  let count = 0;
  const fresh = () => `v${count++}`;
  let before = Array.from({ length: 12 }, fresh).map((value) => ({ value }));
  for (let round = 0; round < 2000; round++) {
    const now = changed(before.map(({ value }) => value), () => chance.number(), fresh);
    const made: string[] = [];
    const former = { values: before.map(({ value }) => value), known: before };
    const { values, known: list, gone, fresh: added } = carryOver(now, former, (value) => (made.push(value), { value }));
    assert.deepEqual(values, now);
    assert.deepEqual(list.map(({ value }) => value), now);
    assert.deepEqual([...gone], before.filter((it) => !list.includes(it)));
    assert.deepEqual(added, list.filter((it) => !before.includes(it)));
    assert.deepEqual(made, added.map(({ value }) => value));
    const told = difference(before, list);
    assert.deepEqual([[...told.gone], told.fresh], [[...gone], added]);
    before = [...list];
    if (before.length < 6) before = Array.from({ length: 12 }, fresh).map((value) => ({ value }));
  }
});
