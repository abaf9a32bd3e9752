import { test } from "node:test";
import assert from "node:assert/strict";
import { rowOf } from "../model/report.ts";
import { statusBody } from "./body.ts";
import { A1, STARTING } from "./testing.ts";
import { renderPeers, renderStatus } from "./text.ts";

test("renderStatus() shows a node that is ready as an aligned table", () => {
  assert.equal(
    renderStatus(statusBody(A1)),
    `Node a1 (Weft 0.1.0) is ready
backend    directrouting
network    10.244.0.0/16
lease      10.244.1.0/24
expires    2026-01-01T00:00:00Z
public     192.168.10.1
link       eth0, 192.168.10.1, mtu 1500
pod mtu    1450
store      etcd, connected
peers      2: 1 direct, 1 vxlan, 0 pending, 0 rejected
kernel     5 items, 0 pending, 0 repairs
in sync    2026-01-01T00:00:00Z
rp_filter  eth0 loose
`,
  );
});

test("peers are counted by the ways that backends name; an older agent's two are shown too", () => {
  const peers = { total: 3, direct: 1, vxlan: 0, paths: { direct: 1, wireguard: 2 }, pending: 0, rejected: 0 };
  assert.match(renderStatus({ peers }), /^peers +3: 1 direct, 2 wireguard, 0 pending, 0 rejected$/m);
  assert.match(renderStatus({ peers: { ...peers, paths: undefined } }), /^peers +3: 1 direct, 0 vxlan, 0 pending, 0 rejected$/m);
});

test("renderStatus() gives reason, store error, note, problems and their remedies, and a dash for what is unknown", () => {
  const problem = { what: "eth0 filters strictly", why: "EROFS: read-only", remedy: "sysctl -w net.ipv4.conf.eth0.rp_filter=2" };
  const report = {
    ...STARTING,
    store: { ...STARTING.store, note: "leases are shared only by agents that open /l.db" },
    problems: [problem, { ...problem, remedy: null }],
  };
  const text = renderStatus(statusBody(report));
  for (
    const part of [
      "Node a1 (Weft 0.1.0) is not ready: no lease yet: etcd does not answer; subnet.env",
      "\nstore    etcd, not connected: connect ECONNREFUSED 127.0.0.1:2379\n         leases are shared only by agents that open /l.db\n",
      "\nlease    -\n",
      "\n\nproblem  eth0 filters strictly\nbecause  EROFS: read-only\nremedy   sysctl -w net.ipv4.conf.eth0.rp_filter=2\n",
    ]
  ) assert.ok(text.includes(part), `${part} in ${text}`);
  assert.equal(text.match(/^remedy/gm)?.length, 1);
});

test("renderStatus() shows both families", () => {
  const body = { lease: { subnet: "10.244.1.0/24", ipv6Subnet: "fd00:1::/64" }, network: { ipv4: null, ipv6: "fd00::/48" } };
  assert.ok(renderStatus(body).includes("\nnetwork  fd00::/48\nlease    10.244.1.0/24, fd00:1::/64\n"));
});

test("renderStatus() and renderPeers() take JSON of any shape", () => {
  for (const body of [null, 7, "x", [], {}, { lease: 1, peers: [], problems: {}, reversePath: [null, 3], store: "etcd" }]) {
    assert.match(renderStatus(body), /^Node - \(Weft -\) is not ready: -$/m);
  }
  assert.match(
    renderStatus(JSON.parse('{"node":{"toString":1},"__proto__":{"version":"9"}}')),
    /^Node \{"toString":1\} \(Weft -\)/,
  );
  assert.equal(renderPeers([null, {}]).split("\n").filter((line) => /^- +- +- +- +- +-$/.test(line)).length, 2);
  assert.throws(() => renderPeers({ error: "x" }), { name: "SyntaxError", message: /is not a list/ });
  assert.equal(renderPeers([]), "There are no peers.\n");
});

test("renderPeers() aligns columns and explains only the states that occur", () => {
  const waiting = {
    ...rowOf(A1.peers[0]!),
    path: "none",
    state: "pending",
    reason: "not on the segment of eth0",
    publicIPv6: "2001:db8::2",
  };
  assert.equal(
    renderPeers([rowOf(A1.peers[1]!), waiting]),
    `SUBNET         PUBLIC IP                  TYPE   PATH   STATE    REASON
10.244.3.0/24  192.168.10.3               vxlan  vxlan  in-sync  -
10.244.2.0/24  192.168.10.2, 2001:db8::2  vxlan  none   pending  not on the segment of eth0

pending  waits for its reason to end; it is looked at again by itself
`,
  );
  assert.doesNotMatch(renderPeers([rowOf(A1.peers[1]!)]), /\n\n/);
});

test("texts of other nodes can neither steer a terminal, nor forge a line, nor widen the table without end", () => {
  const evil = "a\x1b[2J\x9b31m\u202e\u200b\r\n10.9.9.0/24\tb\0";
  const text = renderPeers([{ subnet: evil, reason: evil, state: evil, backendType: "t".repeat(1e6) }]);
  assert.doesNotMatch(text.replaceAll("\n", ""), /\p{C}/u);
  assert.equal(text.split("\n").length, 3);
  assert.ok(text.length < 3000, `${text.length} characters`);
  assert.doesNotMatch(renderStatus({ node: evil, reason: evil, problems: [{ remedy: evil }] }).replaceAll("\n", ""), /\p{C}/u);
});
