/**
 * The backends ipip and wireguard, loaded as files by the agent: three nodes whose pods reach each other, what the wire shows, what is
 * repaired, and what is left. Skipped where the kernel has no such devices.
 *
 * @module
 */

import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import ipip from "../../backends/ipip.ts";
import wireguard, { example, publicKeyOf } from "../../backends/wireguard.ts";
import { openDriver } from "../../ffi/mod.ts";
import { keys } from "../../src/cli/adapters.ts";
import { openKernel } from "../../src/kernel/kernel.ts";
import type { Backend } from "../../src/mod.ts";
import { NETWORK_COMMANDS } from "../../src/plugins/check/room.ts";
import { check } from "../../src/plugins/check/run.ts";
import { builtIn } from "../contracts/backend.ts";
import { Capture } from "./capture.ts";
import { labTest, lacks } from "./case.ts";
import { Cli } from "./cli.ts";
import { Cluster, kernelOf, type Member, restored, subnetOf } from "./cluster.ts";
import { Lab } from "./lab.ts";
import { run, until } from "./command.ts";

const words = (line: string) => line.split(" ");
const noDevices = await lacks(words("ip link add x type ipip local 127.0.0.1"), words("ip link add type wireguard"));
const noTcpdump = ["tcpdump", "--version"];
const noIpip = await lacks(words("ip link add x type ipip local 127.0.0.1"), noTcpdump);
const noWireguard = await lacks(words("ip link add type wireguard"), ["wg", "--version"], noTcpdump);

/** Peers of wireguard are looked at every 10 s, in milliseconds. */
const SOON = 20_000;
/** A check that measures, which an emulated machine is too slow for. */
const SLOW = /in bearable time/;
/** A small cluster. */
const TWO = { A: ["a1"], B: ["b1"] };
/** What pings carry. */
const WORD = "as plain as can";

const FOLDER = "/run/backends";

/** Copies a plugin to where nobody but root may write, as the checkout need not be. */
function withPlugin(backend: string) {
  mkdirSync(FOLDER, { recursive: true });
  copyFileSync(resolve(import.meta.dirname!, `../../backends/${backend}.ts`), join(FOLDER, `${backend}.ts`));
  return { backend, args: [`--plugin-dir=${FOLDER}`] };
}

labTest("both keep the suite of backends in a real kernel", async () => {
  await run(["ip", "-batch", "-"], { input: NETWORK_COMMANDS.join("\n") });
  using kernel = openKernel(await openDriver(), { keys });
  process.env["WIREGUARD_KEY_FILE"] = "/run/suite/wgkey";
  const published = (peers: readonly number[]) => Promise.resolve(peers.map((n) => example.data(n)));
  const subjects = [
    builtIn(ipip as Backend, { Type: "ipip" }),
    {
      ...builtIn(wireguard as unknown as Backend, { Type: "wireguard" }),
      example: (_port: unknown, peers: readonly number[]) => published(peers),
    },
  ];
  for (const subject of subjects) {
    for await (const { name, outcome, note } of check(subject, { kernel })) {
      if (SLOW.test(name)) continue;
      assert.equal(outcome, "passed", `${subject.name}: it ${name}: ${note}`);
    }
  }
}, noIpip ?? noWireguard);

/** Pings between the pods of all nodes, in these families; what was lost. */
async function lostPings({ members }: Cluster, families: readonly (4 | 6)[], count = 5): Promise<string[]> {
  const pairs = members.flatMap((from) => members.filter((to) => to !== from).map((to) => [from, to] as const));
  const results = await Promise.all(pairs.flatMap(([from, to]) =>
    families.map(async (family) => {
      const { lost, sent } = await from.pod.ping(to.pod.addressOf(family), { count, interval: 0.2 });
      return lost === 0 ? [] : [`${from.node.name} to ${to.node.name}, IPv${family}: ${lost} of ${sent}`];
    })
  ));
  return results.flat();
}

/** Waits until all pods have reached each other once. Two nodes that call each other at the same moment both begin anew 5 s later. */
async function shakenHands(cluster: Cluster, families: readonly (4 | 6)[]): Promise<void> {
  await until("all nodes have shaken hands", async () => {
    const lost = await lostPings(cluster, families, 1);
    if (lost.length > 0) throw new Error(lost.join("; "));
    return true;
  }, { timeout: 20_000 });
}

/** What the wire between the segments shows while a pod is pinged with the word. */
async function wireWhilePinging({ lab }: Cluster, from: Member, to: Member, family: 4 | 6): Promise<Buffer> {
  const capture = await Capture.start(lab.router, "brA");
  const pattern = Buffer.from(WORD).toString("hex");
  await from.pod.exec(["ping", "-n", "-c", "3", "-i", "0.2", "-s", "200", "-p", pattern, to.pod.addressOf(family)]);
  return await capture.stop();
}

