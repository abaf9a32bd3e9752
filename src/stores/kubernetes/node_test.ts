/**
 * What is kept of a node, whatever it holds.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { message, nodeBytes } from "../../../test/kubernetes/bytes.ts";
import type { NodeJson } from "../../../test/e2e/kubernetes_server.ts";
import { annotationNames } from "./annotations.ts";
import { readNode, TOO_LONG } from "./node.ts";
import { Cursor } from "./protobuf.ts";

const PREFIX = "flannel.alpha.coreos.com/";
const NAMES = annotationNames(PREFIX);

function read(node: Partial<NodeJson["spec"]> & { readonly annotations?: Record<string, string> }, whole = true) {
  const { annotations = {}, ...spec } = node;
  return readNode(
    new Cursor(nodeBytes({ metadata: { name: "a", uid: "u", resourceVersion: "7", annotations }, spec }, whole)),
    whole,
    NAMES,
  );
}

test("only our own annotations are kept, by what stands behind the prefix", () => {
  const annotations = {
    [`${PREFIX}public-ip`]: "10.0.0.1",
    [`${PREFIX}colour`]: "red",
    "flannel.alpha.coreos.com.evil/public-ip": "6.6.6.6",
    "example.org/public-ip": "6.6.6.6",
    "public-ip": "6.6.6.6",
  };
  assert.deepEqual(read({ annotations }).annotations, { "public-ip": "10.0.0.1" });
});

test("a value that is too long is marked, and not kept", () => {
  const annotations = { [`${PREFIX}backend-data`]: "x".repeat(1025), [`${PREFIX}backend-type`]: "x".repeat(1024) };
  assert.deepEqual(read({ annotations }).annotations, { "backend-data": TOO_LONG, "backend-type": "x".repeat(1024) });
});

test("podCIDRs counts, else podCIDR; metadata has neither", () => {
  assert.deepEqual(read({ podCIDR: "10.1.0.0/24", podCIDRs: ["10.2.0.0/24", "fd00::/64"] }).podCidrs, ["10.2.0.0/24", "fd00::/64"]);
  const old = message([1, message([1, "a"])], [2, message([1, "10.1.0.0/24"])]);
  assert.deepEqual(readNode(new Cursor(old), true, NAMES).podCidrs, ["10.1.0.0/24"]);
  assert.deepEqual(read({}).podCidrs, []);
  assert.equal(read({ podCIDR: "10.1.0.0/24" }, false).podCidrs, null);
  assert.deepEqual(readNode(new Cursor(message([1, message([1, "a"])])), true, NAMES).podCidrs, [], "a node without a spec");
});

test("of many or long pod subnets no more is kept than shows that they are wrong", () => {
  const { podCidrs } = read({ podCIDRs: Array.from({ length: 1000 }, () => "9".repeat(10_000)) });
  assert.equal(podCidrs!.length, 3);
  assert.ok(podCidrs!.every((text) => text.length === 64));
});

test("the mark of the last initial event is this annotation and no other", () => {
  const marked = (key: string) => readNode(new Cursor(message([1, message([12, message([1, key], [2, "true"])])])), true, NAMES);
  assert.ok(marked("k8s.io/initial-events-end").endsInitialEvents);
  assert.ok(!marked("k8s.io/initial-events-ending").endsInitialEvents);
});
