/**
 * What planners may not do under check, and that everything is as before afterwards.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { withTraps } from "./traps.ts";

test("withTraps() refuses clock, lots and network, by name, and lets everything else be", () => {
  const before = [Date, Date.now, Math.random, globalThis.fetch, globalThis.setTimeout, crypto.randomUUID];
  const forbidden: readonly (readonly [planner: () => unknown, says: RegExp])[] = [
    [() => Date.now(), /reads the clock \(now\)/],
    [() => new Date(), /reads the clock \(Date\)/],
    [() => performance.now(), /reads the clock/],
    [() => Math.random(), /draws lots/],
    [() => crypto.getRandomValues(new Uint8Array(1)), /draws lots/],
    [() => fetch("http://127.0.0.1"), /reaches out to the network/],
    [() => setTimeout(() => {}, 1), /waits/],
  ];
  for (const [planner, says] of forbidden) assert.throws(() => withTraps(planner), says);
  assert.equal(withTraps(() => new Date(0).toISOString() + Math.max(1, 2)), "1970-01-01T00:00:00.000Z2");
  assert.deepEqual([Date, Date.now, Math.random, globalThis.fetch, globalThis.setTimeout, crypto.randomUUID], before);
  assert.ok(Date.now() > 0 && new Date().getTime() > 0);
});