/** Stops an agent and removes with `agent cleanup` what it left; what is still there then. */
async function leftAfterCleanup({ lab }: Cluster, { node, agent }: Member): Promise<string> {
  await agent.stop();
  await new Cli(lab, node).said("cleanup", `--subnet-file=${node.subnetFile}`);
  const text = await node.exec(["sh", "-c", "ip -o link; ip route; ip -6 route; ip nexthop"]);
  return text.split("\n").filter((line) => /flannel|proto 87|nhid/.test(line)).join("\n");
}

labTest("ipip: pods reach each other, directly where they can, what is harmed comes back, and nothing is left", async () => {
  const netConf = { Network: "10.244.0.0/16", Backend: { Type: "ipip", DirectRouting: true } };
  await using cluster = await Cluster.create({ netConf, rpFilter: 1 }, withPlugin("ipip"));
  const [a1, a2, b1] = cluster.members as [Member, Member, Member];
  await cluster.way("a1", "a2", "direct");
  await cluster.way("a1", "b1", "ipip");
  assert.deepEqual(await lostPings(cluster, [4]), []);
  assert.equal(a1.node.subnetEnv()["FLANNEL_MTU"], "1480");
  assert.ok((await wireWhilePinging(cluster, a1, b1, 4)).includes(WORD), "ipip hides nothing");

  const before = await kernelOf(a1);
  await cluster.restart("a1", "SIGKILL");
  assert.equal(await kernelOf(a1), before);
  for (const harm of [`ip route del ${subnetOf(b1)}; ip link set flannel.ipip down mtu 1300`, "ip link del flannel.ipip"]) {
    await a1.node.exec(["sh", "-c", harm]);
    await restored(a1, before, SOON);
  }
  assert.deepEqual(await lostPings(cluster, [4]), []);
  assert.equal(await leftAfterCleanup(cluster, a2), "");
}, noIpip);

/** The keys by which a node's device knows others, by what each is allowed. */
async function knownKeys({ node }: Member, link = "flannel-wg"): Promise<Map<string, string>> {
  const lines = (await node.exec(["wg", "show", link, "allowed-ips"])).trim().split("\n");
  return new Map(lines.map((line) => line.split("\t") as [string, string]).map(([key, allowed]) => [allowed, key]));
}

labTest("wireguard: pods reach each other, the wire shows nothing, keys are kept and changed, and nothing is left", async () => {
  const options = withPlugin("wireguard");
  const psk = (await run(["wg", "genpsk"])).trim();
  const netConf = {
    ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:10:244::/56" },
    Backend: { Type: "wireguard", PSK: psk, PersistentKeepaliveInterval: 25 },
  };
  await using cluster = await Cluster.create({ netConf, ipv6: true }, options);
  const [a1, a2, b1] = cluster.members as [Member, Member, Member];
  await shakenHands(cluster, [4, 6]);
  assert.deepEqual(await lostPings(cluster, [4, 6]), []);
  assert.equal(a1.node.subnetEnv()["FLANNEL_MTU"], "1420");
  for (const family of [4, 6] as const) {
    const wire = await wireWhilePinging(cluster, a1, b1, family);
    assert.ok(wire.length > 1000, "the capture is empty");
    assert.equal(wire.includes(WORD), false, `IPv${family} goes over the wire in plain text`);
  }

  // Keys: of each node its own, closed to others, in nothing that anybody can see.
  const ownKey = ({ node }: Member) => readFileSync(join(node.dir, "wgkey"), "utf8");
  assert.equal(statSync(join(a1.node.dir, "wgkey")).mode & 0o777, 0o400);
  assert.equal((await knownKeys(a1)).get(subnetOf(b1)), publicKeyOf(ownKey(b1)));
  const told = [JSON.stringify([await a1.agent.status(), await a1.agent.peers()]), a1.agent.log()].join();
  for (const secret of [ownKey(a1), psk]) assert.equal(told.includes(secret), false, "a secret is told");
  const shared = await a1.node.exec(["wg", "show", "all", "preshared-keys"]);
  assert.deepEqual(shared.trim().split("\n").filter((line) => !line.endsWith(psk)), []);

  // An agent that starts anew loses nothing and changes nothing.
  const before = await kernelOf(a1);
  const pinger = await a1.pod.pinger(b1.pod.address);
  await cluster.restart("a1", "SIGKILL");
  assert.equal(await kernelOf(a1), before);
  assert.equal((await pinger.stop()).lost, 0);

  // Whatever is harmed comes back.
  const other = publicKeyOf(ownKey(b1));
  const harms = [
    `wg set flannel-wg peer ${other} remove; wg set flannel-wg-v6 peer ${other} allowed-ips fd99::/64`,
    `wg set flannel-wg listen-port 7 private-key /dev/null; ip route del ${subnetOf(b1)}`,
  ];
  for (const harm of [harms.join("; "), "ip link del flannel-wg"]) {
    await a1.node.exec(["sh", "-c", harm]);
    await restored(a1, before, SOON);
  }

  // A node gets another key.
  rmSync(join(b1.node.dir, "wgkey"));
  await cluster.restart("b1");
  const rotated = publicKeyOf(ownKey(b1));
  assert.notEqual(rotated, other);
  for (const member of [a1, a2]) {
    await until(`${member.node.name} knows the new key and forgets the old`, async () => {
      const keys = await knownKeys(member);
      return keys.get(subnetOf(b1)) === rotated && ![...keys.values()].includes(other);
    });
  }
  await shakenHands(cluster, [4, 6]);
  assert.deepEqual(await lostPings(cluster, [4, 6]), []);

  assert.equal(await leftAfterCleanup(cluster, a2), "");
}, noWireguard);

