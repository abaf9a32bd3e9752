/**
 * Agents whose leases are in a real etcd, and what can happen to that: pods go on to reach each other, and all is told as soon as it is
 * back.
 *
 * @module
 */

import assert from "node:assert/strict";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { ETCD, ETCDCTL, type Found, lackOf } from "../e2e/binaries.ts";
import { EtcdCluster } from "../e2e/etcd_cluster.ts";
import { labTest, lacks } from "./case.ts";
import { Cluster, type Member, subnetOf } from "./cluster.ts";
import { until } from "./command.ts";
import { Lab } from "./lab.ts";
import { cutOutside, joinOutside, leaveOutside, OUTSIDE } from "./outside.ts";

const PREFIX = "/coreos.com/network";
const CONFIG = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';
const PAIRS = [["a1", "a2"], ["a1", "b1"], ["b1", "a2"]] as const;
/** How long outages last, in milliseconds; WEFT_OUTAGE=60000 is what an operator's minute is. */
const OUTAGE = Number(process.env["WEFT_OUTAGE"] ?? 1000);
/** From etcd's return until all agents know what has changed, in milliseconds. */
const BACK = 5000;

const lack = lackOf(ETCD, ETCDCTL) || await lacks(["iptables", "-t", "filter", "-S"]);

interface Bed extends AsyncDisposable {
  readonly cluster: Cluster;
  readonly etcd: EtcdCluster;
  readonly lab: Lab;
}

/** Three agents on an etcd outside of the lab. */
async function bed({ members = 1, etcd: found = ETCD }: { readonly members?: number; readonly etcd?: Found } = {}): Promise<Bed> {
  let etcd: EtcdCluster | null = null;
  try {
    const cluster = await Cluster.create({}, async (lab) => {
      await joinOutside(lab);
      etcd = await EtcdCluster.start({ etcd: found, members, ip: OUTSIDE });
      await etcd.put(`${PREFIX}/config`, CONFIG);
      return { backend: "directrouting", store: "none", args: [`--etcd-endpoints=${etcd.endpoints.join(",")}`] };
    });
    return {
      cluster,
      etcd: etcd!,
      lab: cluster.lab,
      async [Symbol.asyncDispose]() {
        await cluster[Symbol.asyncDispose]();
        await etcd![Symbol.asyncDispose]();
        await leaveOutside();
      },
    };
  } catch (error) {
    await (etcd as EtcdCluster | null)?.[Symbol.asyncDispose]();
    await leaveOutside();
    throw error;
  }
}

let changes = 0;

/** Another node comes, and all agents hear of it within the time that they have. @returns How long it took, in milliseconds. */
async function newsReach({ cluster, etcd }: Bed, since = performance.now()): Promise<number> {
  const number = ++changes;
  const subnet = `10.244.${200 + number}.0`;
  const mac = `0a:00:00:00:01:${number.toString(16).padStart(2, "0")}`;
  await etcd.put(
    `${PREFIX}/subnets/${subnet}-24`,
    `{"PublicIP":"192.168.50.${number}","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"${mac}"}}`,
  );
  for (const { agent } of cluster.members) {
    await agent.until(`has the peer ${subnet}`, async () => {
      const peer = (await agent.peers()).find((it) => it.subnet === `${subnet}/24`);
      return peer?.state === "in-sync";
    }, 30_000);
  }
  const took = performance.now() - since;
  assert.ok(took < BACK, `all agents were in sync only ${Math.round(took)} ms after etcd was back`);
  return took;
}

async function disconnected(members: readonly Member[]): Promise<void> {
  for (const { node, agent } of members) {
    await agent.until(`notices on ${node.name} that etcd is gone`, async () => !(await agent.status()).store.connected, 30_000);
    const { ready, store } = await agent.status();
    assert.equal(ready, true, "the lease is valid");
    assert.match(store.lastError!, /etcd/);
  }
}

/** Says what was seen, for who runs it at full length. */
function tell(what: string, took: number): void {
  if (process.env["WEFT_OUTAGE"] !== undefined) console.log(`${what}: all in sync after ${Math.round(took)} ms`);
}

labTest(
  "three agents share an etcd; stopped, restarted, compacted, and restored to an older state, it costs no packet",
  async () => {
    await using it = await bed();
    const { cluster, etcd } = it;
    await etcd.stop();
    etcd.copyState("aside"); // with all three leases
    await etcd.startAll();
    tell("first", await newsReach(it));
    await using traffic = await cluster.traffic(PAIRS, [4]);

    await etcd.stop();
    await disconnected(cluster.members);
    await sleep(OUTAGE);
    await etcd.startAll();
    tell("stopped and started", await newsReach(it));

    await etcd.put(`${PREFIX}/other`, "x");
    await etcd.compact();
    tell("compacted", await newsReach(it));
    await etcd.stop();
    await etcd.startAll();
    await etcd.put(`${PREFIX}/other`, "y");
    await etcd.compact();
    tell("restarted and compacted", await newsReach(it));

    await etcd.stop();
    etcd.copyState("back");
    await etcd.startAll();
    tell("restored", await newsReach(it));
    for (const { agent } of cluster.members) await agent.inSync(3, 20_000); // those that only the lost history had go a little later
    assert.deepEqual(await traffic.stop(), []);
  },
  lack || null,
);

