/**
 * Agents that stop, die, start again, with the same backend or with another: no packet is lost, and what is right is not touched.
 *
 * @module
 */

import assert from "node:assert/strict";
import { labTest } from "./case.ts";
import { until } from "./command.ts";
import { Cluster, kernelOf, subnetOf } from "./cluster.ts";

const PAIRS = [["a1", "a2"], ["a1", "b1"], ["b1", "a2"]] as const;

labTest("an agent that stops, or is killed, and starts again loses no packet and changes nothing in the kernel", async () => {
  await using cluster = await Cluster.create({ ipv6: true }, { backend: "directrouting" });
  const before = await Promise.all(cluster.members.map(kernelOf));
  const a1 = cluster.on("a1");
  await using traffic = await cluster.traffic(PAIRS);
  await using monitor = await a1.node.monitor("link", "address", "route", "nexthop", "neigh");
  for (const signal of ["SIGTERM", "SIGKILL"] as const) await cluster.restart("a1", signal);
  const seen = monitor.text().split("\n").filter((line) => /flannel|proto 87|nhid/.test(line));
  assert.deepEqual(seen, [], "ip monitor saw changes of our items");
  assert.deepEqual(await traffic.stop(), []);
  assert.deepEqual(await Promise.all(cluster.members.map(kernelOf)), before);
});

labTest("agents restarted with another backend replace routes in place, lose nothing and remove what is left over", async () => {
  await using cluster = await Cluster.create({ segments: { A: ["a1", "a2"] }, ipv6: true }, { backend: "vxlan" });
  await using traffic = await cluster.traffic([["a1", "a2"], ["a2", "a1"]]);
  const switchAll = async (backend: string) => {
    for (const { node } of cluster.members) {
      await cluster.on(node.name).agent.stop();
      cluster.on(node.name).agent = node.agent({ backend });
      await cluster.on(node.name).agent.ready();
    }
    for (const { agent } of cluster.members) await agent.inSync(1);
  };
  for (
    const [backend, path] of [["host-gw", "direct"], ["directrouting", "direct"], ["vxlan", "vxlan"], [
      "host-gw",
      "direct",
    ]] as const
  ) {
    await switchAll(backend);
    await cluster.way("a1", "a2", path);
    const links = async () => (await cluster.on("a1").node.exec(["ip", "-br", "link"])).match(/flannel[^ ]*/g) ?? [];
    const wanted = backend === "host-gw" ? 0 : 2;
    await until(`${wanted} vxlan devices are there`, async () => (await links()).length === wanted, { timeout: 10_000 });
  }
  assert.deepEqual(await traffic.stop(), []);
});

labTest("leases that vanished while the agent was down are removed after the first full list, and not before", async () => {
  await using cluster = await Cluster.create({ ipv6: true }, { backend: "directrouting" });
  const [a1, b1] = [cluster.on("a1"), cluster.on("b1")];
  const gone = subnetOf(b1);
  await a1.agent.stop();
  await b1.agent.stop();
  await cluster.lab.router.exec(["sqlite3", cluster.lab.leaseDb, `DELETE FROM lease WHERE key LIKE '${gone.replace("/", "-")}%'`]);
  assert.match(await kernelOf(a1), new RegExp(`${gone} `));
  a1.agent = a1.node.agent({ backend: "directrouting" });
  await a1.agent.inSync(1);
  const mac = (await b1.node.json(["ip", "-j", "link", "show", "flannel.1"]))[0].address as string;
  await until("nothing of the lease is left", async () => {
    const kernel = await kernelOf(a1);
    return !kernel.includes(gone) && !kernel.includes(mac);
  }, { timeout: 5000 });
});

labTest("without nexthop objects everything works by classic routes", async () => {
  const options = { backend: "directrouting", env: { WEFT_NEXTHOP_OBJECTS: "off" } };
  await using cluster = await Cluster.create({ ipv6: true }, options);
  await using traffic = await cluster.traffic(PAIRS);
  assert.equal((await cluster.on("a1").node.exec(["ip", "nexthop"])).trim(), "");
  const before = await kernelOf(cluster.on("a1"));
  await cluster.restart("a1", "SIGKILL");
  assert.equal(await kernelOf(cluster.on("a1")), before);
  // And back to nexthop objects, and away from them again: routes are replaced in place.
  await cluster.restart("a1", "SIGTERM", { backend: "directrouting" });
  assert.notEqual((await cluster.on("a1").node.exec(["ip", "nexthop"])).trim(), "");
  await cluster.restart("a1", "SIGTERM", options);
  await until("no nexthop object is left", async () => (await cluster.on("a1").node.exec(["ip", "nexthop"])).trim() === "", {
    timeout: 5000,
  });
  assert.deepEqual(await traffic.stop(), []);
});
