/**
 * The records after any events, compared with a plain map, and what their editions tell of each other.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { recordOf } from "../../test/leases.ts";
import { withSeeds } from "../../test/seed.ts";
import type { LeaseEvent, LeaseRecord } from "../model/lease.ts";
import { difference } from "../reconcile/lists.ts";
import { Records } from "./records.ts";

test("records are what events left, and each edition tells how it differs from the one before", () =>
  withSeeds(20, (chance) => {
    const records = new Records();
    let known = new Map<string, LeaseRecord>();
    let before: readonly LeaseRecord[] = [];
    let edition = records.edition();
    for (let step = 0; step < 60; step++) {
      for (let events = chance.below(4); events > 0; events--) {
        const some = () => Array.from({ length: chance.below(5) }, () => recordOf(1 + chance.below(12)));
        const kept = [...known.values()].filter(() => chance.number() < 0.2);
        const event: LeaseEvent = chance.number() < 0.1
          ? { type: "snapshot", records: [...new Map([...known.values(), ...some()].map((it) => [it.key, it])).values()] }
          : { type: "changes", changed: [...some(), ...kept], removed: some().map(({ key }) => key) };
        records.take(event);
        if (event.type === "snapshot") known = new Map(event.records.map((it) => [it.key, it]));
        else {
          event.changed.forEach((it) => known.set(it.key, it));
          event.removed.forEach((key) => known.delete(key));
        }
      }
      const now = records.edition();
      const all = [...now.all()];
      assert.deepEqual(new Set(all), new Set(known.values()));
      const { gone, fresh } = difference(before, all);
      if (now === edition) assert.deepEqual([gone.size, fresh.length], [0, 0]);
      else assert.deepEqual([now.version, now.gone, new Set(now.fresh)], [edition.version + 1, gone, new Set(fresh)]);
      [before, edition] = [all, now];
    }
  }));
