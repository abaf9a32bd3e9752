/**
 * Three agents with `--kube-subnet-mgr` and a real API server, run as the walk-through's pods are: what they publish, what they do about
 * changes of Nodes, and that nothing is lost while the API server is away. Each case goes on where the one before it ended.
 *
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { named } from "../contracts/kubernetes_backing.ts";
import type { Agent } from "../lab/agent.ts";
import { until } from "../lab/command.ts";
import { insideLab } from "../lab/enter.ts";
import type { Node } from "../lab/node.ts";
import type { Pinger } from "../lab/ping.ts";
import { ANY_ETCD, KUBE_APISERVER, lackOf } from "./kubernetes_binaries.ts";
import { KubernetesCluster, podCidrsOf } from "./kubernetes_cluster.ts";
import type { KubernetesServer } from "./kubernetes_server.ts";

const skip = insideLab() ? lackOf(KUBE_APISERVER, ANY_ETCD) : "needs the lab: bun test/lab/run.ts FILE";
const DIRECTROUTING = { backend: "directrouting" };
/** From the API server's return until all is in sync, in milliseconds: five seconds and the longest pause between two attempts. */
const BACK = 9_000;
const [MANAGER] = Object.keys(named({ "kube-subnet-manager": "" })) as [string];

/** What a strange agent publishes of a node. */
const STRANGE = named({
  "kube-subnet-manager": "true",
  "backend-type": "vxlan",
  "backend-data": '{"VtepMAC":"0a:00:00:00:00:09"}',
  "public-ip": "192.168.77.9",
  "public-ipv6": "fd77::9",
  "backend-v6-data": '{"VtepMAC":"0a:00:00:00:00:69"}',
});

/** Waits until the network of a Node is said to be available. */
async function available(server: KubernetesServer, name: string): Promise<void> {
  await until(`the network of ${name} is available`, async () => {
    const { status } = await server.node(name);
    const condition = status?.conditions?.find(({ type }) => type === "NetworkUnavailable");
    return condition?.["status"] === "False" && condition["reason"] === "FlannelIsUp";
  }, { timeout: 20_000 });
}

/** Waits until a node has this route, or none for `null`. @returns How long that took, in milliseconds. */
async function routed(node: Node, subnet: string, expected: RegExp | null, timeout = 20_000): Promise<number> {
  const start = performance.now();
  let seen = "";
  await until(`${node.name} has for ${subnet} the route ${expected}`, async () => {
    seen = await node.exec(["ip", "route", "show", subnet]);
    return expected === null ? seen === "" : expected.test(seen);
  }, { timeout, state: () => `It has: ${seen}` });
  return performance.now() - start;
}

async function mac(node: Node, device: string): Promise<string> {
  return (await node.json(["ip", "-j", "link", "show", device]))[0].address;
}

