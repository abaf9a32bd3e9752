/**
 * The whole agent in a large cluster of Kubernetes, in the limits of the walk-through's DaemonSet: 50 MiB of memory, a tenth of a CPU.
 *
 * ```sh
 * bun test/lab/run.ts bench/kubernetes_agent.ts [--nodes N] [--kilobytes K] [--outage SECONDS]
 * ```
 *
 * A real kube-apiserver holds the nodes. One agent runs in the limits (as root, where there are control groups), another one
 * freely, and their pods ping each other. Measured are the time until all peers are in the kernel, memory, CPU and bytes; then, with
 * `--outage`, the API server is away for so long, and comes back without its history, and after that with an older state. Exit code
 * 1 if the agent dies, or a packet is lost.
 *
 * @module
 */

import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ANY_ETCD, KUBE_APISERVER, lackOf, NEW_ETCD } from "../test/e2e/kubernetes_binaries.ts";
import { KubernetesCluster } from "../test/e2e/kubernetes_cluster.ts";
import { usageOf } from "../test/e2e/kubernetes_server.ts";
import { named } from "../test/contracts/kubernetes_backing.ts";
import type { Agent } from "../test/lab/agent.ts";
import { until } from "../test/lab/command.ts";
import type { Node } from "../test/lab/node.ts";
import { agentCommand } from "../test/lab/paths.ts";
import { fill, nameOf } from "./kubernetes_nodes.ts";
import { LIMITED_ENV, LimitedGroup } from "./limits.ts";
import { memoryOf } from "./memory.ts";

const LAB = {
  segments: { A: ["a1", "a2"] },
  netConf: { Network: "10.0.0.0/8", Backend: { Type: "vxlan" } },
};
const DIRECTROUTING = { backend: "directrouting" };
const PATIENCE = 180_000;

