import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { test } from "node:test";
import { secretsIn } from "./secret_args.ts";

const found = (...args: string[]) => {
  const bytes = Buffer.from(args.map((arg) => `${arg}\0`).join(""));
  return secretsIn(bytes, "etcd-password").map(([offset, length]) => bytes.toString("utf8", offset, offset + length));
};

test("secretsIn() finds a flag's value, in whatever form it was given", () => {
  assert.deepEqual(found("agent", "--etcd-password=hunter2", "-v=1"), ["hunter2"]);
  assert.deepEqual(found("agent", "-etcd-password=hunter2"), ["hunter2"]);
  assert.deepEqual(found("agent", "--etcd-password", "hunter2", "--etcd-username=u"), ["hunter2"]);
  assert.deepEqual(found("agent", "--etcd-password=a=b", "--etcd-password", "pässwort"), ["a=b", "pässwort"]);
  assert.deepEqual(found("agent", "--etcd-password", "--etcd-password=x"), ["--etcd-password=x"]);
});

test("secretsIn() finds nothing where there is none", () => {
  assert.deepEqual(found("agent", "--etcd-username=etcd-password", "--etcd-passwords=x", "--etcd-password="), []);
  assert.deepEqual(found("agent", "--etcd-password"), []);
  assert.deepEqual(found(), []);
});
