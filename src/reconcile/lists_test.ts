/**
 * What differs between two lists, and between editions of one.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Editions } from "../../test/editions.ts";
import { withSeeds } from "../../test/seed.ts";
import { difference, editionOf, since, UNSEEN } from "./lists.ts";

test("difference() finds what is gone and what is fresh, wherever it stands", () =>
  withSeeds(30, (chance) => {
    const pool = Array.from({ length: 12 }, (_, i) => ({ i }));
    const before = chance.shuffled(pool).slice(chance.below(6));
    const now = chance.below(3) === 0 ? chance.shuffled(pool).slice(chance.below(6)) : before.flatMap((it) => {
      const luck = chance.below(10);
      return luck === 0 ? [] : luck === 1 ? [it, { i: 99 }] : [it];
    });
    const { gone, fresh } = difference(before, now);
    assert.deepEqual(new Set(gone), new Set(before.filter((it) => !now.includes(it))));
    assert.deepEqual(fresh, now.filter((it) => !before.includes(it)));
  }));

test("who has seen the edition before need not look, who has not compares", () => {
  const editions = new Editions<string>();
  const [first, second, third] = [["a", "b"], ["b", "c"], ["c", "d"]].map((values) => editions.next(values));
  const never = () => assert.fail("nothing is compared");
  assert.deepEqual(since(second!, second!.version, never), { gone: new Set(), fresh: [] });
  assert.equal(since(second!, first!.version, never), second);
  assert.deepEqual(since(third!, first!.version, () => ["a", "b"]), { gone: new Set(["a", "b"]), fresh: ["c", "d"] });
  assert.deepEqual(since(third!, UNSEEN, () => []), { gone: new Set(), fresh: ["c", "d"] });
  assert.deepEqual(since(editionOf(["b"]), UNSEEN, () => ["a"]), { gone: new Set(["a"]), fresh: ["b"] });
});
