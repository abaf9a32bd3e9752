/**
 * `npm run bench [-- codec|kernel|cni|plugins|etcd|kubernetes …]`: all benches, or the named ones; those of code on both runtimes.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { join } from "node:path";
import process from "node:process";

const ROOT = join(import.meta.dirname!, "..");
const BUN = join(ROOT, "node_modules/.bin/bun");
const DENO = [join(ROOT, "node_modules/.bin/deno"), "run", "-A", "--no-check"];

const BENCHES: Readonly<Record<string, readonly (readonly string[])[]>> = {
  codec: [[BUN, "bench/codec.ts"], [...DENO, "bench/codec.ts"]],
  kernel: [[BUN, "test/lab/run.ts", "bench/kernel.ts"]],
  cni: [[BUN, "test/lab/run.ts", "bench/cni.ts"]],
  plugins: [[BUN, "bench/plugins.ts"], [...DENO, "bench/plugins.ts"]],
  etcd: [[BUN, "test/lab/run.ts", "bench/etcd.ts"]],
  kubernetes: [[BUN, "bench/kubernetes.ts"], [BUN, "test/lab/run.ts", "bench/kubernetes_agent.ts"]],
};

const named = process.argv.slice(2);
for (const name of named.length === 0 ? Object.keys(BENCHES) : named) {
  const commands = BENCHES[name];
  if (commands === undefined) {
    console.error(`There is no bench "${name}": there are ${Object.keys(BENCHES).join(", ")}`);
    process.exit(2);
  }
  for (const [program, ...args] of commands as readonly (readonly [string, ...string[]])[]) {
    console.log(`\n${program.endsWith("deno") ? "Deno" : "Bun"}: ${name}`);
    const { status } = spawnSync(program, args, { cwd: ROOT, stdio: "inherit" });
    if (status !== 0) process.exit(status ?? 1);
  }
}
