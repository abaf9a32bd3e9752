/**
 * The guide docs/write-a-backend.md, step by step: each file in it passes the check, and the last one reaches other nodes on a machine
 * that has nothing but the agent.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { labTest } from "./case.ts";
import { Cluster, subnetOf } from "./cluster.ts";
import { attempt, run, until } from "./command.ts";
import { Image } from "./image.ts";
import { agentCommand } from "./paths.ts";

const ROOT = resolve(import.meta.dirname!, "../..");
const GUIDE = readFileSync(join(ROOT, "docs/write-a-backend.md"), "utf8");
const NAME = "by-gateway";
const AGENT = agentCommand("binary")[0]!;

/** The code blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...GUIDE.matchAll(/^```(\w+)\n([^]*?)^```$/gm)].filter(([, is]) => is === language).map(([, , text]) => text!);
}

labTest(
  "the commands of the guide work; the file of its first step has the fault that it tells of, those of the others pass",
  async () => {
    const dir = "/run/guide";
    mkdirSync(dir);
    const [begin, check] = blocks("sh") as [string, string];
    const shell = async (text: string) => await attempt(["sh", "-ec", `cd "$0"; agent() { ${AGENT} "$@"; }; ${text}`, dir]);
    assert.equal((await shell(begin)).code, 0);
    const steps = blocks("ts");
    assert.equal(steps.length, 3);
    for (const [i, text] of steps.entries()) {
      writeFileSync(join(dir, `${NAME}.ts`), text);
      const { code, stdout, stderr } = await shell(check);
      assert.equal(code, i === 0 ? 1 : 0, `step ${i + 1}:\n${stdout}${stderr}`);
      if (i === 0) assert.ok(stdout.includes(blocks("text")[0]!), stdout);
      else assert.match(stdout, /\n\d+ passed, 0 failed, 0 skipped\n$/);
    }
  },
);

labTest("the files of all steps have the types that an author gets with the package", async () => {
  const dir = "/run/types";
  mkdirSync(dir);
  const modules = join(dir, "node_modules");
  mkdirSync(join(modules, "weft"), { recursive: true });
  await run(["npm", "pack", "--silent", "--pack-destination", dir, ROOT], { env: { npm_config_cache: join(dir, "cache") } });
  await run(["tar", "-xzf", join(dir, "weft-0.1.0.tgz"), "-C", join(modules, "weft"), "--strip-components=1"]);
  for (const name of ["@types", "undici-types"]) symlinkSync(join(ROOT, "node_modules", name), join(modules, name));
  writeFileSync(join(dir, "package.json"), JSON.stringify({ dependencies: { weft: "*", "@types/node": "*" } }));
  writeFileSync(join(dir, "deno.json"), JSON.stringify({ nodeModulesDir: "manual", compilerOptions: { strict: true } }));
  const files = blocks("ts").map((text, i) => [join(dir, `step${i + 1}.ts`), text] as const);
  for (const [file, text] of files) writeFileSync(file, text);
  const config = ["--config", join(dir, "deno.json")];
  await run([join(ROOT, "node_modules/.bin/deno"), "check", "--quiet", ...config, ...files.map(([file]) => file)]);
});

labTest("the finished backend reaches other nodes on a machine with nothing but the agent and the C library", async () => {
  const image = await Image.create("/run/image");
  assert.deepEqual(readdirSync(image.root).filter((name) => !/^lib/.test(name)).sort(), ["agent", "proc", "run"]);
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
