/**
 * The backends that are not built in, loaded as plugins: commands of the extension backend make the paths, alloc makes none.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { labTest } from "./case.ts";
import { until } from "./command.ts";
import { Cluster, kernelOf, subnetOf } from "./cluster.ts";
import { Lab } from "./lab.ts";
import { shipped } from "./plugins.ts";

function netConf(commands: Readonly<Record<string, string>>): object {
  return { Network: "10.244.0.0/16", Backend: { Type: "extension", ...commands } };
}

/** What is in the store, by key. */
function leasesIn(lab: Lab): Record<string, Record<string, unknown>> {
  using db = new DatabaseSync(lab.leaseDb, { readOnly: true });
  return Object.fromEntries(
    db.prepare("SELECT key, value FROM lease").all().map(({ key, value }) => [key, JSON.parse(String(value))]),
  );
}

/** Writes leases as other nodes would: what each says, by the third number of its subnet. */
function publish(lab: Lab, leases: Readonly<Record<number, Readonly<Record<string, unknown>>>>): void {
  using db = new DatabaseSync(lab.leaseDb, { timeout: 5000 });
  const insert = db.prepare("INSERT INTO lease (key, value, node, expires_at) VALUES (?, ?, ?, NULL)");
  for (const [n, says] of Object.entries(leases)) {
    const value = { PublicIP: `192.168.10.${n}`, PublicIPv6: null, BackendType: "extension", ...says };
    insert.run(`10.244.${n}.0-24`, JSON.stringify(value), `node-${n}`);
  }
}

labTest("extension: commands make the paths of three nodes, and a restart loses nothing", async () => {
  const commands = {
    PreStartupCommand: "ip -br link show eth0 | awk '{ print $3 }'",
    PostStartupCommand: "mkdir -p /run/started && echo $NETWORK $SUBNET >/run/started/$PUBLIC_IP",
    SubnetAddCommand:
      'read -r MAC; ip neigh replace $PUBLIC_IP lladdr "$MAC" dev eth0 nud permanent && ip route replace $SUBNET via $PUBLIC_IP',
    SubnetRemoveCommand: "ip route del $SUBNET via $PUBLIC_IP; ip neigh del $PUBLIC_IP dev eth0",
    ShutdownCommand: "mkdir -p /run/stopped && touch /run/stopped/$(ip -4 -o addr show eth0 | sed 's/.*inet //; s/\\/.*//')",
  };
  const options = { args: [shipped("extension")] };
  await using cluster = await Cluster.create({ segments: { A: ["a1", "a2", "a3"] }, netConf: netConf(commands) }, options);
  const [a1, a2, a3] = [cluster.on("a1"), cluster.on("a2"), cluster.on("a3")];
  const [address] = await a1.node.json(["ip", "-j", "link", "show", "eth0"]);
  assert.deepEqual(leasesIn(cluster.lab)[subnetOf(a1).replace("/", "-")], {
    PublicIP: a1.node.address,
    PublicIPv6: null,
    BackendType: "extension",
    BackendData: address.address,
  });
  assert.equal(readFileSync(`/run/started/${a1.node.address}`, "utf8"), `10.244.0.0/16 ${subnetOf(a1)}\n`);
  const [route] = await a1.node.json(["ip", "-j", "route", "show", subnetOf(a2)]);
  assert.deepEqual([route.gateway, route.dev], [a2.node.address, "eth0"]);
  assert.equal((await a1.agent.peers())[0]!.path, "extension");
  assert.equal((await a1.agent.status()).mtu, 1500);

  await using traffic = await cluster.traffic([["a1", "a2"], ["a3", "a1"]], [4]);
  for (const signal of ["SIGTERM", "SIGKILL"] as const) await cluster.restart("a1", signal, options);
  assert.deepEqual(await traffic.stop(), []);
  assert.ok(existsSync(`/run/stopped/${a1.node.address}`));

  // A node that leaves while nobody looks.
  const gone = subnetOf(a3);
  await Promise.all([a1.agent.stop(), a3.agent.stop()]);
  await cluster.lab.router.exec(["sqlite3", cluster.lab.leaseDb, `DELETE FROM lease WHERE key = '${gone.replace("/", "-")}'`]);
  a1.agent = a1.node.agent(options);
  await a1.agent.inSync(1);
  await until("the route to it is gone", async () => (await a1.node.json(["ip", "-j", "route", "show", gone])).length === 0);
  assert.equal((await a1.pod.ping(a2.pod.address)).lost, 0);
});

