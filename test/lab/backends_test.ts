/**
 * The built-in backends in a real kernel, by the suite of `agent plugin check`; and that suite itself, as an author calls it.
 *
 * @module
 */

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { openDriver } from "../../ffi/mod.ts";
import { keys } from "../../src/cli/adapters.ts";
import { openKernel } from "../../src/kernel/kernel.ts";
import type { Result } from "../../src/plugins/check/run.ts";
import { check } from "../../src/plugins/check/run.ts";
import { NETWORK_COMMANDS } from "../../src/plugins/check/room.ts";
import { BACKENDS } from "../../src/plugins.ts";
import { builtIn } from "../contracts/backend.ts";
import { labTest } from "./case.ts";
import { attempt, run } from "./command.ts";
import { agentCommand } from "./paths.ts";
import { byGateway, pluginFolder } from "./plugins.ts";

const ROOT = resolve(import.meta.dirname!, "../..");

labTest("every built-in backend keeps the suite in a real kernel", async () => {
  await run(["ip", "-batch", "-"], { input: NETWORK_COMMANDS.join("\n") });
  using kernel = openKernel(await openDriver(), { keys });
  for (const backend of BACKENDS) {
    for await (const { name, outcome, note } of check(builtIn(backend, { Type: backend.name }), { kernel })) {
      assert.equal(outcome, "passed", `${backend.name}: it ${name}: ${note}`);
    }
  }
  const routes = await run(["ip", "route", "show", "203.0.113.0/24"]);
  assert.match(routes, /via 192\.0\.2\.253/, "somebody else's route");
});

/** Calls `agent plugin …` in a folder. */
async function plugin(folder: string, ...args: readonly string[]) {
  return await attempt(["sh", "-c", 'cd "$0" && exec "$@"', folder, ...agentCommand(), "plugin", ...args], { timeout: 60_000 });
}

async function resultsOf(folder: string, file: string): Promise<{ readonly code: number; readonly results: readonly Result[] }> {
  const { code, stdout, stderr } = await plugin(folder, "check", file, "--json");
  if (!stdout.startsWith("{")) throw new Error(`${file}: ${stdout}${stderr}`);
  return { code, results: JSON.parse(stdout).results };
}

labTest("what agent plugin new writes passes agent plugin check, whose report can be read by people and programs", async () => {
  const folder = pluginFolder("/run/author", {});
  const made = await plugin(folder, "new", "mine");
  assert.deepEqual([made.code, made.stdout], [0, "Wrote mine.ts. Check it with: agent plugin check mine.ts\n"]);
  const { code, stdout } = await plugin(folder, "check", "mine.ts");
  assert.equal(code, 0, stdout);
  assert.match(stdout, /^ok {6}it is put right when somebody takes any part of it away \(\d+ items taken away and put back\)$/m);
  assert.match(stdout, /^15 passed, 0 failed, 0 skipped$/m);
  const { results } = await resultsOf(folder, "mine.ts");
  assert.ok(results.every(({ outcome }) => outcome === "passed"));
  const again = await plugin(folder, "new", "mine");
  assert.deepEqual([again.code, /EEXIST/.test(again.stderr)], [1, true], "a file is never written over");
  const built = await plugin(folder, "new", "vxlan");
  assert.deepEqual([built.code, /built in/.test(built.stderr)], [2, true]);
});

/** What an author may get wrong, and the check that finds it. */
const WRONG: Readonly<Record<string, readonly [odd: Readonly<Record<string, string>>, name: RegExp, note: RegExp]>> = {
  "forgets-name": [{ links: '() => ["mine0"]', devices: "/^other/" }, /names its devices/, /does not match "mine0"/],
  "wide-mtu": [{ mtu: "(external: number) => external + 100" }, /leaves pods an MTU/, /answers 1600/],
  "reads-nothing": [{ leaseData: '() => { throw new Error("no"); }' }, /reads what it publishes itself/, /is rejected: .*no/],
  "foreign": [
    { node: '() => [{ kind: "reverse-path", link: "eth9" }]' },
    /asks only for what is its own/,
    /device "eth9" is not one that links/,
  ],
  "no-route": [{ peer: '() => ({ path: "no-route", items: [] })' }, /gives every peer a route/, /no route to/],
  "clock": [{ publish: "() => Date.now()" }, /says what other nodes publish/, /reads the clock/],
  "counts": [{ publish: "() => count++" }, /answers the same for the same/, /asked again, it answers something else/],
  "fragile": [
    { publish: '() => "x"', peer: '(peer: any, side: any) => ({ path: peer.data.slice(0, 0) + "x", items: [] })' },
    /bears whatever/,
    /makes peer\(\) fail/,
  ],
  "slow": [
    {
      peer: `(peer: any, side: any) => {
    for (let i = 0; i < 15e5; i++) Math.sqrt(i);
    return { path: "slow", items: [{ kind: "route", dst: peer.subnet, to: { via: peer.publicIp, link: side.link, onlink: false }, src: null }] };
  }`,
    },
    /plans 5,000 peers/,
    /it takes \d+ ms for 5000 peers|did not answer within/,
  ],
  "unreachable": [{}, /puts into the kernel/, /Nexthop has invalid gateway/],
};

labTest("agent plugin check finds what an author may get wrong, and says how to mend it", async () => {
  const files = Object.entries(WRONG).map(([name, [odd]]) => [`${name}.ts`, `let count = 0;\n${byGateway(name, odd)}`]);
  const folder = pluginFolder("/run/wrong", Object.fromEntries(files));
  const left = Object.entries(WRONG);
  const lane = async () => { // two at a time: each takes a second
    for (let next = left.pop(); next !== undefined; next = left.pop()) {
      const [name, [, which, note]] = next;
      const { code, results } = await resultsOf(folder, `${name}.ts`);
      assert.equal(code, 1, name);
      const found = results.find((result) => which.test(result.name));
      assert.deepEqual(
        [found?.outcome, note.test(found?.note ?? "")],
        ["failed", true],
        `${name}: ${JSON.stringify(found ?? results)}`,
      );
      assert.ok(found?.mend, `${name}: how to mend it`);
    }
  };
  await Promise.all([lane(), lane()]);
});

labTest("the backends that are shipped as files pass the check", async () => {
  const folder = "/run/shipped";
  const names = ["alloc", "extension", "ipip", "wireguard"];
  pluginFolder(
    folder,
    Object.fromEntries(names.map((name) => [`${name}.ts`, readFileSync(join(ROOT, "backends", `${name}.ts`), "utf8")])),
  );
  for (const name of names) {
    const { code, results } = await resultsOf(folder, `${name}.ts`);
    assert.deepEqual([code, results.filter(({ outcome }) => outcome === "failed")], [0, []], name);
  }
});

labTest("a file that is no backend is told so in one line", async () => {
  const folder = pluginFolder("/run/none", {
    "none.ts": "export default 1;\n",
    "long.ts": byGateway("long", { links: '() => ["a-name-of-a-device"]' }),
  });
  writeFileSync(join(folder, "asks.ts"), 'import x from "left-pad";\n');
  const cases: Readonly<Record<string, RegExp>> = {
    "none.ts": /it has no backend as its default export/,
    "asks.ts": /it imports "left-pad"/,
    "gone.ts": /ENOENT/,
    "long.ts": /links\(\) answers what is no such thing: .*not the name of a device/,
  };
  for (const [file, says] of Object.entries(cases)) {
    const { code, stderr } = await plugin(folder, "check", file);
    assert.deepEqual([code, stderr.trim().split("\n").length], [1, 1], stderr);
    assert.match(stderr, says);
  }
});