labTest("the network to etcd is cut without a word, and heals: no packet is lost, and all are in sync at once", async () => {
  await using it = await bed();
  const { cluster, lab } = it;
  await using traffic = await cluster.traffic(PAIRS, [4]);
  await cutOutside(lab, true);
  await disconnected(cluster.members);
  await sleep(OUTAGE);
  const healed = performance.now();
  await cutOutside(lab, false);
  tell("cut and healed", await newsReach(it, healed));
  assert.deepEqual(await traffic.stop(), []);
}, lack || null);

labTest("of three members one is lost, then the one that leads, and a majority: what is left is used", async () => {
  await using it = await bed({ members: 3 });
  const { cluster, etcd } = it;
  await using traffic = await cluster.traffic(PAIRS, [4]);
  const leader = await etcd.leader();
  await etcd.stop(leader);
  await etcd.ready();
  tell("the leader lost", await newsReach(it));
  await etcd.start(leader);
  etcd.halt(true, (leader + 1) % 3); // its connections stay open
  tell("another one halted", await newsReach(it, performance.now() + 12_000)); // two probes must fail
  await etcd.stop((leader + 2) % 3);
  await disconnected(cluster.members); // one of three answers, without a leader
  etcd.halt(false, (leader + 1) % 3);
  await etcd.ready();
  tell("two of three again", await newsReach(it));
  assert.deepEqual(await traffic.stop(), []);
}, lack || null);

labTest("a lease that is lost is taken again, with the same subnet if that is free, else with another", async () => {
  await using it = await bed();
  const { cluster, etcd } = it;
  const a1 = cluster.on("a1");
  const before = subnetOf(a1);
  const key = `${PREFIX}/subnets/${before.replace("/", "-")}`;
  const own = async () => (await a1.agent.status()).lease.subnet;
  await etcd.delete(key);
  await a1.agent.until(
    "has its lease again",
    async () => /^\{"PublicIP":"192\.168\.10\.1"/.test(await etcd.ctl(["get", "--print-value-only", key])),
  );
  assert.equal(await own(), before);
  assert.match(a1.agent.log(), /The lease is lost: the store has no lease .*\n.*The new lease is /);

  const thief =
    '{"PublicIP":"192.168.10.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:07:07"}}';
  await etcd.put(key, thief);
  await a1.agent.until("has another subnet", async () => await own() !== before);
  await until("subnet.env names it", async () => subnetOf(a1) === await own());
  assert.equal((await etcd.ctl(["get", "--print-value-only", key])).trim(), thief, "the other's lease is left alone");
  for (const { node, agent } of cluster.members) {
    if (node.name === "a1") continue;
    await agent.until("knows both", async () => {
      const subnets = (await agent.peers()).map(({ subnet }) => String(subnet));
      return subnets.includes(before) && subnets.includes(String(await own()));
    });
  }
  const peers = await a1.agent.peers();
  assert.equal(peers.filter(({ state }) => state === "in-sync").length, 2);
  assert.match(
    peers.find(({ subnet }) => subnet === before)!.reason!,
    /holds this node's address/,
    "pods of the old subnet still run",
  );
}, lack || null);

labTest("two hosts that publish one address are noticed and named", async () => {
  await using it = await bed();
  const { cluster, etcd } = it;
  const a1 = cluster.on("a1");
  const key = `${PREFIX}/subnets/${subnetOf(a1).replace("/", "-")}`;
  await etcd.put(
    key,
    '{"PublicIP":"192.168.10.1","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"0a:00:00:00:09:09"}}',
    await etcd.grant(3600),
  );
  await a1.agent.until(
    "says so",
    async () => /Two hosts publish 192\.168\.10\.1: .*0a:00:00:00:09:09/.test((await a1.agent.status()).store.lastError ?? ""),
  );
  assert.match(a1.agent.log(), /warning .*Two hosts publish 192\.168\.10\.1/);
  await sleep(1000);
  assert.equal((a1.agent.log().match(/Two hosts/g) ?? []).length, 1, "they do not fight");
}, lack || null);

labTest("a configuration is waited for, an invalid one named, and a changed one taken up", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  await joinOutside(lab);
  await using etcd = await EtcdCluster.start({ etcd: ETCD, ip: OUTSIDE });
  const agent = lab.node("a1").agent({ store: "none", args: [`--etcd-endpoints=${etcd.endpoints.join(",")}`] });
  const notReady = (what: string, pattern: RegExp) =>
    agent.until(what, async () => {
      const { code, body } = await agent.get("/readyz");
      if (code === 503 && pattern.test(body)) return true;
      throw new Error(`/readyz: ${code} ${body}`);
    });
  await notReady("waits for its configuration", /There is no network configuration at \/coreos\.com\/network\/config in etcd/);
  assert.match((await agent.status()).store.lastError!, /no network configuration/);
  await etcd.put(`${PREFIX}/config`, '{"Network":"10.244.0.0/33"}');
  await notReady("names what is wrong", /\/coreos\.com\/network\/config.*Network.*10\.244\.0\.0\/33/);
  await etcd.put(`${PREFIX}/config`, '{"Network":"10.5.0.0/16"}');
  await agent.ready();
  assert.match(lab.node("a1").subnetEnv()["FLANNEL_SUBNET"]!, /^10\.5\./);
  await etcd.put(`${PREFIX}/config`, '{"Network":"10.6.0.0/16"}');
  await until("subnet.env names the new network", () => /^10\.6\./.test(lab.node("a1").subnetEnv()["FLANNEL_SUBNET"]!));
  await agent.ready();
  await leaveOutside();
}, lack || null);
