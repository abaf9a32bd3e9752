/**
 * The guide docs/write-a-backend.md: its finished file reaches other nodes on a machine that has nothing but the agent.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { labTest } from "./case.ts";
import { Cluster, subnetOf } from "./cluster.ts";
import { until } from "./command.ts";
import { Image } from "./image.ts";

const GUIDE = readFileSync(resolve(import.meta.dirname!, "../../docs/write-a-backend.md"), "utf8");
const NAME = "by-gateway";

/** The code blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...GUIDE.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].filter(([, is]) => is === language).map(([, , text]) => text!);
}

labTest("the finished backend reaches other nodes on a machine with nothing but the agent and the C library", async () => {
  const image = await Image.create("/run/image");
  assert.deepEqual(readdirSync(image.root).filter((name) => !/^lib/.test(name)).sort(), ["agent", "dev", "proc", "run", "sys"]);
  image.write(`/etc/weft/backends/${NAME}.ts`, blocks("ts").at(-1)!);
  image.write("/etc/weft/gateways.json", blocks("json")[0]!);
  const [[name, gateway]] = Object.entries(JSON.parse(blocks("json")[0]!)) as [[string, string]];
  const lab = { segments: { A: ["a1", "a2", "a3"] }, netConf: { Network: "10.244.0.0/16", Backend: { Type: NAME } } };
  await using cluster = await Cluster.create(lab, { command: image.command });
  const [named, other] = [cluster.on(name), cluster.on("a2")];
  await named.node.ip(`addr add ${gateway}/24 dev eth0`);
  const [route] = await other.node.json(["ip", "-j", "route", "show", subnetOf(named)]);
  assert.deepEqual([route.gateway, route.protocol], [gateway, "87"]);
  const lost: string[] = [];
  for (const from of cluster.members) {
    for (const to of cluster.members) {
      const result = await from.pod.ping(to.pod.address);
      if (result.lost > 0) lost.push(`${from.pod.name} to ${to.pod.name}`);
    }
  }
  assert.deepEqual(lost, []);
  const peers = await other.agent.peers();
  assert.deepEqual(peers.map(({ path, backendType, state }) => [path, backendType, state]), Array(2).fill([NAME, NAME, "in-sync"]));
  await other.node.ip(`route del ${subnetOf(named)}`);
  await until(
    "the route is back",
    async () => (await other.node.json(["ip", "-j", "route", "show", subnetOf(named)])).length === 1,
  );
  await using traffic = await cluster.traffic([["a2", name]], [4]);
  await cluster.restart("a2", "SIGKILL");
  assert.deepEqual(await traffic.stop(), []);
});
