/**
 * The alloc backend: it asks for nothing and publishes nothing.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { leaseDataOf, optionsOf } from "../test/contracts/backend.ts";
import alloc from "./alloc.ts";

test("alloc plans nothing, publishes neither data nor type, as flannel does, and leaves the MTU as it is", () => {
  assert.deepEqual([alloc.type, alloc.publish()], ["", null]);
  assert.deepEqual([alloc.links(), alloc.node(), alloc.peer()], [[], [], { path: "none", items: [] }]);
  assert.equal(alloc.mtu(1500), 1500);
});

test("alloc minds neither options nor what others publish", () => {
  assert.doesNotThrow(() => optionsOf(alloc, { Type: "alloc", Unknown: 1 }));
  for (const data of [null, undefined, "x", { VtepMAC: "02:00:00:00:00:02" }]) {
    assert.deepEqual(leaseDataOf(alloc, data), { value: null });
  }
});
