/**
 * The manifests on a real cluster, with the image of the Containerfile: three nodes on two segments, pods that ping each other.
 *
 * One cluster for all cases, which follow each other as in a cluster's life. Packets go between running pods all the while, 100 a
 * second from one node to the others, so each case also shows that it loses none.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { after, before, describe, test } from "node:test";
import { ROOT } from "../../scripts/needs.mjs";
import { until } from "../lab/command.ts";
import { Cluster, clusterLack } from "./cluster.ts";
import { rightsOf } from "./rights.ts";

const skip = clusterLack();
const MANIFEST = readFileSync(join(ROOT, "deploy/weft.yaml"), "utf8");
const FROM = "a1-0";
const TO = ["a2-0", "b1-0"];
/** What `trial` of cluster.py found. */
interface Trial {
  readonly nodes_ready: number;
  readonly pods: number;
  readonly pairs: number;
  readonly lost: number;
}

interface Memory {
  readonly container: Readonly<Record<string, { readonly peak: number; readonly limit: number | null }>>;
}

interface Pod {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: { readonly containerStatuses?: readonly { readonly restartCount: number; readonly ready: boolean }[] };
}

describe("a cluster of three nodes", { skip }, () => {
  let cluster: Cluster;
  let sent = 0;
  before(async () => {
    if (!skip) cluster = await Cluster.start();
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  const manifest = (name: string) => readFileSync(resolve(import.meta.dirname!, "manifests", name), "utf8");
  const podsOf = (namespace: string) => cluster.get<Pod[]>("pods", "-n", namespace);

  /** Deploys a manifest and waits until its agents are ready. */
  async function deploy(text: string, namespace: string, name: string): Promise<void> {
    await cluster.ask("apply", [text]);
    await cluster.ask("daemonset_ready", [namespace, name]);
  }

  /** Deletes a DaemonSet and waits until its pods are gone. */
  async function remove(namespace: string, name: string): Promise<void> {
    await cluster.kubectl("delete", "daemonset", "-n", namespace, name, "--cascade=foreground");
    assert.deepEqual(await podsOf(namespace), []);
  }

  /** Sends packets to the pods for as long as the cluster lives. */
  async function startPackets(): Promise<void> {
    const pods = await cluster.ask<Record<string, string>>("pods_ready", [TO]);
    const send = Object.values(pods).map((address) => `(ping -n -i 0.01 ${address} > /dev/null 2>&1 &)`);
    await cluster.inPod(FROM, send.join("; "));
  }

  /**
   * How many packets were lost so far; there must be new ones. The pod's kernel counts them: on a busy machine ping itself may end
   * before it has read all answers. Those under way are answered in no time, so the least difference of some looks is what is lost.
   */
  async function lostPackets(): Promise<number> {
    const before = sent;
    let lost = Infinity;
    for (let looks = 0; looks < 20 && lost !== 0; looks++) {
      const [names, values] = (await cluster.inPod(FROM, "grep ^Icmp: /proc/net/snmp")).split("\n").map((line) => line.split(" "));
      const count = (name: string) => Number(values![names!.indexOf(name)]);
      sent = count("OutEchos");
      lost = Math.min(lost, sent - count("InEchoReps"));
    }
    assert(sent > before + 100, `${sent} packets after ${before}`);
    return lost;
  }

  /** New pods on two nodes reach each other. */
  async function newPodsWork(suffix: string): Promise<void> {
    const names = [`a1-${suffix}`, `b1-${suffix}`];
    for (const name of names) await cluster.ask("pod", [name, name.split("-")[0]]);
    const addresses = await cluster.ask<Record<string, string>>("pods_ready", [names]);
    assert.deepEqual(await cluster.ask("ping", [names[0], [addresses[names[1]!]]]), { [addresses[names[1]!]!]: 0 });
  }

  /** No container of an agent was started again, none came over its limit. */
  async function withinLimits(namespace: string, limit: number | null): Promise<void> {
    const pods = await podsOf(namespace);
    assert.deepEqual(pods.map(({ status }) => status.containerStatuses!.map((it) => it.restartCount)), [[0], [0], [0]]);
    const { container } = await cluster.ask<Memory>("memory");
    const names = pods.map(({ metadata }) => metadata.name);
    const agents = Object.entries(container).filter(([name]) => names.includes(name.split("/")[0]!));
    assert.deepEqual(agents.map(([, it]) => it.limit), [limit, limit, limit]);
    for (const [name, { peak }] of agents) assert(peak < 50, `${name} took ${peak} MiB`);
  }

  test("deploy/weft.yaml: agents and nodes get ready, all pods ping each other, inside 100m and 50Mi", async () => {
    const trial = await cluster.ask<Trial>("trial", [MANIFEST, "kube-weft/weft"]);
    assert.deepEqual([trial.nodes_ready, trial.pods, trial.pairs, trial.lost], [3, 6, 30, 0]);
    await withinLimits("kube-weft", 50);
    await startPackets();
  });

  test("a rollout of a changed DaemonSet loses no packet", async () => {
    const before = (await podsOf("kube-weft")).map(({ metadata }) => metadata.name);
    const patch = { spec: { template: { metadata: { annotations: { changed: "yes" } } } } };
    await cluster.kubectl("patch", "daemonset", "-n", "kube-weft", "weft", "--patch", JSON.stringify(patch));
    await cluster.ask("kubectl", ["rollout", "status", "-n", "kube-weft", "daemonset/weft"], { timeout: 120 });
    const pods = await podsOf("kube-weft");
    assert.equal(pods.filter(({ metadata }) => !before.includes(metadata.name)).length, 3);
    assert.equal(await lostPackets(), 0);
    await withinLimits("kube-weft", 50);
  });

  test("the rights of deploy/weft.yaml are those that agents make use of, and enough", () => {
    const asked = cluster.audited("kube-weft:weft").filter(({ objectRef }) => objectRef !== undefined);
    assert.deepEqual(asked.filter(({ responseStatus }) => responseStatus?.code === 403), []);
    const used = asked.map(({ verb, objectRef }) => [objectRef!.resource, objectRef!.subresource, verb].filter(Boolean).join("/"));
    assert.deepEqual([...new Set(used)].sort(), rightsOf(MANIFEST));
  });

  test("deleting the DaemonSet loses no packet of running pods", async () => {
    await remove("kube-weft", "weft");
    assert.equal(await lostPackets(), 0);
  });

  test("flannel's manifest with the image's name swapped works, and takes over without a lost packet", async () => {
    await deploy(manifest("flannel.yaml"), "kube-flannel", "kube-flannel-ds");
    await newPodsWork("flannel");
    await withinLimits("kube-flannel", null);
    assert.equal(await lostPackets(), 0);
  });

  test("nodes go from flannel's manifest to Weft's and back by a label, as docs/upgrade-from-flannel.md says", async () => {
    const expressions = [{ key: "kubernetes.io/os", operator: "In", values: ["linux"] }, { key: "weft", operator: "DoesNotExist" }];
    const required = { nodeSelectorTerms: [{ matchExpressions: expressions }] };
    const affinity = { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: required } };
    const patch = { spec: { updateStrategy: { type: "OnDelete", rollingUpdate: null }, template: { spec: { affinity } } } };
    await cluster.kubectl("patch", "daemonset", "-n", "kube-flannel", "kube-flannel-ds", "--patch", JSON.stringify(patch));
    await cluster.ask("apply", [MANIFEST.replace("kubernetes.io/os: linux", '$&\n        weft: "yes"')]);
    for (const [node, value] of [["b1", "=yes"], ["b1", "-"]] as const) {
      await cluster.kubectl("label", "node", node, `weft${value}`);
      const namespace = value === "-" ? "kube-flannel" : "kube-weft";
      await until(`${node} has an agent of ${namespace}`, async () => {
        const pods = await podsOf(namespace);
        return pods.some(({ spec, status }) => spec.nodeName === node && status.containerStatuses?.[0]?.ready === true);
      }, { timeout: 60_000, every: 300 });
    }
    assert.equal(await lostPackets(), 0);
    for (const [namespace, name] of [["kube-weft", "weft"], ["kube-flannel", "kube-flannel-ds"]] as const) {
      await remove(namespace, name);
    }
  });

  test("the walk-through's manifest with the image's name swapped works, and takes over without a lost packet", async () => {
    await deploy(manifest("walkthrough.yaml"), "kube-system", "kube-flannel-ds");
    await newPodsWork("walkthrough");
    await withinLimits("kube-system", 50);
    await remove("kube-system", "kube-flannel-ds");
    assert.equal(await lostPackets(), 0);
  });

  test("a backend of the ConfigMap weft-backends runs, inside the limits", async () => {
    const mine = readFileSync(join(ROOT, "backends/alloc.ts"), "utf8").replace('name: "alloc"', 'name: "mine"');
    const metadata = { name: "weft-backends", namespace: "kube-weft" };
    await cluster.ask("apply", [{ apiVersion: "v1", kind: "ConfigMap", metadata, data: { "mine.ts": mine } }]);
    await deploy(MANIFEST.replace("- --ip-masq", "$&\n            - --backend=mine"), "kube-weft", "weft");
    await withinLimits("kube-weft", 50);
    const [pod] = await podsOf("kube-weft");
    const status = await cluster.kubectl("exec", "-n", "kube-weft", pod!.metadata.name, "--", "agent", "status", "--json");
    assert.equal((JSON.parse(status) as { backend: string }).backend, "mine");
  });
});
