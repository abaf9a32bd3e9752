/**
 * One agent, a thousand good leases in etcd, and among them what an enemy may write there: only the enemy's are left out.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { ETCD, lackOf } from "../e2e/binaries.ts";
import { EtcdCluster } from "../e2e/etcd_cluster.ts";
import { labTest } from "./case.ts";
import { Lab } from "./lab.ts";
import { joinOutside, leaveOutside, OUTSIDE } from "./outside.ts";

const PREFIX = "/coreos.com/network";
const GOOD = 1000;

function lease(publicIp: string, mac = "0a:00:00:00:00:01"): string {
  return `{"PublicIP":"${publicIp}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`;
}

/** The good ones are 10.<64 + i / 256>.<i % 256>.0/24. */
function goodLease(i: number): [key: string, value: string] {
  const [high, low] = [i >> 8, i & 255];
  const mac = `02:00:00:00:${high.toString(16).padStart(2, "0")}:${low.toString(16).padStart(2, "0")}`;
  return [`${PREFIX}/subnets/10.${64 + high}.${low}.0-24`, lease(`172.16.${high}.${low + 1 & 255}`, mac)];
}

labTest("a malformed key and hostile leases among a thousand good ones harm only themselves", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  await joinOutside(lab);
  await using etcd = await EtcdCluster.start({ etcd: ETCD, ip: OUTSIDE });
  await etcd.put(`${PREFIX}/config`, '{"Network":"10.0.0.0/8","SubnetLen":24,"Backend":{"Type":"vxlan"}}');
  const agent = lab.node("a1").agent({ store: "none", args: [`--etcd-endpoints=${etcd.endpoints.join(",")}`] });
  await agent.ready();
  const own = (await agent.status()).lease.subnet!;
  await etcd.putAll(Array.from({ length: GOOD }, (_, i) => goodLease(i)));
  const addressInPods = "10.200.7.9";
  await lab.node("a1").ip(`addr add ${addressInPods}/32 dev lo`);

  /** Each with what its reason must say. */
  const hostile: readonly (readonly [key: string | Uint8Array, value: string, reason: RegExp])[] = [
    ["nonsense", lease("172.20.0.1"), /is not a subnet such as/],
    [Buffer.from([0xff, 0xfe, 0x0a]), lease("172.20.0.1"), /is not a subnet such as/],
    ["k".repeat(100_000), lease("172.20.0.1"), /is not a subnet such as/],
    ["10.0.0.0-8", lease("172.20.0.2"), /prefix length/],
    ["10.64.0.0-23", lease("172.20.0.3"), /prefix length/],
    [`${own.replace(/0\/24$/, "128")}-25`, lease("172.20.0.4"), /prefix length|own/],
    ["10.200.7.0-24", lease("172.20.0.5"), /this node's address 10\.200\.7\.9/],
    ["10.201.1.0-24", lease("224.0.0.9"), /224\.0\.0\.9/],
    ["10.201.2.0-24", lease("127.0.0.1"), /127\.0\.0\.1/],
    ["10.201.3.0-24", lease("192.168.10.1"), /this node's own/],
    ["10.201.4.0-24", lease("172.20.0.6", "0a:00:00:00:00:01:02:03"), /MAC/],
    ["10.201.5.0-24", `{"PublicIP":"172.20.0.7","BackendType":"vxlan","BackendData":"${"x".repeat(1_000_000)}"}`, /longer than/],
    ["10.201.6.0-24", "{", /not the JSON/],
    ["172.31.0.0-24", lease("172.20.0.8"), /not inside the network/],
  ];
  const prefix = Buffer.from(`${PREFIX}/subnets/`);
  for (const [key, value] of hostile) await etcd.put(Buffer.concat([prefix, Buffer.from(key as string)]), value);
  await etcd.putAll([goodLease(GOOD)]); // after them, so that a watch that stuck would be seen

  const peers = await agent.until("has all good leases in the kernel", async () => {
    const peers = await agent.peers();
    return peers.filter(({ state }) => state === "in-sync").length === GOOD + 1 && peers;
  }, 30_000);
  const rejected = peers.filter(({ state }) => state === "rejected");
  assert.deepEqual([peers.length, rejected.length], [GOOD + 1 + hostile.length, hostile.length], JSON.stringify(rejected));
  const reasons = rejected.map(({ reason }) => reason ?? "");
  for (const [key, , reason] of hostile) {
    assert.ok(reasons.some((it) => reason.test(it)), `${String(key).slice(0, 40)}: ${reason} is not among ${reasons.join("\n")}`);
  }
  const routes = (await lab.node("a1").exec(["ip", "route", "show", "proto", "87"])).trim().split("\n");
  assert.equal(routes.length, GOOD + 1);

  await agent.stop();
  const again = lab.node("a1").agent({ store: "none", args: [`--etcd-endpoints=${etcd.endpoints.join(",")}`] });
  // A lease with this node's own address looks like one that it had and did not give back: it is given up.
  await again.until("has the same from the list", async () => {
    const states = (await again.peers()).map(({ state }) => state);
    const count = (state: string) => states.filter((it) => it === state).length;
    return count("in-sync") === GOOD + 1 && count("rejected") === hostile.length - 1;
  }, 30_000);
  assert.equal((await again.status()).lease.subnet, own);
  await leaveOutside();
}, lackOf(ETCD) || null);
