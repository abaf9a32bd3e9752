/**
 * The directrouting backend: the contract, and its choice.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { backendContract, nodeSide, optionsOf, peerOf } from "../test/contracts/backend.ts";
import { type Backend, parseMac } from "../src/mod.ts";
import directrouting from "./directrouting.ts";
import vxlan from "./vxlan.ts";

backendContract("directrouting", directrouting as unknown as Backend, { Type: "vxlan" });

const options = optionsOf(directrouting, {});

test("directrouting asks for each peer whether it is on-link, and has no vxlan entries for those that are", () => {
  for (const family of [4, 6] as const) {
    const [near, far] = [2, 3].map((n) => peerOf(family, n, { VtepMAC: parseMac(`02:00:00:00:00:0${n}`) }));
    const side = nodeSide(family, (ip) => ip === near!.publicIp ? "eth0" : null);
    const src = family === 4 ? "10.244.1.0" : "fd00:10:244:1::";
    assert.deepEqual(directrouting.peer(near!, side, options), {
      path: "direct",
      items: [{ kind: "route", dst: near!.subnet, to: { via: near!.publicIp, link: "eth0", onlink: false }, src }],
    });
    assert.deepEqual(directrouting.peer(far!, side, options), vxlan.peer(far!, side, options));
  }
});

test("directrouting is vxlan to everybody else: what it publishes, its device, its MTU", () => {
  const side = nodeSide(4);
  assert.equal(directrouting.type, "vxlan");
  assert.deepEqual(directrouting.publish(side, options), vxlan.publish(side, options));
  assert.deepEqual(directrouting.node(side, options), vxlan.node(side, options));
  assert.equal(directrouting.mtu(1500, [4, 6], options), vxlan.mtu(1500, [4, 6], options));
});
