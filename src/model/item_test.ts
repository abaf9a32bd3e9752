/**
 * Keys and equality of items: every attribute is in exactly one of them.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { parseCidr, parseIp, parseMac } from "./ip.ts";
import { describe, isSilent, type Item, keyOf, type Kind, KINDS, rankOf, same, SILENT } from "./item.ts";

const hop = { via: parseIp("10.244.2.0"), link: "flannel.1", onlink: true };
const mac = parseMac("02:00:00:00:00:01");
const key = `${"A".repeat(42)}E=`;
const otherKey = `${"A".repeat(42)}I=`;
const endpoint = { ip: parseIp("2001:db8::2"), port: 51820 };
const presharedKey = { file: "/run/psk", digest: "0123456789abcdef" };

interface Sample {
  readonly item: Item;
  readonly others: Readonly<Record<string, unknown>>;
  readonly inKey: readonly string[];
}

/** One item of each kind, with another value for each of its attributes. */
const SAMPLES: readonly Sample[] = [
  {
    item: {
      ...{ kind: "link", name: "flannel.1", type: "vxlan", vni: 1, port: 8472, local: parseIp("192.0.2.1"), mac, mtu: 1450 },
      ...{ learning: false, gbp: false },
    },
    others: {
      ...{ name: "flannel.2", vni: 2, port: 4789, local: "192.0.2.2", mac: "02:00:00:00:00:02", mtu: 1400 },
      ...{ learning: true, gbp: true, down: true },
    },
    inKey: ["name"],
  },
  { item: { kind: "reverse-path", link: "eth0" }, others: { link: "eth1" }, inKey: ["link"] },
  {
    item: { kind: "address", link: "flannel.1", ip: parseIp("10.244.1.0"), length: 32 },
    others: { link: "flannel.2", ip: "10.244.2.0", length: 24 },
    inKey: ["link", "ip", "length"],
  },
  {
    item: { kind: "wireguard-peer", link: "flannel-wg", publicKey: key, endpoint, keepalive: 25, presharedKey },
    others: {
      ...{ link: "flannel-wg-v6", publicKey: otherKey, endpoint: { ...endpoint, port: 1 }, keepalive: 0 },
      presharedKey: { ...presharedKey, digest: "" },
    },
    inKey: ["link", "publicKey"],
  },
  {
    item: { kind: "allowed-ip", link: "flannel-wg", cidr: parseCidr("10.244.2.0/24"), publicKey: key },
    others: { link: "flannel-wg-v6", cidr: "10.244.3.0/24", publicKey: otherKey },
    inKey: ["link", "cidr"],
  },
  {
    item: { kind: "fdb", link: "flannel.1", mac, dst: parseIp("192.0.2.2") },
    others: { link: "flannel.2", mac: "02:00:00:00:00:02", dst: "192.0.2.3" },
    inKey: ["link", "mac"],
  },
  {
    item: { kind: "neighbour", link: "flannel.1", ip: parseIp("10.244.2.0"), mac },
    others: { link: "flannel.2", ip: "10.244.3.0", mac: "02:00:00:00:00:02" },
    inKey: ["link", "ip"],
  },
  {
    item: { kind: "nexthop", id: 0x0af40200, hop },
    others: { id: 1, hop: { ...hop, via: "10.244.3.0" } },
    inKey: ["id"],
  },
  {
    item: { kind: "route", dst: parseCidr("10.244.2.0/24"), to: hop, src: parseIp("10.244.1.0") },
    others: { dst: "10.244.3.0/24", to: 0x0af40200, src: null },
    inKey: ["dst"],
  },
  { item: { kind: "blackhole", dst: parseCidr("10.244.1.0/24") }, others: { dst: "10.244.2.0/24" }, inKey: ["dst"] },
];

/** Devices of other types. */
const DEVICES: readonly Sample[] = [
  {
    item: { kind: "link", name: "flannel.ipip", type: "ipip", local: parseIp("192.0.2.1"), mtu: 1480 },
    others: { name: "tunl0", local: null, mtu: 1400, remote: "192.0.2.2", down: true },
    inKey: ["name"],
  },
  {
    item: { kind: "link", name: "flannel-wg", type: "wireguard", port: 51820, publicKey: key, privateKeyFile: null, mtu: 1420 },
    others: { name: "flannel-wg-v6", port: 51821, publicKey: otherKey, mtu: 1400, down: true, privateKeyFile: undefined },
    inKey: ["name"],
  },
];

test("each attribute of an item is either in its key, as in the kernel's index, or makes it another", () => {
  for (const { item, others, inKey } of [...SAMPLES, ...DEVICES]) {
    assert.ok(same(item, { ...item }), item.kind);
    const attributes = Object.keys(item).filter((name) => name !== "kind" && name !== "type");
    assert.deepEqual(attributes.filter((name) => !(name in others)), [], `${item.kind} has attributes that are not tried`);
    for (const [name, value] of Object.entries(others)) {
      if (value === undefined) continue; // not seen in the kernel
      const other = { ...item, [name]: value } as Item;
      assert.equal(keyOf(other) !== keyOf(item), inKey.includes(name), `${item.kind}: ${name} and the key`);
      if (inKey.includes(name)) continue;
      assert.equal(same(item, other), false, `${item.kind}: ${name}`);
      assert.equal(same(other, item), false, `${item.kind}: ${name}, the other way round`);
    }
  }
});

