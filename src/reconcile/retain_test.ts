/**
 * What stays for peers that wait, where packets go through wireguard; the other ways are tried with the reconciler.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { parseCidr, parseIp } from "../model/ip.ts";
import { type Item, keyOf } from "../model/item.ts";
import { retained } from "./retain.ts";

const KEY = `${"A".repeat(42)}E=`;
const [subnet, publicIp, link] = [parseCidr("10.244.2.0/24"), parseIp("192.0.2.2"), "flannel-wg"];
const device: Item = { kind: "link", name: link, type: "wireguard", port: 51820, publicKey: KEY, privateKeyFile: null, mtu: 1420 };
const address: Item = { kind: "address", link, ip: parseIp("10.244.1.0"), length: 32 };
const peer: Item = {
  kind: "wireguard-peer",
  link,
  publicKey: KEY,
  endpoint: { ip: publicIp, port: 51820 },
  keepalive: 0,
  presharedKey: null,
};
const allowed: Item = { kind: "allowed-ip", link, cidr: subnet, publicKey: KEY };
const route: Item = { kind: "route", dst: subnet, to: { via: null, link, onlink: false }, src: null };
const WHOLE = [device, address, peer, allowed, route];

const keysOf = (items: readonly Item[]) => new Map(items.map((item) => [keyOf(item), item]));

test("a path through wireguard stays whole for a peer that waits", () => {
  const others: Item[] = [{ ...allowed, cidr: parseCidr("10.244.3.0/24") }, { ...route, dst: parseCidr("10.244.3.0/24") }];
  assert.deepEqual(retained(keysOf([...WHOLE, ...others]), [{ subnet, publicIp }]), new Set(WHOLE.map(keyOf)));
});

test("a path through wireguard that leads to another node, to nobody, or nowhere, is none", () => {
  assert.equal(retained(keysOf(WHOLE), [{ subnet, publicIp: parseIp("192.0.2.3") }]).size, 0);
  for (const part of [peer, allowed, route]) {
    assert.equal(retained(keysOf(WHOLE.filter((item) => item !== part)), [{ subnet, publicIp }]).size, 0, keyOf(part));
  }
  assert.equal(retained(keysOf([...WHOLE, { ...peer, endpoint: null }]), [{ subnet, publicIp }]).size, 0);
});
