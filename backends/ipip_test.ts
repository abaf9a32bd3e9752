/**
 * The ipip backend: its options, and its items field by field.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { leaseDataOf, nodeSide, optionsOf, peerOf } from "../test/contracts/backend.ts";
import ipip from "./ipip.ts";

const defaults = optionsOf(ipip, { Type: "ipip" });
const direct = optionsOf(ipip, { Type: "ipip", DIRECTROUTING: true });
const peer = peerOf(4, 2, null);

test("ipip makes flannel's device with the interface's address, and sees to loose filters", () => {
  assert.deepEqual(ipip.node(nodeSide(4)), [
    { kind: "link", name: "flannel.ipip", type: "ipip", local: "192.0.2.1", mtu: 1450 },
    { kind: "address", link: "flannel.ipip", ip: "10.244.1.0", length: 32 },
    { kind: "reverse-path", link: "flannel.ipip" },
    { kind: "reverse-path", link: "eth0" },
  ]);
  assert.deepEqual(ipip.links(), ["flannel.ipip"]);
  assert.equal(ipip.mtu(1500), 1480);
});

test("ipip makes flannel's route: over the device to the peer's public IP, onlink", () => {
  for (const side of [nodeSide(4), nodeSide(4, () => "eth1")]) {
    assert.deepEqual(ipip.peer(peer, side, defaults), {
      path: "ipip",
      items: [{
        kind: "route",
        dst: "10.244.2.0/24",
        to: { via: "192.0.2.2", link: "flannel.ipip", onlink: true },
        src: "10.244.1.0",
      }],
    });
  }
});

test("with DirectRouting a peer that is on-link is reached over its segment, and the kernel checks that it can be", () => {
  assert.equal(ipip.peer(peer, nodeSide(4), direct).path, "ipip");
  assert.deepEqual(ipip.peer(peer, nodeSide(4, () => "eth1"), direct), {
    path: "direct",
    items: [{ kind: "route", dst: "10.244.2.0/24", to: { via: "192.0.2.2", link: "eth1", onlink: false }, src: "10.244.1.0" }],
  });
});

test("ipip leaves IPv6 alone, and says so", () => {
  assert.deepEqual(ipip.node(nodeSide(6)), []);
  assert.deepEqual(ipip.peer(peerOf(6, 2, null), nodeSide(6), direct), {
    path: "none",
    items: [],
    pending: "ipip carries IPv4 only",
  });
});

test("ipip publishes its type alone, and does not mind what others publish besides theirs", () => {
  assert.deepEqual([ipip.type, ipip.publish()], ["ipip", null]);
  for (const data of [null, undefined, "x", { VtepMAC: 1 }]) assert.deepEqual(leaseDataOf(ipip, data), { value: data });
});

test("options that are wrong are named", () => {
  assert.throws(() => optionsOf(ipip, { DirectRouting: "yes" }), /^Error: DirectRouting: expected true or false$/);
});