/** Watches a process's anonymous memory. */
class Peak implements Disposable {
  anonymous = 0;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(pid: number) {
    this.#timer = setInterval(() => this.anonymous = Math.max(this.anonymous, memoryOf(pid, "RssAnon")), 20);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** Bytes that came to a node so far. */
async function received(node: Node): Promise<number> {
  return (await node.json(["ip", "-j", "-s", "link", "show", "eth0"]))[0].stats64.rx.bytes;
}

async function routes(node: Node): Promise<number> {
  return (await node.exec(["ip", "route", "show", "proto", "87"])).split("\n").length - 1;
}

const mib = (value: number) => value.toFixed(1).padStart(5);
const seconds = (since: number) => `${((performance.now() - since) / 1000).toFixed(1)} s`;

/** Waits until an agent has all peers in the kernel, looking at the kernel, since an answer of the agent's costs it time. */
async function synced(node: Node, agent: Agent, count: number): Promise<void> {
  await agent.until(`has ${count} routes`, async () => await routes(node) === count, PATIENCE);
}

async function start(cluster: KubernetesCluster, node: Node, peers: number, group: LimitedGroup | null): Promise<Agent> {
  const [began, bytes] = [performance.now(), await received(node)];
  const limited = group === null ? {} : { command: [...group.enter, ...agentCommand()], env: LIMITED_ENV };
  const agent = cluster.agent(node, { ...DIRECTROUTING, ...limited });
  using peak = new Peak(agent.pid);
  await agent.until("answers", async () => (await agent.get("/healthz")).code === 200);
  const healthy = seconds(began);
  await synced(node, agent, peers);
  const inSync = seconds(began);
  const { cpuSeconds } = usageOf(agent.pid);
  await agent.ready(PATIENCE);
  const mb = (await received(node) - bytes) / 1e6;
  console.log(
    `${
      group === null ? "no limits              " : "50 MiB and 0.1 CPU     "
    } healthy after ${healthy}, in sync after ${inSync}, ` +
      `${cpuSeconds.toFixed(2)} s CPU, ${mb.toFixed(1)} MB read, anonymous peak ${mib(peak.anonymous)} MiB`,
  );
  for (const after of [0, 10]) {
    await sleep(after * 1000);
    const of = group === null
      ? ""
      : `, the group's peak ${mib(group.memory().peakMiB)}, now without files ${mib(group.memory().withoutFilesMiB)}`;
    console.log(
      `  ${String(after).padStart(2)} s later: anonymous ${mib(memoryOf(agent.pid, "RssAnon"))}, ` +
        `resident ${mib(memoryOf(agent.pid, "VmRSS"))} MiB${of}`,
    );
  }
  return agent;
}

/** Takes the API server away for some seconds, lets something happen, and measures how soon that is in the kernel. */
async function outage(
  cluster: KubernetesCluster,
  what: string,
  wait: number,
  back: () => Promise<(node: Node) => Promise<boolean>>,
): Promise<void> {
  const { server, lab } = cluster;
  await server.stopApi();
  await sleep(wait * 1000);
  const before = await Promise.all(lab.nodes.map(routes));
  const isSo = await back();
  const since = performance.now();
  const times = await Promise.all(lab.nodes.map(async (node) => {
    await until(`${node.name} is in sync`, () => isSo(node), { timeout: PATIENCE, every: 50 });
    return `${node.name} ${seconds(since)}`;
  }));
  console.log(`${what}: ${before.join(" and ")} routes before its return; in sync after it: ${times.join(", ")}`);
}

async function outages(cluster: KubernetesCluster, wait: number): Promise<void> {
  const { server } = cluster;
  const hasRoute = (subnet: string, via: string) => async (node: Node) =>
    (await node.exec(["ip", "route", "show", subnet])).includes(via);
  const change = (podCidr: string, data: Record<string, string> = {}) =>
    server.makeNode("changed", [podCidr], named({ "kube-subnet-manager": "true", "backend-type": "vxlan", ...data }));
  const vxlan = { "backend-data": '{"VtepMAC":"0a:00:00:00:ff:01"}', "public-ip": "192.168.60.1" };
  await outage(cluster, `away for ${wait} s, back as it was`, wait, async () => {
    await server.startApi();
    await change("10.200.1.0/24", vxlan);
    return hasRoute("10.200.1.0/24", "dev flannel.1");
  });
  await outage(cluster, `away for ${wait} s, back without its history`, wait, async () => {
    await server.startApi();
    await server.deleteNode("changed");
    await change("10.200.2.0/24", vxlan);
    for (let i = 0; i < 50; i++) await server.annotate(nameOf(0), { "example.org/count": String(i) });
    await server.compact();
    await server.stopApi();
    await server.startApi();
    return hasRoute("10.200.2.0/24", "dev flannel.1");
  });
  await outage(cluster, "back at once, its state put aside", 0, async () => {
    await server.copyState("aside");
    await server.startApi();
    await server.deleteNode("changed");
    await change("10.200.3.0/24", vxlan);
    return hasRoute("10.200.3.0/24", "dev flannel.1");
  });
  await outage(cluster, `away for ${wait} s, back with the state that was put aside`, wait, async () => {
    await server.copyState("back");
    await server.startApi();
    return hasRoute("10.200.2.0/24", "dev flannel.1");
  });
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      nodes: { type: "string", default: "5000" },
      kilobytes: { type: "string", default: "20" },
      outage: { type: "string", default: "0" },
    },
  });
  const lack = lackOf(KUBE_APISERVER, ANY_ETCD);
  if (lack) {
    console.log(`skipped: ${lack}`);
    return 0;
  }
  const [nodes, kilobytes, wait] = [Number(values.nodes), Number(values.kilobytes), Number(values.outage)];
  await using cluster = await KubernetesCluster.create(LAB, "lack" in NEW_ETCD ? ANY_ETCD : NEW_ETCD);
  await fill(cluster.server, nodes, kilobytes);
  console.log(`${nodes} nodes of ${kilobytes} KB`);
  const [a1, a2] = cluster.lab.nodes as [Node, Node];
  await start(cluster, a2, nodes, null); // a1 publishes nothing yet
  let group: LimitedGroup | null = null;
  try {
    group = new LimitedGroup();
  } catch (error) {
    console.log(`50 MiB and 0.1 CPU: skipped, ${(error as Error).message}`);
    return 0;
  }
  using _ = group;
  const agent = await start(cluster, a1, nodes + 1, group);
  let lost = 0;
  if (wait > 0) {
    const pods = [await a1.addPod(), await a2.addPod()] as const;
    const pinger = await pods[0].pinger(pods[1].address, { interval: 0.05 }); // sequence numbers have 16 bits, enough for 54 minutes
    await outages(cluster, wait);
    const result = await pinger.stop();
    console.log(`${result.lost} of ${result.sent} packets between pods were lost`);
    lost = result.lost;
  }
  await agent.stop("SIGKILL");
  await sleep(500);
  return lost === 0 ? 0 : 1;
}

process.exit(await main());
