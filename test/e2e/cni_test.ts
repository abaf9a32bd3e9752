/**
 * The CNI plugin with the real `bridge`, `host-local` and `portmap`: pods are attached, work, and are cleaned away completely.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { delegateConf } from "../../src/cni/delegate_conf.ts";
import { readNetConf } from "../../src/cni/netconf.ts";
import { parseSubnetEnv } from "../../src/config/subnet_env.ts";
import { labTest } from "../lab/case.ts";
import { attempt, run, until } from "../lab/command.ts";
import { insideLab } from "../lab/enter.ts";
import type { Host } from "../lab/host.ts";
import { Lab } from "../lab/lab.ts";
import { runtimeCommand } from "../lab/paths.ts";
import { addressesOf, agentAsPlugin, CniNode, flannelList, NOTHING, type Pod } from "./cni_node.ts";
import { findPlugin, PLUGIN_DIRS, pluginsMissing } from "./cni_runtime.ts";

const PLUGIN = insideLab() ? agentAsPlugin() : "";
const TCP_PEER = resolve(import.meta.dirname!, "../lab/tcp_peer.ts");
const LACK = pluginsMissing || null;

const SUBNET = {
  FLANNEL_NETWORK: "10.244.0.0/16",
  FLANNEL_SUBNET: "10.244.1.1/24",
  FLANNEL_MTU: "1450",
  FLANNEL_IPMASQ: "true",
};

/** A lab of one node, with a runtime. */
async function oneNode(cniVersion: string, delegate?: object): Promise<{ lab: Lab; node: CniNode }> {
  const lab = await Lab.create({ segments: { A: ["a1"] }, ipv6: true });
  const node = new CniNode(lab.node("a1"), flannelList(cniVersion, delegate), PLUGIN);
  node.writeSubnet(SUBNET);
  return { lab, node };
}

/** The agents give the nodes their subnets, connect them and masquerade. */
async function byAgents(_: Lab, nodes: readonly CniNode[]): Promise<void> {
  const agents = nodes.map(({ node }) => node.agent({ backend: "directrouting", args: ["--ip-masq"] }));
  await Promise.all(agents.map((agent) => agent.ready()));
  for (const node of nodes) node.writeSubnet(node.node.subnetEnv());
}

/** Subnets and routes are made by hand, and nobody masquerades but the delegates. */
async function byHand(lab: Lab, nodes: readonly CniNode[]): Promise<void> {
  for (const [i, node] of nodes.entries()) {
    node.writeSubnet({ ...SUBNET, FLANNEL_SUBNET: `10.244.${i + 1}.1/24`, FLANNEL_IPMASQ: "false" });
    await lab.router.ip(`route add 10.244.${i + 1}.0/24 via ${node.node.address}`);
  }
}

for (
  const [which, cniVersion, prepare, keepsAddress] of [
    ["the walk-through, with agents", undefined, byAgents, true],
    ["flannel's manifest, with masquerading delegates", "0.3.1", byHand, false],
  ] as const
) {
  labTest(
    `the list of ${which}: pods of three nodes reach each other, a host port and the outside, and leave nothing`,
    async () => {
      await using lab = await Lab.create();
      const nodes = lab.nodes.map((node) => new CniNode(node, flannelList(cniVersion), PLUGIN));
      await prepare(lab, nodes);
      const portMappings = [{ hostPort: 8080, containerPort: 7000, protocol: "tcp" }];
      const pods = await Promise.all(nodes.map((node) => node.addPod("web", { capabilities: { portMappings } })));
      const targets = [...pods.map(({ host }) => host.address), lab.router.address, ...nodes.map(({ node }) => node.address)];
      for (const { host } of pods) {
        assert.match(host.address, /^10\.244\.\d+\.2$/);
        for (const to of targets) assert.equal((await host.ping(to)).lost, 0, `${host.address} to ${to}`);
      }
      assert.equal(await sourceSeen(pods[0]!.host, lab.router), nodes[0]!.node.address);
      assert.equal(await sourceSeen(pods[0]!.host, pods[2]!.host), (keepsAddress ? pods[0]!.host : nodes[0]!.node).address);
      await serve(pods[0]!);
      for (const client of [nodes[1]!.node, nodes[2]!.node, pods[0]!.host, pods[1]!.host]) {
        await connect(client, nodes[0]!.node.address);
      }
      await Promise.all(nodes.map((node, i) => node.removePod(pods[i]!)));
      for (const node of nodes) assert.deepEqual(await node.remains(), NOTHING);
    },
    LACK,
  );
}

