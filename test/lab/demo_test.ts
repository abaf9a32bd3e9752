/**
 * The demo as a user runs it: what it prints, and its exit code.
 *
 * @module
 */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { labTest, lacks } from "./case.ts";
import { attempt } from "./command.ts";
import { runtimeCommand } from "./paths.ts";

const DEMO = [...runtimeCommand(), resolve(import.meta.dirname!, "demo.ts")];
const noVxlan = await lacks(["ip", "link", "add", "type", "vxlan", "id", "1", "dstport", "4789"]);

labTest("the demo shows the way between every two nodes and loses no packet", async () => {
  const { code, stdout, stderr } = await attempt(DEMO);
  assert.equal(code, 0, stderr);
  const ways = [...stdout.matchAll(/(\w\w → \w\w)\s+(\S+)\s+20\s+0\s+[\d.]+ ms\s+20\s+0\s+[\d.]+ ms/g)];
  assert.deepEqual(ways.map(([, pair, path]) => `${pair} ${path}`), [
    "a1 → a2 direct",
    "a1 → b1 vxlan",
    "a2 → a1 direct",
    "a2 → b1 vxlan",
    "b1 → a1 vxlan",
    "b1 → a2 vxlan",
  ]);
  assert.match(stdout, /240 packets sent, none lost/);
}, noVxlan);

labTest("the demo fails, with the agent's log, if an agent does not start", async () => {
  const { code, stderr } = await attempt(DEMO, { env: { FLANNELD_PUBLIC_IP: "not-an-address" } });
  assert.equal(code, 1);
  assert.match(stderr, /The agent on \w\w ended with exit code 2. Its log ends:\n.*not-an-address/);
}, noVxlan);

labTest("the demo refuses options that it does not know", async () => {
  const { code, stderr } = await attempt([...DEMO, "--kep"]);
  assert.equal(code, 2);
  assert.match(stderr, /--kep/);
});
