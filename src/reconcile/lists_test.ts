/**
 * Long lists that are nearly the same, compared with what a slow and simple way finds.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { seeded } from "../../test/seed.ts";
import { difference, tellDifference } from "./lists.ts";

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

test("what differs is found, and told by who knows it", () => {
  const chance = seeded(7);
  let count = 0;
  const fresh = () => `v${count++}`;
  let before = Array.from({ length: 12 }, fresh);
  for (let round = 0; round < 2000; round++) {
    const now = changed(before, () => chance.number(), fresh);
    const gone = new Set(before.filter((it) => !now.includes(it)));
    const added = now.filter((it) => !before.includes(it));
    assert.deepEqual(difference(before, now), { gone, fresh: added });
    before = now.length < 6 ? Array.from({ length: 12 }, fresh) : now;
  }
});

test("a list tells how it was made, of the one that it was made of only", () => {
  const [first, second, third] = [["a", "b"], ["b", "c"], ["c", "d"]];
  const told = { gone: new Set(["a"]), fresh: ["c"] };
  tellDifference(first, second, told);
  assert.equal(difference(first, second).gone, told.gone, "nothing is compared");
  assert.deepEqual(difference(["x", "b"], second), { gone: new Set(["x"]), fresh: ["c"] });
  assert.deepEqual(difference(second, second), { gone: new Set(), fresh: [] });
  tellDifference(second, third, { gone: new Set(["b"]), fresh: ["d"] });
  assert.deepEqual(difference(first, third), { gone: new Set(["a", "b"]), fresh: ["c", "d"] });
  assert.deepEqual(difference(first, second), told);
});
