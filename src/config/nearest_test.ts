/**
 * Misspelt names and what they were meant to be.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { FLAGS } from "./flags.ts";
import { nearest } from "./nearest.ts";

const TYPOS: readonly (readonly [written: string, meant: string])[] = [
  ["ip-mask", "ip-masq"],
  ["ipmasq", "ip-masq"],
  ["masq", "ip-masq"],
  ["ip-masquerade", "ip-masq"],
  ["kube-subnet-manager", "kube-subnet-mgr"],
  ["etcd-endpoint", "etcd-endpoints"],
  ["endpoints", "etcd-endpoints"],
  ["etcd_prefix", "etcd-prefix"],
  ["etcd-pasword", "etcd-password"],
  ["etcd-ca-file", "etcd-cafile"],
  ["ifcae", "iface"],
  ["interface", "iface"],
  ["publicip", "public-ip"],
  ["healthz-prot", "healthz-port"],
  ["kubeconfig", "kubeconfig-file"],
  ["log-fromat", "log-format"],
  ["verbosity", "version"],
];

test("nearest() finds what a misspelt flag was meant to be", () => {
  for (const [written, meant] of TYPOS) assert.equal(nearest(written, Object.keys(FLAGS)).name, meant, written);
});

test("nearest() measures from the same to nothing in common", () => {
  assert.deepEqual(nearest("abc", ["abc"]), { name: "abc", unlikeness: 0 });
  assert.deepEqual(nearest("abc", ["xyz"]), { name: "xyz", unlikeness: 1 });
  assert.deepEqual(nearest("ab", ["ba"]), { name: "ba", unlikeness: 0.5 });
  assert.deepEqual(nearest("", ["ab"]), { name: "ab", unlikeness: 1 });
});

test("nearest() is quick for a name of a million letters", () => {
  const start = performance.now();
  nearest("x".repeat(1_000_000), Object.keys(FLAGS));
  assert.ok(performance.now() - start < 1000);
});
