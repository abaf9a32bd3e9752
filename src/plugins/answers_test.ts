/**
 * Which answers of plugins are used: well formed, and only what a backend may ask for.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { linkNames, nodeItems, peerAnswer, podMtu } from "./answers.ts";
import { peerOf, sideOf } from "./check/world.ts";

const side = sideOf(1, 4, 1450, null);
const peer = peerOf(2, 4, null);
const links = ["mine0"];
const MAC = "02:00:00:00:00:02";
const KEY = `${"A".repeat(43)}=`;
const route = { kind: "route", dst: "10.0.2.0/24", to: { via: "192.0.2.2", link: "eth0", onlink: false }, src: null };

const ofNode = (...items: unknown[]) => nodeItems(items, { side, links, peer: null });
const ofPeer = (...items: unknown[]) => peerAnswer({ path: "mine", items, state: "planned", reason: null }, { side, links, peer });

test("what a backend may ask for is taken as it is, addresses in their one form", () => {
  const node = [
    {
      kind: "link",
      name: "mine0",
      type: "vxlan",
      vni: 7,
      port: 4789,
      local: "192.0.2.1",
      mac: MAC,
      mtu: 1450,
      learning: false,
      gbp: false,
    },
    { kind: "reverse-path", link: "mine0" },
    { kind: "reverse-path", link: "eth0" },
    { kind: "address", link: "mine0", ip: "10.0.1.0", length: 32 },
    { kind: "route", dst: "10.0.0.0/8", to: { via: null, link: "mine0", onlink: false }, src: "10.0.1.0" },
  ];
  assert.deepEqual(ofNode(...node), node);
  const wireguard = {
    kind: "wireguard-peer",
    link: "mine0",
    publicKey: KEY,
    endpoint: { ip: "192.0.2.2", port: 1 },
    keepalive: 0,
    presharedKey: null,
  };
  const all = [
    { kind: "fdb", link: "mine0", mac: MAC, dst: "192.0.2.2" },
    { kind: "neighbour", link: "mine0", ip: "10.0.2.0", mac: MAC },
    wireguard,
    { kind: "allowed-ip", link: "mine0", cidr: "10.0.2.0/24", publicKey: KEY },
    route,
  ];
  assert.deepEqual(ofPeer(...all).items, all);
  const loud = { kind: "neighbour", link: "mine0", ip: "10.0.2.0", mac: "02-00-00-00-00-02" };
  assert.deepEqual(ofPeer(loud).items, [{ ...loud, mac: MAC }]);
});

test("what a backend may not ask for is refused, with the reason", () => {
  const wrong: readonly (readonly [ask: () => unknown, says: RegExp])[] = [
    [() => ofNode(route), /route 10\.0\.2\.0\/24: a route of the node may lead to 10\.0\.0\.0\/8 only/],
    [() => ofNode({ kind: "reverse-path", link: "eth9" }), /device "eth9" is not one that links\(\) names/],
    [() => ofNode({ kind: "address", link: "eth0", ip: "10.0.1.0", length: 32 }), /device "eth0" is not one/],
    [() => ofNode({ kind: "address", link: "mine0", ip: "10.0.2.0", length: 32 }), /not inside this node's 10\.0\.1\.0\/24/],
    [() => ofNode({ kind: "allowed-ip", link: "mine0", cidr: "10.0.2.0/24", publicKey: KEY }), /the node itself is no peer/],
    [() => ofPeer({ ...route, dst: "0.0.0.0/0" }), /a route of this peer may lead to 10\.0\.2\.0\/24 only/],
    [() => ofPeer({ ...route, dst: "10.0.3.0/24" }), /10\.0\.2\.0\/24 only/],
    [() => ofPeer({ ...route, src: "192.0.2.1" }), /its source 192\.0\.2\.1 is not inside/],
    [() => ofPeer({ ...route, to: { ...route.to, link: "docker0" } }), /device "docker0" is not one/],
    [() => ofPeer({ ...route, to: { ...route.to, via: "2001:db8::2" } }), /2001:db8::2 is not of IPv4/],
    [
      () => ofPeer({ kind: "allowed-ip", link: "mine0", cidr: "0.0.0.0/0", publicKey: KEY }),
      /allowed its own 10\.0\.2\.0\/24 only/,
    ],
    [() => ofPeer({ kind: "reverse-path", link: "mine0" }), /filters are the node's/],
    [() => ofPeer(route, route), /it is there twice/],
    [() => ofPeer({ kind: "neighbour", link: "mine0", ip: "fe80::1", mac: MAC }), /fe80::1 is not of IPv4/],
  ];
  for (const [ask, says] of wrong) assert.throws(ask, says);
});

test("what is not well formed is refused, with its place", () => {
  const wrong: readonly (readonly [ask: () => unknown, says: RegExp])[] = [
    [() => nodeItems(undefined, { side, links, peer: null }), /^AnswerError: node\(\) answers what is no such thing/],
    [() => ofPeer(...Array.from({ length: 1_000 }, () => route)), /items: .*256/],
    [() => ofNode({ kind: "rule" }), /node\(\) answers what is no such thing: 0\.kind/],
    [() => ofNode({ kind: "nexthop", id: 1, hop: route.to }), /0\.kind/],
    [() => ofPeer({ ...route, dst: "10.0.2.0" }), /items\.0\.dst/],
    [() => ofPeer({ ...route, to: 7 }), /items\.0\.to/],
    [() => ofPeer({ ...route, metric: 1 }), /items\.0\.metric/],
    [() => ofPeer({ kind: "fdb", link: "mine0", mac: "ff:ff:ff:ff:ff:ff", dst: "192.0.2.2" }), /items\.0\.mac: .*unicast/],
    [() => ofPeer({ kind: "fdb", link: "a b", mac: MAC, dst: "192.0.2.2" }), /items\.0\.link: .*name of a device/],
    [() => peerAnswer(undefined, { side, links, peer }), /peer\(\) answers/],
    [() => peerAnswer({ items: [], state: "planned", reason: null }, { side, links, peer }), /path/],
    [
      () => peerAnswer({ path: "A B", items: [], state: "planned", reason: null }, { side, links, peer }),
      /path: a path is lower case/,
    ],
    [() => podMtu(1500.5), /mtu\(\)/],
    [() => podMtu(0), /mtu\(\)/],
    [() => linkNames(["x".repeat(16)]), /links\(\).*0: it is not the name of a device/],
    [() => linkNames("mine0"), /links\(\)/],
  ];
  for (const [ask, says] of wrong) {
    assert.throws(ask, (error: Error) => says.test(`${error.name}: ${error.message}`), `${says}`);
  }
});