/** The source address with which packets from one host arrive at another. */
async function sourceSeen(from: Host, to: Host): Promise<string> {
  const rules = `table ip seen { set from { type ipv4_addr; flags dynamic; }; chain in { type filter hook input priority 0;
    icmp type echo-request add @from { ip saddr }; }; }`;
  await to.exec(["nft", rules]);
  await from.ping(to.address, { count: 1 });
  const { nftables } = await to.json(["nft", "-j", "list", "set", "ip", "seen", "from"]);
  await to.exec(["nft", "delete", "table", "ip", "seen"]);
  return nftables.find((entry: { set?: unknown }) => entry.set !== undefined).set.elem.join(" ");
}

async function serve(pod: Pod): Promise<void> {
  const server = pod.host.spawn([...runtimeCommand(), TCP_PEER, "serve", "7000"], { log: "server" });
  await until("the pod serves", () => server.text().includes("listening"), { state: () => server.tail() });
}

/** Opens a connection to the host port. */
async function connect(from: Host, address: string): Promise<void> {
  await using client = from.spawn([...runtimeCommand(), TCP_PEER, "connect", address, "8080", "10"], { log: "client" });
  await until(`${from.name} reaches the host port`, () => client.text().includes("connected"), { state: () => client.tail() });
}

for (
  const [what, env, addresses] of [
    ["IPv4", {}, ["10.244.1.2"]],
    ["two IPv4 networks", { FLANNEL_NETWORK: "10.244.0.0/16,10.250.0.0/16" }, ["10.244.1.2"]],
    ["IPv6", { FLANNEL_NETWORK: null, FLANNEL_SUBNET: null }, ["fd00:10:244:1::2"]],
    ["both families", {}, ["10.244.1.2", "fd00:10:244:1::2"]],
  ] as const
) {
  labTest(`a pod with ${what} gets its addresses and routes, CHECK is content, DEL is done twice`, async () => {
    const { lab, node } = await oneNode("1.0.0");
    await using _ = lab;
    const v6 = what === "IPv6" || what === "both families";
    const all = {
      ...SUBNET,
      ...(v6 ? { FLANNEL_IPV6_NETWORK: "fd00:10:244::/56", FLANNEL_IPV6_SUBNET: "fd00:10:244:1::1/64" } : {}),
      ...env,
    };
    const given = Object.fromEntries(Object.entries(all).filter((entry): entry is [string, string] => entry[1] !== null));
    node.writeSubnet(given);
    const pod = await node.addPod("c1");
    assert.deepEqual(addressesOf(pod.result), addresses);
    const text = readFileSync(join(node.dataDir, "c1"), "utf8");
    const subnet = parseSubnetEnv(renderEnv(given), "subnet.env");
    const { networks, subnets } = subnet;
    assert.deepEqual(JSON.parse(text), {
      cniVersion: "1.0.0",
      hairpinMode: true,
      ipMasq: false,
      ipam: {
        ranges: subnets.map((subnet) => [{ subnet }]),
        routes: networks.map((dst) => ({ dst })),
        type: "host-local",
      },
      isDefaultGateway: true,
      isGateway: true,
      mtu: 1450,
      name: "cbr0",
      type: "bridge",
    });
    assert.equal(statSync(join(node.dataDir, "c1:eth0")).mode & 0o777, 0o600);
    assert.equal(statSync(node.dataDir).mode & 0o777, 0o700);
    const shown = JSON.stringify([
      ...await pod.host.json(["ip", "-j", "-4", "route"]),
      ...await pod.host.json(["ip", "-j", "-6", "route"]),
    ]);
    for (const dst of networks) assert.ok(shown.includes(`"dst":"${dst}"`), `${dst} in ${shown}`);
    assert.ok(shown.includes('"dst":"default"'), shown);
    await node.runtime.check(pod.attached);
    await node.removePod(pod);
    assert.deepEqual(await node.remains(), NOTHING);
    await node.runtime.del(pod.attached);
  }, LACK);
}

function renderEnv(env: Readonly<Record<string, string>>): string {
  return Object.entries(env).map(([name, value]) => `${name}=${value}\n`).join("");
}

