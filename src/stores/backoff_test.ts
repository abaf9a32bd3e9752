/**
 * How long is waited, and that many agents spread out.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Backoff } from "./backoff.ts";

test("waiting times double up to four seconds, and begin again after a success", () => {
  const backoff = new Backoff(() => 0.999999);
  const waits = () => Array.from({ length: 6 }, () => Math.round(backoff.next(null)));
  assert.deepEqual(waits(), [500, 1000, 2000, 4000, 4000, 4000]);
  backoff.reset();
  assert.equal(Math.round(backoff.next(null)), 500);
});

test("agents that fail together come back over half of the waiting time", () => {
  const waits = Array.from({ length: 5000 }, (_, i) => {
    const backoff = new Backoff(() => i / 5000);
    for (let failed = 0; failed < 5; failed++) backoff.next(null);
    return backoff.next(null);
  });
  assert.ok(Math.min(...waits) >= 2000 && Math.max(...waits) < 4000);
  const busiest = Math.max(
    ...Array.from({ length: 20 }, (_, i) => waits.filter((it) => Math.floor((it - 2000) / 100) === i).length),
  );
  assert.ok(busiest <= 260, `${busiest} in the busiest tenth of a second`);
});

test("what the server asks for is waited at least, and not by all equally long", () => {
  const busy = Object.assign(new Error("busy"), { retryAfter: 7 });
  assert.ok(new Backoff(() => 0).next(busy) >= 7000);
  assert.ok(new Backoff(() => 0.99).next(busy) > new Backoff(() => 0).next(busy));
});