labTest("extension: what other nodes publish harms nobody, and a command that hangs is given up for its peer", async () => {
  const commands = {
    SubnetAddCommand: 'read -r LINE; [ "$LINE" != hang ] || sleep 600; ip route replace $SUBNET via $PUBLIC_IP',
    SubnetRemoveCommand: "ip route del $SUBNET via $PUBLIC_IP",
  };
  const options = { args: [shipped("extension")] };
  await using cluster = await Cluster.create({ segments: { A: ["a1", "a2"] }, netConf: netConf(commands) }, options);
  const [a1, a2] = [cluster.on("a1"), cluster.on("a2")];
  const touch = "touch /run/pwned";
  publish(cluster.lab, {
    201: { BackendData: `$(${touch}) ; ${touch} # \`${touch}\`` },
    202: { BackendData: "hang" },
    203: { BackendData: { VtepMAC: `$(${touch})` } },
    204: { BackendData: "\u0000" },
    205: { PublicIP: `192.168.10.205;${touch}` },
    206: { BackendType: "vxlan", BackendData: { VtepMAC: "02:00:00:00:00:02" } },
  });
  const states = await a1.agent.until("has judged all", async () => {
    const rows = new Map((await a1.agent.peers()).map((peer) => [peer.subnet ?? peer.reason!, [peer.state, peer.reason ?? ""]]));
    const hung = rows.get("10.244.202.0/24") ?? [];
    if (!/killed after 10 s/.test(hung[1] ?? "")) throw new Error(JSON.stringify([...rows]));
    return rows;
  }, 20_000);
  assert.deepEqual(states.get(subnetOf(a2)), ["in-sync", ""]);
  assert.deepEqual(states.get("10.244.201.0/24"), ["in-sync", ""]);
  assert.match(states.get("10.244.202.0/24")!.join(" "), /^failed .*SubnetAddCommand: killed after 10 s/);
  assert.match(states.get("10.244.203.0/24")!.join(" "), /^rejected .*expected a string/);
  assert.match(states.get("10.244.204.0/24")!.join(" "), /^rejected .*control characters/);
  assert.ok([...states].some(([about, [state]]) => about.includes("10.244.205.0-24") && state === "rejected"));
  assert.match(states.get("10.244.206.0/24")!.join(" "), /^pending .*"vxlan"/);
  assert.ok(!existsSync("/run/pwned"));
  assert.equal((await a1.node.json(["ip", "-j", "route", "show", "10.244.201.0/24"])).length, 1);
  const left = await a1.node.exec(["sh", "-c", "grep -la '^sleep.600' /proc/[0-9]*/cmdline 2>/dev/null; true"]);
  assert.equal(left.split("\n").filter((line) => line !== "").length <= 2, true, left); // a2 and a retry may wait for theirs
  await a1.agent.ready();
  assert.equal((await a1.pod.ping(a2.pod.address)).lost, 0);
});

labTest("alloc: a lease and subnet.env, and nothing in the kernel", async () => {
  await using lab = await Lab.create({
    segments: { A: ["a1", "a2"] },
    netConf: { Network: "10.244.0.0/16", Backend: { Type: "alloc" } },
  });
  const [a1, a2] = [lab.node("a1"), lab.node("a2")];
  const before = await kernelOf({ node: a1 });
  const options = { args: [shipped("alloc")] };
  const agents = [a1.agent(options), a2.agent(options)];
  for (const agent of agents) await agent.ready();
  await agents[0]!.inSync(1);
  const { lease, kernel, backend, mtu } = await agents[0]!.status();
  assert.deepEqual([backend, kernel.items, mtu], ["alloc", 0, 1500]);
  assert.equal(a1.subnetEnv()["FLANNEL_SUBNET"], lease.subnet!.replace(/\.0\//, ".1/"));
  const value = leasesIn(lab)[lease.subnet!.replace("/", "-")];
  assert.deepEqual(value, { PublicIP: a1.address, PublicIPv6: null });
  assert.equal(await kernelOf({ node: a1 }), before);
});
