/**
 * Keys that differ in case, and keys that mean something to JavaScript.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { foldKeys } from "./fold_keys.ts";

test("foldKeys() gives known keys their canonical form and names the others", () => {
  const folded = foldKeys({ type: "vxlan", DIRECTROUTING: true, Colour: 1 }, ["Type", "DirectRouting", "VNI"]);
  assert.deepEqual(folded, { value: { Type: "vxlan", DirectRouting: true }, unknown: ["Colour"] });
});

test("foldKeys() keeps the last of keys that differ only in case", () => {
  assert.deepEqual(foldKeys({ VNI: 1, vni: 2, Vni: 3 }, ["VNI"]).value, { VNI: 3 });
});

test("foldKeys() takes __proto__ and constructor for keys like others", () => {
  const object = JSON.parse('{"__proto__": {"VNI": 9}, "constructor": 1, "toString": 2}');
  const { value, unknown } = foldKeys(object, ["VNI"]);
  assert.deepEqual([value, unknown], [{}, ["__proto__", "constructor", "toString"]]);
  assert.equal((value as { VNI?: unknown }).VNI, undefined);
});
