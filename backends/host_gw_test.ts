/**
 * The host-gw backend: the contract, and its items field by field.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { backendContract, nodeSide, optionsOf, peerOf } from "../test/contracts/backend.ts";
import type { Backend } from "../src/mod.ts";
import hostGw from "./host_gw.ts";

const options = optionsOf(hostGw, { Type: "host-gw" });

backendContract("host-gw", hostGw as unknown as Backend, { Type: "host-gw" });

test("host-gw makes flannel's route: over the peer's public IP, without onlink, so that the kernel checks it", () => {
  for (const family of [4, 6] as const) {
    const peer = peerOf(family, 2, null);
    assert.deepEqual(hostGw.peer(peer, nodeSide(family, () => "eth0"), options), {
      path: "direct",
      items: [{ kind: "route", dst: peer.subnet, to: { via: peer.publicIp, link: "eth0", onlink: false }, src: null }],
    });
  }
});

test("host-gw goes over the segment on which the peer is", () => {
  const { items } = hostGw.peer(peerOf(4, 2, null), nodeSide(4, () => "eth1"), options);
  assert.deepEqual(items, [
    { kind: "route", dst: "10.244.2.0/24", to: { via: "192.0.2.2", link: "eth1", onlink: false }, src: null },
  ]);
});

test("host-gw lets a peer that is not on-link wait with that reason, and keeps its route", () => {
  const { items, pending } = hostGw.peer(peerOf(4, 2, null), nodeSide(4), options);
  assert.match(pending!, /^192\.0\.2\.2 is not on a segment of this node/);
  assert.equal(items.length, 1);
});

test("host-gw needs nothing of the node but loose filters for IPv4, and takes no bytes of a packet", () => {
  assert.deepEqual(hostGw.node(nodeSide(4), options), [{ kind: "reverse-path", link: "eth0" }]);
  assert.deepEqual(hostGw.node(nodeSide(6), options), []);
  assert.equal(hostGw.mtu(1500, [4, 6], options), 1500);
  assert.deepEqual(hostGw.links(options), []);
  assert.equal(hostGw.publish(nodeSide(4), options), null);
});
