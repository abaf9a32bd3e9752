/**
 * What is a backend, and what is said of what is none.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { asBackend } from "./shape.ts";

const nothing = () => null;
const GOOD = {
  ...{ name: "mine", api: 1, type: "mine", options: nothing, leaseData: nothing },
  ...{ mtu: nothing, publish: nothing, node: nothing, peer: nothing, links: nothing },
};

test("asBackend() takes a backend as it is, with what it need not have and with schemas of libraries", () => {
  const standard = { "~standard": { version: 1, vendor: "t", validate: nothing } };
  for (
    const odd of [{}, { devices: /x/ }, { adopts: false }, { effects: { start: nothing } }, { options: standard }, { type: "" }]
  ) {
    const backend = { ...GOOD, ...odd };
    assert.equal(asBackend(backend, "mine"), backend);
  }
});

test("asBackend() says the first thing that is wrong", () => {
  const wrong: readonly (readonly [exported: unknown, says: RegExp])[] = [
    [undefined, /no backend as its default export/],
    [nothing, /no backend as its default export/],
    [{ ...GOOD, api: 2 }, /version 2 of the backend interface, and this agent speaks version 1/],
    [{ ...GOOD, api: "1" }, /version "1" of/],
    [{}, /version missing of/],
    [{ ...GOOD, name: "other" }, /it is called "other", but its file says "mine"/],
    [{ ...GOOD, type: "My Type" }, /its type is "My Type"/],
    [{ ...GOOD, options: {} }, /its options is a object: expected a function or a Standard Schema/],
    [{ ...GOOD, leaseData: undefined }, /its leaseData is missing/],
    [{ ...GOOD, options: { "~standard": { version: 2, validate: nothing } } }, /its options is a object/],
    [{ ...GOOD, peer: undefined }, /its peer is missing: expected a function/],
    [{ ...GOOD, links: [] }, /its links is a object: expected a function/],
    [{ ...GOOD, devices: "x" }, /its devices is "x": expected a regular expression/],
    [{ ...GOOD, peers: nothing }, /it has "peers", which is no part of a backend/],
    [{ ...GOOD, effects: nothing }, /its effects is a function: expected an object/],
    [{ ...GOOD, effects: { begin: nothing } }, /its effects have "begin": there are start, ready, peers, health, stop/],
    [{ ...GOOD, effects: { start: 1 } }, /its effects\.start is 1: expected a function/],
  ];
  for (const [exported, says] of wrong) assert.throws(() => asBackend(exported, "mine"), says);
});