test("devices of different types are different, and described in the words of their type", () => {
  const links = [SAMPLES[0]!, ...DEVICES].map(({ item }) => ({ ...item, name: "x", mtu: 1400 }) as Item);
  for (const a of links) for (const b of links) assert.equal(same(a, b), a === b);
  assert.deepEqual(links.slice(1).map(describe), [
    "link x type ipip local 192.0.2.1 remote any mtu 1400",
    `link x type wireguard listen-port 51820 public key ${key} mtu 1400`,
  ]);
});

test("of a wireguard device, its peers and what they are allowed, the kernel tells nothing", () => {
  const silent = [...SAMPLES, ...DEVICES].filter(({ item }) => isSilent(item)).map(({ item }) => item);
  assert.deepEqual(silent.map(({ kind }) => kind).sort(), [...SILENT].sort());
  assert.ok(silent.every((item) => item.kind !== "link" || item.type === "wireguard"));
});

test("files of keys are not compared, and a peer without any or at another address is another", () => {
  const peer = SAMPLES.find(({ item }) => item.kind === "wireguard-peer")!.item;
  assert.ok(same(peer, { ...peer, presharedKey: { ...presharedKey, file: null } } as Item));
  for (const other of [{ presharedKey: null }, { endpoint: null }, { endpoint: { ...endpoint, ip: parseIp("2001:db8::3") } }]) {
    assert.equal(same(peer, { ...peer, ...other } as Item), false);
    assert.equal(same({ ...peer, ...other } as Item, peer), false);
  }
});

test("each part of a hop makes a nexthop and a route another", () => {
  for (const change of [{ via: parseIp("10.244.3.0") }, { via: null }, { link: "eth0" }, { onlink: false }]) {
    const other = { ...hop, ...change };
    assert.equal(same({ kind: "nexthop", id: 1, hop }, { kind: "nexthop", id: 1, hop: other }), false);
    const dst = parseCidr("10.244.2.0/24");
    assert.equal(same({ kind: "route", dst, to: hop, src: null }, { kind: "route", dst, to: other, src: null }), false);
  }
});

test("a route by another nexthop, or by one instead of a hop, is another", () => {
  const route: Item = { kind: "route", dst: parseCidr("10.244.2.0/24"), to: 1, src: null };
  assert.ok(same(route, { ...route }));
  assert.equal(same(route, { ...route, to: 2 }), false);
  assert.equal(same({ ...route, to: hop }, route), false);
});

test("a route that a former flanneld left is kept while it is right", () => {
  const route: Item = { kind: "route", dst: parseCidr("10.244.2.0/24"), to: hop, src: null };
  assert.equal(keyOf({ ...route, adopted: true }), keyOf(route));
  assert.ok(same(route, { ...route, adopted: true }));
  assert.equal(same(route, { ...route, to: { ...hop, onlink: false }, adopted: true }), false);
});

test("keys of different kinds never meet, and every kind has a sample, a rank and words", () => {
  assert.deepEqual(SAMPLES.map(({ item }) => item.kind), [...KINDS]);
  assert.equal(new Set(SAMPLES.map(({ item }) => keyOf(item))).size, SAMPLES.length);
  assert.deepEqual(KINDS.map((kind: Kind) => rankOf[kind]), KINDS.map((_, i) => i));
  assert.deepEqual(SAMPLES.map(({ item }) => describe(item)), [
    "link flannel.1 type vxlan id 1 dstport 8472 local 192.0.2.1 address 02:00:00:00:00:01 mtu 1450",
    "loose reverse-path filter on eth0",
    "address 10.244.1.0/32 dev flannel.1",
    `wireguard peer ${key} dev flannel-wg endpoint [2001:db8::2]:51820 persistent-keepalive 25 with preshared-key`,
    `wireguard allowed-ips 10.244.2.0/24 dev flannel-wg peer ${key}`,
    "fdb 02:00:00:00:00:01 dev flannel.1 dst 192.0.2.2",
    "neighbour 10.244.2.0 lladdr 02:00:00:00:00:01 dev flannel.1",
    "nexthop 183763456 via 10.244.2.0 dev flannel.1 onlink",
    "route 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink src 10.244.1.0",
    "blackhole route 10.244.1.0/24",
  ]);
});

test("items of two kinds are never the same", () => {
  for (const { item: a } of SAMPLES) {
    for (const { item: b } of SAMPLES) if (a !== b) assert.equal(same(a, b), false, `${a.kind}, ${b.kind}`);
  }
});
