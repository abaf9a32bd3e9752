/**
 * Weft and a real flanneld on one etcd: each sees the other's lease, and their pods reach each other.
 *
 * `FLANNELD` names the program, of v0.18 or later.
 *
 * @module
 */

import assert from "node:assert/strict";
import process from "node:process";
import { ETCD, ETCDCTL, type Found, lackOf } from "../e2e/binaries.ts";
import { EtcdCluster } from "../e2e/etcd_cluster.ts";
import { labTest } from "./case.ts";
import { until } from "./command.ts";
import { Lab } from "./lab.ts";
import type { Node } from "./node.ts";
import { joinOutside, leaveOutside, OUTSIDE } from "./outside.ts";
import { shipped } from "./plugins.ts";

const { FLANNELD: named } = process.env;
const FLANNELD: Found = named ? { path: named } : { lack: "needs a flanneld of v0.18 or later: name one in FLANNELD" };
const PREFIX = "/coreos.com/network";

async function pings(from: Node, to: Node): Promise<void> {
  const [pod, target] = [await from.addPod(), await to.addPod()];
  await until(`a pod of ${from.name} reaches one of ${to.name}`, async () => (await pod.ping(target.address)).received > 0);
  const { lost, sent } = await pod.ping(target.address, { count: 50 });
  assert.deepEqual([sent, lost], [50, 0]);
}

/** Backends of Weft, and the configuration that both read. */
const CASES: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  vxlan: { Type: "vxlan" },
  directrouting: { Type: "vxlan" },
  "host-gw": { Type: "host-gw" },
  extension: {
    Type: "extension",
    PreStartupCommand: "echo 00:00:00:00:00:00",
    SubnetAddCommand: "ip route replace $SUBNET via $PUBLIC_IP",
    SubnetRemoveCommand: "ip route del $SUBNET via $PUBLIC_IP",
  },
};

for (const [backend, config] of Object.entries(CASES)) {
  labTest(`Weft with ${backend} and flanneld share one etcd`, async () => {
    await using lab = await Lab.create({ segments: { A: ["a1", "a2"] } });
    await joinOutside(lab);
    await using etcd = await EtcdCluster.start({ etcd: ETCD, ip: OUTSIDE });
    await etcd.put(`${PREFIX}/config`, JSON.stringify({ Network: "10.244.0.0/16", Backend: config }));
    const [weft, flannel] = [lab.node("a1"), lab.node("a2")];
    const endpoints = `--etcd-endpoints=${etcd.endpoints.join(",")}`;
    const agent = weft.agent({ backend, store: "none", args: [endpoints, ...(backend === "extension" ? [shipped(backend)] : [])] });
    await agent.ready();
    const daemon = flannel.spawn(
      ["path" in FLANNELD ? FLANNELD.path : "", endpoints, `--subnet-file=${flannel.subnetFile}`, "--iface=eth0"],
      { log: "flanneld" },
    );
    const subnet = await until("flanneld has a lease", () => flannel.subnetEnv()["FLANNEL_SUBNET"], { state: () => daemon.tail() });
    await agent.inSync(1);
    assert.equal((await agent.peers())[0]!.subnet, subnet.replace(/\.1\//, ".0/"));
    await pings(weft, flannel);
    await pings(flannel, weft);
    const values = (await etcd.ctl(["get", "--prefix", "--print-value-only", `${PREFIX}/subnets/`])).trim().split("\n");
    const shape = (value: string) => value.replace(/[0-9a-f]{2}(:[0-9a-f]{2}){5}/, "MAC").replace(/192\.168\.10\.\d/, "IP");
    assert.equal(shape(values[0]!), shape(values[1]!), "what both write has one form");
    await leaveOutside();
  }, lackOf(ETCD, ETCDCTL, FLANNELD) || null);
}