labTest("100 pods are attached in parallel, each with an address of its own, and detached without a trace", async () => {
  const { lab, node } = await oneNode("1.0.0");
  await using _ = lab;
  const ids = Array.from({ length: 100 }, (_, i) => `pod-${i}`);
  // The first pod fixes the bridge's MAC address. Where several make the bridge at once, `bridge` may answer with one that changes yet.
  const first = await node.addPod(ids[0]!);
  const pods = [first, ...await Promise.all(ids.slice(1).map((id) => node.addPod(id)))];
  const addresses = pods.map(({ host }) => host.address);
  assert.equal(new Set(addresses).size, 100);
  assert.equal((await node.remains()).links.length, 100);
  assert.equal((await node.remains()).state.length, 200); // each under flannel's name too
  await Promise.all(pods.map(({ attached }) => node.runtime.check(attached)));
  for (const { host } of pods.slice(0, 5)) assert.equal((await host.ping(addresses.at(-1)!)).lost, 0);
  await Promise.all(pods.map((pod) => node.removePod(pod)));
  assert.deepEqual(await node.remains(), NOTHING);
}, LACK);

labTest("two interfaces of one container are kept apart: one goes, the other works on", async () => {
  const { lab, node } = await oneNode("1.0.0");
  await using _ = lab;
  const pod = await node.addPod("c1");
  const second = { ...pod.attached, ifname: "net1" };
  const [net1] = addressesOf(await node.runtime.add(second));
  assert.deepEqual((await node.remains()).state, ["c1", "c1:eth0", "c1:net1"]);
  await node.runtime.check(pod.attached);
  await node.runtime.check(second);
  await node.runtime.del(pod.attached);
  assert.deepEqual({ ...await node.remains(), links: [] }, { ...NOTHING, addresses: [net1!], state: ["c1:net1"] });
  await node.runtime.check(second);
  assert.equal((await node.node.ping(net1!)).lost, 0);
  await node.removePod({ ...pod, attached: second });
  assert.deepEqual(await node.remains(), NOTHING);
}, LACK);

labTest("CHECK finds a pod whose address or interface is gone, or whose subnet is another node's", async () => {
  const { lab, node } = await oneNode("1.0.0");
  await using _ = lab;
  const [first, second, third] = [await node.addPod("c1"), await node.addPod("c2"), await node.addPod("c3")];
  await first.host.ip("addr flush dev eth0");
  await assert.rejects(node.runtime.check(first.attached), { name: "PluginError" });
  await second.host.ip("link del eth0");
  await assert.rejects(node.runtime.check(second.attached), { name: "PluginError" });
  await node.runtime.check(third.attached);
  node.writeSubnet({ ...SUBNET, FLANNEL_SUBNET: "10.244.2.1/24" });
  await assert.rejects(node.runtime.check(third.attached), { code: 101 });
  node.writeSubnet(SUBNET);
  await node.runtime.check(third.attached);
  for (const pod of [first, second, third]) await node.removePod(pod);
  assert.deepEqual(await node.remains(), NOTHING);
}, LACK);

labTest("GC takes the addresses and the state of containers that are gone, and of no other", async () => {
  const { lab, node } = await oneNode("1.0.0");
  await using _ = lab;
  const pods = [await node.addPod("c1"), await node.addPod("c2"), await node.addPod("c3")];
  for (const { host } of pods.slice(1)) await run(["ip", "netns", "del", host.namespace]);
  const newest = node.runtimeOf({ ...flannelList("1.1.0"), plugins: flannelList().plugins.slice(0, 1) }, PLUGIN);
  await newest.gc([pods[0]!.attached]);
  const { addresses, state } = await node.remains();
  assert.deepEqual([addresses, state], [["10.244.1.2"], ["c1", "c1:eth0"]]);
  await node.runtime.check(pods[0]!.attached);
  assert.equal((await node.node.ping(pods[0]!.host.address)).lost, 0);
  await node.removePod(pods[0]!);
  assert.deepEqual(await node.remains(), NOTHING);
}, LACK);

labTest(
  "STATUS is content on a node with a subnet and a delegate that speaks its version, and else says what is missing",
  async () => {
    const { lab, node } = await oneNode("1.1.0");
    await using _ = lab;
    await assert.rejects(node.runtime.status(), { code: 50, message: /does not speak CNI 1\.1\.0/ }); // Debian's bridge
    const directory = join(lab.dir, "plugins");
    mkdirSync(directory);
    symlinkSync(join(PLUGIN, "flannel"), join(directory, "flannel"));
    writeFileSync(join(directory, "newer"), '#!/bin/sh\n[ "$CNI_COMMAND" = STATUS ]\n', { mode: 0o755 });
    const runtime = node.runtimeOf(flannelList("1.1.0", { type: "newer" }), directory);
    await runtime.status();
    rmSync(join(node.node.dir, "run/subnet.env"));
    await assert.rejects(runtime.status(), { code: 50, message: /subnet\.env/ });
    node.writeSubnet(SUBNET);
    rmSync(join(directory, "newer"));
    await assert.rejects(runtime.status(), { code: 50, message: /newer/ });
  },
  LACK,
);

