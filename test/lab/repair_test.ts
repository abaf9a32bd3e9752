/**
 * What is deleted or changed behind the agent's back comes back by event; what is not ours is never touched.
 *
 * @module
 */

import assert from "node:assert/strict";
import { labTest } from "./case.ts";
import { until } from "./command.ts";
import { Cluster, kernelOf, type Member, restored, subnetOf } from "./cluster.ts";

/** Within a second, says the promise; machines that run many tests at once are slower. */
const SOON = 3000;

labTest("each item that is deleted or changed comes back by event", async () => {
  await using cluster = await Cluster.create({ ipv6: true, rpFilter: 1 }, { backend: "directrouting" });
  const a1 = cluster.on("a1");
  const before = await kernelOf(a1);
  const times: string[] = [];
  for (const harm of await harms(a1, cluster.on("a2"), cluster.on("b1"))) {
    await a1.node.exec(["sh", "-c", harm]);
    const start = performance.now();
    await restored(a1, before, SOON).catch((error) => {
      throw new Error(`After "${harm}": ${(error as Error).message}`);
    });
    times.push(`${Math.round(performance.now() - start)} ms: ${harm}`);
  }
  console.log(times.join("\n"));
  assert.equal((await a1.pod.ping(cluster.on("b1").pod.address)).lost, 0);
  assert.equal((await a1.pod.ping(cluster.on("a2").pod.address6)).lost, 0);
  assert.ok((await a1.agent.status()).kernel.repairs >= times.length);
});

/** Every kind of item, deleted and changed in what it holds. */
async function harms(a1: Member, a2: Member, b1: Member): Promise<string[]> {
  const { node, agent } = a1;
  const [near, far, own] = [subnetOf(a2), subnetOf(b1), subnetOf(a1).split("/")[0]!];
  const far6 = b1.node.subnetEnv()["FLANNEL_IPV6_SUBNET"]!.replace("::1/", "::/");
  const own6 = node.subnetEnv()["FLANNEL_IPV6_SUBNET"]!.replace(/::1\/.*/, "::");
  const gateway = far.split("/")[0]!;
  const mac = (await b1.node.json(["ip", "-j", "link", "show", "flannel.1"]))[0].address as string;
  const id = (await node.json(["ip", "-j", "-d", "route", "show", far]))[0].nhid as number;
  const id6 = (await node.json(["ip", "-j", "-6", "-d", "route", "show", far6]))[0].nhid as number;
  return [
    `ip route del ${near}`,
    `ip route del ${far}`,
    `ip -6 route del ${far6}`,
    `ip route replace ${far} nhid ${id} proto 87`, // without its source address
    `ip route replace ${far} nhid ${id} proto 87 src ${own} mtu 1280`,
    `ip -6 route replace ${far6} nhid ${id6} proto 87 src ${own6} mtu 1280`,
    `ip nexthop del id ${id}`,
    `ip nexthop del id ${id6}`,
    `ip nexthop replace id ${id} via ${a2.node.address} dev eth0 proto 87`,
    `ip neigh del ${gateway} dev flannel.1`,
    `ip neigh replace ${gateway} lladdr 02:00:00:00:00:99 dev flannel.1 nud permanent`,
    `ip neigh replace ${gateway} lladdr ${mac} dev flannel.1 nud stale`,
    `bridge fdb del ${mac} dev flannel.1`,
    `bridge fdb replace ${mac} dev flannel.1 dst 192.0.2.9 self permanent`,
    `ip addr del ${own}/32 dev flannel.1`,
    `ip -6 addr del ${own6}/128 dev flannel-v6.1`, // a flush goes round until nobody puts it back
    `ip link set flannel.1 mtu 1300`,
    `ip link set flannel.1 down`,
    `ip link set flannel-v6.1 down`,
    `ip link set flannel.1 address 02:00:00:00:00:77`,
    `ip link set flannel.1 type vxlan local 192.0.2.77`,
    `ip link set flannel.1 type vxlan learning`,
    `ip link del flannel.1`,
    `ip link del flannel-v6.1`,
    `kill -STOP ${agent.pid}; ip link del flannel.1; ip link add flannel.1 type vxlan id 1 dstport 4789; kill -CONT ${agent.pid}`,
    `echo 1 >/proc/sys/net/ipv4/conf/eth0/rp_filter`,
    `ip route flush proto 87; ip -6 route flush proto 87; true`, // the agent may be quicker than ip's second look
    `ip nexthop flush proto 87; true`,
  ];
}

labTest("what belongs to others is never touched, and what is in our way is named", async () => {
  await using cluster = await Cluster.create({}, { backend: "directrouting" });
  const [a1, b1] = [cluster.on("a1"), cluster.on("b1")];
  const { node } = a1;
  await node.ip(
    "link add other0 type veth peer name other1",
    "addr add 172.31.0.1/24 dev other0",
    "link set other0 up",
    "link set other1 up",
    "route add 10.99.0.0/24 via 172.31.0.2 proto static",
    "route add 10.98.0.0/24 via 172.31.0.2 proto 87", // ours by number, but not of our network
    "nexthop add id 7 via 172.31.0.2 dev other0",
    "neigh add 172.31.0.9 lladdr 02:00:00:00:00:01 dev other0 nud permanent",
  );
  const foreign = await foreignOf(a1);
  const far = subnetOf(b1);
  // Somebody else takes the place of a route of ours.
  await node.ip(`route replace ${far} via 172.31.0.2 proto static`);
  const peer = await a1.agent.until("names the foreign route", async () => {
    return (await a1.agent.peers()).find(({ subnet, state }) => subnet === far && state === "failed");
  }, SOON);
  assert.match(peer.reason!, new RegExp(`route ${far.replace("/", "\\/")}.*EEXIST.*ip route del ${far.replace("/", "\\/")}`));
  const [route] = await node.json(["ip", "-j", "route", "show", far]);
  assert.equal(route.protocol, "static");
  await a1.agent.stop();
  a1.agent = a1.node.agent({ backend: "directrouting" });
  await a1.agent.until("names it again", async () => (await a1.agent.peers()).some(({ state }) => state === "failed"));
  assert.equal((await node.json(["ip", "-j", "route", "show", far]))[0].protocol, "static");
  assert.deepEqual(await foreignOf(a1), foreign);
  await node.ip(`route del ${far}`);
  await until("the route is back", async () => (await node.json(["ip", "-j", "route", "show", far]))[0]?.protocol === "87", {
    timeout: 35_000,
  });
  assert.deepEqual(await foreignOf(a1), foreign);
});

async function foreignOf({ node }: Member): Promise<string> {
  const commands = ["ip route show table all", "ip nexthop", "ip neigh show nud permanent", "ip addr show dev other0"];
  const text = await node.exec(["sh", "-c", commands.join(";")]);
  return text.split("\n").filter((line) => /172\.31|id 7 |10\.9[89]\./.test(line) && !line.startsWith("10.244.")).sort().join("\n");
}
