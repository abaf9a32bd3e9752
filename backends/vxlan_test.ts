/**
 * The vxlan backend: the contract, and its items field by field.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { backendContract, leaseDataOf, nodeSide, optionsOf, peerOf } from "../test/contracts/backend.ts";
import type { Backend } from "../src/mod.ts";
import { parseIp, parseMac } from "../src/mod.ts";
import vxlan from "./vxlan.ts";

backendContract("vxlan", vxlan as unknown as Backend, { Type: "vxlan" });
backendContract("vxlan with all options", vxlan as unknown as Backend, {
  ...{ Type: "vxlan", VNI: 16777215, Port: 4789, GBP: true, Learning: true, MTU: 1400, DirectRouting: true },
});

const defaults = optionsOf(vxlan, {});
const peer = (family: 4 | 6) => peerOf(family, 2, { VtepMAC: parseMac("02:00:00:00:00:02") });

test("vxlan makes flannel's device, but not bound to a lower one, with the interface's address and no learning", () => {
  assert.deepEqual(vxlan.node(nodeSide(4), defaults), [
    {
      kind: "link",
      name: "flannel.1",
      type: "vxlan",
      vni: 1,
      port: 8472,
      local: "192.0.2.1",
      mac: "02:00:00:00:04:01",
      mtu: 1450,
      learning: false,
      gbp: false,
    },
    { kind: "address", link: "flannel.1", ip: "10.244.1.0", length: 32 },
    { kind: "reverse-path", link: "flannel.1" },
    { kind: "reverse-path", link: "eth0" },
  ]);
  assert.deepEqual(vxlan.node(nodeSide(6), optionsOf(vxlan, { VNI: 7, Port: 4789, GBP: true, Learning: true })), [
    {
      kind: "link",
      name: "flannel-v6.7",
      type: "vxlan",
      vni: 7,
      port: 4789,
      local: "2001:db8::1",
      mac: "02:00:00:00:06:01",
      mtu: 1450,
      learning: true,
      gbp: true,
    },
    { kind: "address", link: "flannel-v6.7", ip: "fd00:10:244:1::", length: 128 },
  ]);
});

test("vxlan reaches an IPv4 peer by flannel's three entries, and a source address of its own", () => {
  assert.deepEqual(vxlan.peer(peer(4), nodeSide(4), defaults), {
    path: "vxlan",
    items: [
      { kind: "fdb", link: "flannel.1", mac: "02:00:00:00:00:02", dst: "192.0.2.2" },
      { kind: "neighbour", link: "flannel.1", ip: "10.244.2.0", mac: "02:00:00:00:00:02" },
      { kind: "route", dst: "10.244.2.0/24", to: { via: "10.244.2.0", link: "flannel.1", onlink: true }, src: "10.244.1.0" },
    ],
  });
});

test("vxlan reaches an IPv6 peer through a link-local gateway, which never moves to another device", () => {
  assert.deepEqual(vxlan.peer(peer(6), nodeSide(6), defaults), {
    path: "vxlan",
    items: [
      { kind: "fdb", link: "flannel-v6.1", mac: "02:00:00:00:00:02", dst: "2001:db8::2" },
      { kind: "neighbour", link: "flannel-v6.1", ip: "fe80::ff:fe00:2", mac: "02:00:00:00:00:02" },
      {
        kind: "route",
        dst: "fd00:10:244:2::/64",
        to: { via: "fe80::ff:fe00:2", link: "flannel-v6.1", onlink: true },
        src: "fd00:10:244:1::",
      },
    ],
  });
});

test("vxlan ignores that a peer is on-link, unless DirectRouting is on", () => {
  const onLink = nodeSide(4, (ip) => ip === "192.0.2.2" ? "eth1" : null);
  assert.equal(vxlan.peer(peer(4), onLink, defaults).path, "vxlan");
  const direct = optionsOf(vxlan, { directrouting: true });
  assert.deepEqual(vxlan.peer(peer(4), onLink, direct), {
    path: "direct",
    items: [{ kind: "route", dst: "10.244.2.0/24", to: { via: "192.0.2.2", link: "eth1", onlink: false }, src: "10.244.1.0" }],
  });
  assert.equal(vxlan.peer({ ...peer(4), publicIp: parseIp("192.0.2.3") }, onLink, direct).path, "vxlan");
});

test("vxlan leaves 50 bytes over IPv4 and 70 over IPv6, and takes the larger for both", () => {
  assert.equal(vxlan.mtu(1500, [4], defaults), 1450);
  assert.equal(vxlan.mtu(1500, [6], defaults), 1430);
  assert.equal(vxlan.mtu(1500, [4, 6], defaults), 1430);
  assert.equal(vxlan.mtu(9000, [4], optionsOf(vxlan, { MTU: 1400 })), 1350);
});

test("vxlan refuses options that flannel's format does not allow, and names the option", () => {
  const wrong: readonly (readonly [Record<string, unknown>, RegExp])[] = [
    [{ VNI: -1 }, /^VNI: /],
    [{ VNI: 16777216 }, /^VNI: .* <=16777215 but received 16777216/],
    [{ VNI: "1" }, /^VNI: /],
    [{ VNI: 1.5 }, /^VNI: /],
    [{ Port: 65536 }, /^Port: /],
    [{ MTU: -1 }, /^MTU: /],
    [{ GBP: "yes" }, /^GBP: /],
    [{ DirectRouting: 1 }, /^DirectRouting: /],
  ];
  for (const [options, message] of wrong) assert.throws(() => optionsOf(vxlan, options), { message }, JSON.stringify(options));
});

test("a peer's data must hold a unicast MAC address; the VNI is not looked at, and other keys do no harm", () => {
  const good = [{ VtepMAC: "02:00:00:00:00:02" }, { VNI: 7, VtepMAC: "02-00-00-00-00-02" }, {
    VNI: "x",
    VtepMAC: "02:00:00:00:00:02",
    a: 1,
  }];
  for (const value of good) {
    const checked = leaseDataOf(vxlan, value);
    assert.equal("value" in checked && checked.value.VtepMAC, "02:00:00:00:00:02", JSON.stringify(value));
  }
  const bad = [null, undefined, "x", 1, [], {}, { VtepMAC: null }, { VtepMAC: 1 }, { VtepMAC: "" }, {
    vtepmac: "02:00:00:00:00:02",
  }];
  const macs = ["ff:ff:ff:ff:ff:ff", "01:00:5e:00:00:01", "00:00:00:00:00:00", "02:00:00:00:00:02:03:04", "02:00:00:00:00"];
  for (const value of [...bad, ...macs.map((VtepMAC) => ({ VtepMAC }))]) {
    assert.ok("issue" in leaseDataOf(vxlan, value), JSON.stringify(value));
  }
});

test("a node's earlier MAC address is read from its own lease, and a broken one is not", () => {
  const asked: (string | undefined)[] = [];
  const side = (data: unknown) => ({
    ...nodeSide(4),
    macFor: (_link: string, before?: (data: unknown) => string | undefined) => {
      asked.push(before?.(data));
      return parseMac("02:00:00:00:04:01");
    },
  });
  vxlan.publish(side({ VtepMAC: "02-AA-00-00-00-02" }), defaults);
  vxlan.publish(side({ VtepMAC: "ff:ff:ff:ff:ff:ff" }), defaults);
  vxlan.publish(side(null), defaults);
  assert.deepEqual(asked, ["02:aa:00:00:00:02", undefined, undefined]);
});

test("vxlan gives devices shorter names where flannel's would be longer than Linux allows", () => {
  assert.deepEqual(vxlan.links(optionsOf(vxlan, { VNI: 9999 })), ["flannel.9999", "flannel-v6.9999"]);
  assert.deepEqual(vxlan.links(optionsOf(vxlan, { VNI: 10000 })), ["flannel.10000", "fl6.10000"]);
  assert.deepEqual(vxlan.links(optionsOf(vxlan, { VNI: 16777215 })), ["fl4.16777215", "fl6.16777215"]);
});

test("vxlan publishes what flannel publishes", () => {
  assert.equal(JSON.stringify(vxlan.publish(nodeSide(4), defaults)), '{"VNI":1,"VtepMAC":"02:00:00:00:04:01"}');
  assert.deepEqual(vxlan.links(optionsOf(vxlan, { VNI: 7 })), ["flannel.7", "flannel-v6.7"]);
});