labTest("a pod of flannel's plugin is detached by ours, and one of ours by flannel's", async () => {
  const { lab, node } = await oneNode("1.0.0");
  await using _ = lab;
  const conf = JSON.stringify(delegateConf(
    readNetConf({ cniVersion: "1.0.0", name: "cbr0", delegate: { isDefaultGateway: true } }),
    parseSubnetEnv(renderEnv(SUBNET), "subnet.env"),
  ));
  const bridge = node.runtimeOf({ ...JSON.parse(conf), plugins: [JSON.parse(conf)] }, PLUGIN);
  // flannel's: the delegate was called with what is in the file, which has the container's name.
  await run(["ip", "netns", "add", "theirs"]);
  const theirs = { containerId: "theirs", netns: "/run/netns/theirs", ifname: "eth0" };
  mkdirSync(node.dataDir, { recursive: true });
  writeFileSync(join(node.dataDir, "theirs"), conf);
  await bridge.add(theirs);
  assert.equal((await node.remains()).addresses.length, 1);
  await node.runtime.del(theirs);
  assert.deepEqual(await node.remains(), NOTHING);
  // Ours: flannel's plugin calls the delegate's DEL with what is in the file, and removes it.
  const { attached } = await node.addPod("ours");
  const stored = JSON.parse(readFileSync(join(node.dataDir, "ours"), "utf8"));
  await node.runtimeOf({ ...stored, plugins: [stored] }, PLUGIN).del(attached);
  rmSync(join(node.dataDir, "ours"));
  assert.deepEqual({ ...await node.remains(), state: [] }, NOTHING);
  await node.runtime.del(attached);
  assert.deepEqual(await node.remains(), NOTHING);
}, LACK);

labTest("a plugin that is killed while its delegate works leaves what DEL needs", async () => {
  const { lab, node } = await oneNode("1.0.0", { type: "slow" });
  await using _ = lab;
  const directory = join(lab.dir, "plugins");
  mkdirSync(directory);
  const [bridge, path] = [findPlugin(PLUGIN_DIRS, "bridge"), [directory, PLUGIN, ...PLUGIN_DIRS].join(":")];
  writeFileSync(join(directory, "slow"), `#!/bin/sh\nsleep 1\nexec ${bridge}\n`, { mode: 0o755 });
  await run(["ip", "netns", "add", "killed"]);
  const conf = JSON.stringify({
    ...flannelList("1.0.0", { type: "slow", isGateway: true }).plugins[0],
    name: "cbr0",
    cniVersion: "1.0.0",
  });
  const env = { CNI_COMMAND: "ADD", CNI_CONTAINERID: "c1", CNI_NETNS: "/run/netns/killed", CNI_IFNAME: "eth0", CNI_PATH: path };
  const killed = await attempt(node.enter(["timeout", "--signal=KILL", "0.5", join(PLUGIN, "flannel")]), { env, input: conf });
  assert.equal(killed.stdout, "");
  assert.deepEqual((await node.remains()).state, ["c1", "c1:eth0"]);
  await until("the delegate ends by itself", async () => (await node.remains()).addresses.length === 1);
  const { code, stdout } = await attempt(node.enter([join(PLUGIN, "flannel")]), {
    env: { ...env, CNI_COMMAND: "DEL" },
    input: conf,
  });
  assert.deepEqual([code, stdout, await node.remains()], [0, "", NOTHING]);
}, LACK);

labTest("a node whose plugins were taken away keeps what it needs to detach its pods", async () => {
  const { lab, node } = await oneNode("1.0.0");
  await using _ = lab;
  const pod = await node.addPod("c1");
  const empty = join(lab.dir, "no-plugins");
  mkdirSync(empty);
  const env = { CNI_COMMAND: "DEL", CNI_CONTAINERID: "c1", CNI_NETNS: "", CNI_IFNAME: "eth0", CNI_PATH: empty };
  const conf = JSON.stringify({ name: "cbr0", cniVersion: "1.0.0", type: "flannel" });
  const { code, stdout } = await attempt(node.enter([join(PLUGIN, "flannel")]), { env, input: conf });
  assert.deepEqual([code, JSON.parse(stdout).code], [1, 7]);
  assert.deepEqual((await node.remains()).state, ["c1", "c1:eth0"]);
  await node.removePod(pod);
  assert.deepEqual(await node.remains(), NOTHING);
}, LACK);
