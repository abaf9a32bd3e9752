import { test } from "node:test";
import assert from "node:assert/strict";
import { parseCidr, parseIp } from "./ip.ts";
import { countPeers, PEER_STATES, type PeerReport, type PeerSide, reasonNotReady, rowOf, stateOf } from "./report.ts";

const v4: PeerSide = {
  subnet: parseCidr("10.244.2.0/24"),
  publicIp: parseIp("192.0.2.2"),
  path: "direct",
  state: "in-sync",
  reason: null,
};
const v6: PeerSide = { ...v4, subnet: parseCidr("fd00:2::/64"), publicIp: parseIp("2001:db8::2") };
const peer = (...sides: PeerSide[]): PeerReport => ({ key: "k", backendType: "vxlan", sides, unreadable: null });

test("rowOf() gives a peer of one family nulls for the other", () => {
  assert.deepEqual(rowOf(peer(v4)), {
    subnet: "10.244.2.0/24",
    ipv6Subnet: null,
    publicIP: "192.0.2.2",
    publicIPv6: null,
    backendType: "vxlan",
    path: "direct",
    state: "in-sync",
    reason: null,
  });
  assert.deepEqual([rowOf(peer(v6)).subnet, rowOf(peer(v6)).ipv6Subnet], [null, "fd00:2::/64"]);
});

test("rowOf() shows both ways, IPv4 first, whatever the order of the families", () => {
  assert.equal(rowOf(peer(v4, v6)).path, "direct");
  assert.equal(rowOf(peer({ ...v6, path: "vxlan" }, v4)).path, "direct+vxlan");
  assert.equal(rowOf(peer({ ...v4, path: "none" }, { ...v6, path: "vxlan" })).path, "vxlan");
  assert.equal(rowOf(peer({ ...v4, path: "none" }, { ...v6, path: "none" })).path, "none");
});

test("rowOf() names the family of a reason only where the families differ", () => {
  const waits = { state: "pending", reason: "not on the segment of eth0" } as const;
  const broken = { state: "failed", reason: "ENETDOWN" } as const;
  assert.equal(rowOf(peer({ ...v4, ...waits })).reason, waits.reason);
  assert.equal(rowOf(peer({ ...v4, ...waits }, { ...v6, ...waits })).reason, waits.reason);
  assert.equal(rowOf(peer(v4, { ...v6, ...waits })).reason, `IPv6: ${waits.reason}`);
  assert.equal(rowOf(peer({ ...v4, ...broken }, { ...v6, ...waits })).reason, `IPv4: ENETDOWN; IPv6: ${waits.reason}`);
});

test("rowOf() names a lease that could not be read by its key, quoted", () => {
  const row = rowOf({ key: 'a"\n', backendType: null, sides: [], unreadable: "PublicIP is missing" });
  assert.deepEqual([row.state, row.path, row.subnet, row.reason], [
    "rejected",
    "none",
    null,
    'lease "a\\"\\n": PublicIP is missing',
  ]);
});

test("stateOf() is the worst of the families", () => {
  for (const [a, first] of PEER_STATES.entries()) {
    for (const [b, second] of PEER_STATES.entries()) {
      assert.equal(stateOf(peer({ ...v4, state: first }, { ...v6, state: second })), PEER_STATES[Math.max(a, b)]);
    }
  }
});

test("countPeers() counts only peers in sync by their way, and failed ones as pending", () => {
  const counts = countPeers([
    peer(v4),
    peer({ ...v4, path: "vxlan" }),
    peer(v4, { ...v6, path: "vxlan" }),
    peer({ ...v4, path: "host-gw" }),
    peer({ ...v4, state: "pending", reason: "x" }),
    peer({ ...v4, state: "failed", reason: "x" }, v6),
    { key: "bad", backendType: null, sides: [], unreadable: "x" },
  ]);
  assert.deepEqual(counts, {
    total: 7,
    direct: 2,
    vxlan: 2,
    paths: { direct: 2, "host-gw": 1, vxlan: 2 },
    pending: 2,
    rejected: 1,
  });
});

test("reasonNotReady() names every condition that does not hold", () => {
  const met = { lease: null, subnetEnv: null, traffic: null, kernel: null };
  assert.equal(reasonNotReady(met), null);
  assert.equal(reasonNotReady({ ...met, subnetEnv: "no file" }), "no file");
  assert.equal(reasonNotReady({ ...met, kernel: "first list not read", lease: "none" }), "none; first list not read");
});
