/**
 * How near Weft comes to the kernel's own limit: limit.c, `ip -batch` and Weft on both runtimes put the same items, in one run.
 *
 * Each measurement has a network namespace of its own; rounds alternate between the programs, and the best of each counts, since the
 * machine may be busy with something else. Ratios are what to look at. Weft does the same a few times before it is measured, so that its
 * code has been compiled; C does it once, so that it finds the kernel's caches as Weft does.
 *
 * ```sh
 * npm run bench -- kernel
 * ```
 *
 * @module
 */

import { join } from "node:path";
import process from "node:process";
import { buildLimit, C, measure, type Program } from "./programs.ts";

const ROOT = join(import.meta.dirname!, "..");
const WARM = process.env["WEFT_BENCH_WARM"] ??= "5"; // the worker reads it too
const ROUNDS = Number(process.env["WEFT_BENCH_ROUNDS"] ?? 5);

const BIN = join(ROOT, "node_modules/.bin");
const WORKER = join(ROOT, "bench/kernel_worker.ts");
const BUN: Program = { name: "Weft (Bun)", command: (args) => [join(BIN, "bun"), WORKER, ...args] };
const DENO: Program = { name: "Weft (Deno)", command: (args) => [join(BIN, "deno"), "run", "-A", "--no-check", WORKER, ...args] };
/** C, after it has done the same once, so that it finds the kernel's caches as Weft does; the device took all with it in between. */
const C_AGAIN: Program = {
  name: C.name,
  command: (args) => {
    const between = `ip link set ${args[2]!} down && ip link set ${args[2]!} up`;
    return ["sh", "-c", `"$@" && ${between} && exec "$@"`, "sh", ...C.command(args)];
  },
};
const IP: Program = { name: "ip -batch", command: (args) => [join(BIN, "bun"), join(ROOT, "bench/ip_batch.ts"), ...args] };

/** The best of several alternating rounds, by program. */
async function compare(mode: string, peers: number, programs: readonly Program[], rounds = ROUNDS): Promise<Map<string, number>> {
  const best = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    for (const program of programs) {
      const seconds = await measure(program, mode, peers);
      best.set(program.name, Math.min(best.get(program.name) ?? Infinity, seconds));
    }
  }
  console.log(`\n${mode}, ${peers} peers, best of ${rounds}; Weft after ${WARM} rounds in the same process, which compile it`);
  const limit = best.get(C.name)!;
  for (const [name, seconds] of best) {
    console.log(
      `  ${name.padEnd(12)} ${seconds.toFixed(3).padStart(8)} s  ${(limit / seconds).toFixed(2).padStart(6)} of C's speed`,
    );
  }
  return best;
}

await buildLimit();
const routes = await compare("one-gateway", 50_000, [C_AGAIN, BUN, DENO, IP]);
const nexthops = await compare("nexthop", 20_000, [C_AGAIN, BUN, DENO]);
await compare("vxlan", 20_000, [C, BUN, DENO]);
const classic = await compare("onlink", 20_000, [C], 1);

const ratio = (a: number, b: number) => (a / b).toFixed(2);
console.log("\nWhat is promised:");
for (const { name } of [BUN, DENO]) {
  console.log(
    `  ${name}: 50,000 routes over one gateway: ${ratio(routes.get(C.name)!, routes.get(name)!)} of C (0.9), ${
      ratio(routes.get(IP.name)!, routes.get(name)!)
    } times ip -batch (3; C itself ${ratio(routes.get(IP.name)!, routes.get(C.name)!)})`,
  );
  console.log(
    `  ${name}: 20,000 peers by nexthop objects: ${ratio(nexthops.get(C.name)!, nexthops.get(name)!)} of C (0.9), ${
      ratio(classic.get(C.name)!, nexthops.get(name)!)
    } times C by classic routes (20)`,
  );
}