/** A row as a flanneld leaves it, whose kernel is set up as flanneld's is: the whole network leads to its device. */
async function becomeFlanneld({ lab, members }: Cluster, { node, agent, pod }: Member, port: number): Promise<void> {
  await agent.stop();
  const [key, subnet] = [join(node.dir, "flanneld-key"), subnetOf({ node, agent, pod })];
  await node.exec(["sh", "-c", `umask 077; ip link del flannel-wg; wg genkey >${key}`]);
  await node.ip("link add flannel-wg mtu 1420 type wireguard", `addr add ${subnet.split("/")[0]}/32 dev flannel-wg`);
  await node.exec(["wg", "set", "flannel-wg", "listen-port", String(port), "private-key", key]);
  await node.ip("link set flannel-wg up", "route replace 10.244.0.0/16 dev flannel-wg scope link");
  for (const other of members.filter((member) => member.node !== node)) {
    const publicKey = publicKeyOf(readFileSync(join(other.node.dir, "wgkey"), "utf8"));
    const place = ["endpoint", `${other.node.address}:51820`, "allowed-ips", subnetOf(other)];
    await node.exec(["wg", "set", "flannel-wg", "peer", publicKey, ...place]);
  }
  const data = `{"PublicKey":"${publicKeyOf(readFileSync(key, "utf8").trim())}","Port":${port}}`;
  const value = `{"PublicIP":"${node.address}","PublicIPv6":null,"BackendType":"wireguard","BackendData":${data}}`;
  const row = subnet.replace("/", "-");
  await lab.router.exec(["sqlite3", lab.leaseDb, `UPDATE lease SET value = '${value}', expires_at = NULL WHERE key = '${row}'`]);
}

labTest("wireguard beside a flanneld node: its published data is understood, its port too", async () => {
  const netConf = { Network: "10.244.0.0/16", Backend: { Type: "wireguard" } };
  await using cluster = await Cluster.create({ netConf, segments: TWO }, withPlugin("wireguard"));
  const [a1, b1] = cluster.members as [Member, Member];
  await becomeFlanneld(cluster, b1, 51999);
  await until(
    "a1 knows the flanneld's port",
    async () => (await a1.node.exec(["wg", "show", "flannel-wg", "endpoints"])).includes(`${b1.node.address}:51999`),
  );
  await shakenHands(cluster, [4]);
  assert.deepEqual(await lostPings(cluster, [4]), []);
}, noWireguard);

labTest("wireguard with one device for both families, reached by IPv6", async () => {
  const netConf = {
    ...{ Network: "10.244.0.0/16", EnableIPv6: true, IPv6Network: "fd00:10:244::/56" },
    Backend: { Type: "wireguard", Mode: "ipv6", ListenPort: 5000 },
  };
  await using cluster = await Cluster.create({ netConf, ipv6: true, segments: TWO }, withPlugin("wireguard"));
  const [a1, b1] = cluster.members as [Member, Member];
  await shakenHands(cluster, [4, 6]);
  assert.deepEqual(await lostPings(cluster, [4, 6]), []);
  assert.equal((await a1.node.exec(["wg", "show", "interfaces"])).trim(), "flannel-wg");
  assert.ok((await a1.node.exec(["wg", "show", "flannel-wg", "endpoints"])).includes(`\t[${b1.node.address6}]:5000\n`));
  const allowed = (await a1.node.exec(["wg", "show", "flannel-wg", "allowed-ips"])).trim().split("\n");
  assert.deepEqual(allowed.map((line) => line.split(/\s/).length), [3], "a peer is allowed a subnet of each family");
}, noWireguard);

labTest("a kernel without the devices leaves the agent alive, and status says what to load", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1", "a2"] } });
  for (const backend of ["ipip", "wireguard"]) {
    const agents = lab.nodes.map((node) => node.agent(withPlugin(backend)));
    const problem = await agents[0]!.until("names the module", async () => {
      const { problems } = await agents[0]!.status();
      return problems.find(({ why }) => why.includes("modprobe"));
    });
    assert.match(problem.why, new RegExp(`EOPNOTSUPP.* this kernel has no such devices; try "modprobe ${backend}"`));
    for (const agent of agents) assert.equal(await agent.stop(), 0);
  }
}, noDevices === null ? "this kernel has them" : null);