describe("agents with --kube-subnet-mgr", { skip }, () => {
  let cluster: KubernetesCluster;
  let server: KubernetesServer;
  let [a1, a2]: Node[] = [];
  const agents: Agent[] = [];
  const pingers: Pinger[] = [];

  before(async () => {
    if (skip) return;
    cluster = await KubernetesCluster.create({ ipv6: true });
    ({ server } = cluster);
    [a1, a2] = cluster.lab.nodes;
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  async function allInSync(): Promise<void> {
    for (const agent of agents) await agent.inSync(2, 20_000);
    for (const agent of agents) await agent.ready(20_000);
  }

  test("an agent that nobody tells its node ends with code 1, and says what to give", async () => {
    const cases = [["", /by which Kubernetes knows it: give --node-name or NODE_NAME/], [
      "nobody",
      /pod "kube-system\/nobody" does not exist/,
    ]];
    for (const [pod, expected] of cases as [string, RegExp][]) {
      await using agent = cluster.agent(a1!, { env: { POD_NAME: pod } });
      assert.equal(await agent.exited, 1, agent.log());
      assert.match(agent.tail(1), expected);
    }
  });

  test("before the API server answers, health does, and says what is waited for", async () => {
    await server.stopApi();
    for (const node of cluster.lab.nodes) {
      const agent = cluster.agent(node, DIRECTROUTING);
      agents.push(agent);
      await agent.until("answers", async () => (await agent.get("/healthz")).code === 200);
    }
    const [agent] = agents as [Agent];
    await agent.until("says why it waits", async () => {
      const { code, body } = await agent.get("/readyz");
      return code === 503 && /no lease has been taken yet: Cannot reach the API server/.test(body);
    });
    assert.equal((await agent.status()).node, null);
    await server.startApi();
    await allInSync();
    const { node, store, lease } = await agent.status();
    assert.equal(node, a1!.address);
    assert.deepEqual(store, { kind: "kubernetes", connected: true, lastError: null, note: null });
    assert.equal(lease.expiresAt, null);
  });

  test("Nodes say what flannel's agents say, and subnet.env names their pod subnets", async () => {
    for (const [i, node] of cluster.lab.nodes.entries()) {
      await available(server, node.address);
      const { annotations } = (await server.node(node.address)).metadata;
      assert.deepEqual(
        annotations,
        named({
          "kube-subnet-manager": "true",
          "backend-type": "vxlan",
          "backend-data": JSON.stringify({ VNI: 1, VtepMAC: await mac(node, "flannel.1") }),
          "backend-v6-data": JSON.stringify({ VNI: 1, VtepMAC: await mac(node, "flannel-v6.1") }),
          "public-ip": node.address,
          "public-ipv6": node.address6,
        }),
      );
      const { FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET } = node.subnetEnv();
      const [v4, v6] = podCidrsOf(i + 1);
      assert.deepEqual([FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET], [v4!.replace(".0/", ".1/"), v6!.replace("::/", "::1/")]);
    }
  });

  test("an agent's own Node that loses the manager's annotation, or is made again, is published again", async () => {
    await server.annotate(a2!.address, { [MANAGER]: null });
    await until("the annotation is back", async () => (await server.node(a2!.address)).metadata.annotations?.[MANAGER] === "true");
    await server.deleteNode(a2!.address);
    await server.makeNode(a2!.address, podCidrsOf(2));
    await available(server, a2!.address);
    await allInSync();
  });

  test("a Node that comes, changes, is made again, is not managed any more and goes is followed", async () => {
    const pods = [];
    for (const node of cluster.lab.nodes) pods.push(await node.addPod());
    for (const from of pods) {
      for (const to of pods.filter((pod) => pod !== from)) {
        for (const family of [4, 6] as const) pingers.push(await from.pinger(to.addressOf(family)));
      }
    }
    await server.makeNode("strange", podCidrsOf(9), STRANGE);
    await routed(a1!, "10.244.9.0/24", /via 10\.244\.9\.0 dev flannel\.1 .*onlink/);
    await server.annotate("strange", named({ "public-ip": "192.168.10.9" }));
    await routed(a1!, "10.244.9.0/24", /via 192\.168\.10\.9 dev eth0/);
    await server.deleteNode("strange");
    await server.makeNode("strange", podCidrsOf(10), STRANGE);
    await routed(a1!, "10.244.10.0/24", /dev flannel\.1/);
    await routed(a1!, "10.244.9.0/24", null);
    await server.annotate("strange", { [MANAGER]: null });
    await routed(a1!, "10.244.10.0/24", null);
    await server.annotate("strange", { [MANAGER]: "true" });
    await routed(a1!, "10.244.10.0/24", /dev flannel\.1/);
    await server.deleteNode("strange");
    await routed(a1!, "10.244.10.0/24", null);
  });

  test("an API server that goes away and comes back loses no packet, and what changed is known soon", async () => {
    await server.stopApi();
    for (const agent of agents) {
      await agent.until("notices", async () => {
        const { ready, store } = await agent.status();
        return ready && !store.connected && /Cannot reach the API server/.test(store.lastError ?? "");
      }, 20_000);
    }
    await agents[2]!.stop("SIGKILL");
    agents[2] = cluster.agent(cluster.lab.nodes[2]!, DIRECTROUTING);
    await server.startApi();
    await server.makeNode("strange", podCidrsOf(9), STRANGE);
    for (const node of cluster.lab.nodes) {
      const took = await routed(node, "10.244.9.0/24", /dev flannel\.1/, BACK);
      assert.ok(took < BACK, `in sync ${Math.round(took)} ms after the server was ready`);
    }
    for (const agent of agents) await agent.ready();
    const results = await Promise.all(pingers.map((pinger) => pinger.stop()));
    assert.deepEqual(results.filter(({ lost }) => lost > 0), []);
  });
});
