/**
 * How near Weft comes to the kernel's own limit: limit.c, `ip -batch` and Weft on both runtimes put the same items, in one run.
 *
 * Each measurement has a network namespace of its own; rounds alternate between the programs, and the best of each counts, since the
 * machine may be busy with something else. Ratios are what to look at.
 *
 * ```sh
 * npm run bench -- kernel
 * ```
 *
 * @module
 */

import { join } from "node:path";
import process from "node:process";
import { run } from "../test/lab/command.ts";

const ROOT = join(import.meta.dirname!, "..");
const LIMIT = "/run/limit";
const ROUNDS = Number(process.env["WEFT_BENCH_ROUNDS"] ?? 5);

/** A program that puts items; the arguments are mode, peers, device, address and source. */
interface Program {
  readonly name: string;
  readonly command: (args: readonly string[]) => readonly string[];
}

const BIN = join(ROOT, "node_modules/.bin");
const WORKER = join(ROOT, "bench/kernel_worker.ts");
const C: Program = {
  name: "C",
  command: ([mode, peers, device, address, src]) => [LIMIT, ...(src ? ["-s", src] : []), mode!, peers!, device!, address!],
};
const BUN: Program = { name: "Weft (Bun)", command: (args) => [join(BIN, "bun"), WORKER, ...args] };
const DENO: Program = { name: "Weft (Deno)", command: (args) => [join(BIN, "deno"), "run", "-A", "--no-check", WORKER, ...args] };
const IP: Program = { name: "ip -batch", command: (args) => [join(BIN, "bun"), join(ROOT, "bench/ip_batch.ts"), ...args] };

/** Measures one program once, in a fresh namespace. */
async function measure(program: Program, mode: string, peers: number): Promise<number> {
  const name = "bench";
  await run(["ip", "netns", "add", name]);
  try {
    const vxlan = mode === "vxlan";
    const lines = [
      "link set lo up",
      "link add eth0 type veth peer name eth1",
      "addr add 192.168.0.1/16 dev eth0",
      "link set eth0 up",
      "link set eth1 up",
      ...(vxlan
        ? [
          "link add flannel.1 type vxlan id 1 local 192.168.0.1 dstport 8472 nolearning",
          "link set flannel.1 up",
          "addr add 10.255.0.0/32 dev flannel.1",
        ]
        : []),
    ];
    await run(["ip", "-n", name, "-batch", "-"], { input: lines.join("\n") });
    const args = [mode, String(peers), vxlan ? "flannel.1" : "eth0", "192.168.0.2", ...(vxlan ? ["10.255.0.0"] : [])];
    const output = await run(["ip", "netns", "exec", name, ...program.command(args)], { timeout: 300_000 });
    const { seconds, errors } = JSON.parse(output.trim().split("\n").at(-1)!) as { seconds: number; errors: number };
    if (errors > 0) throw new Error(`${program.name}: ${errors} items failed in mode ${mode}`);
    return seconds;
  } finally {
    await run(["ip", "netns", "del", name]);
    await new Promise((resolve) => setTimeout(resolve, 300)); // the kernel clears it under the lock that all need
  }
}

/** The best of several alternating rounds, by program. */
async function compare(mode: string, peers: number, programs: readonly Program[], rounds = ROUNDS): Promise<Map<string, number>> {
  const best = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    for (const program of programs) {
      const seconds = await measure(program, mode, peers);
      best.set(program.name, Math.min(best.get(program.name) ?? Infinity, seconds));
    }
  }
  console.log(`\n${mode}, ${peers} peers, best of ${rounds}`);
  const limit = best.get(C.name)!;
  for (const [name, seconds] of best) {
    console.log(
      `  ${name.padEnd(12)} ${seconds.toFixed(3).padStart(8)} s  ${(limit / seconds).toFixed(2).padStart(6)} of C's speed`,
    );
  }
  return best;
}

await run(["gcc", "-O2", "-Wall", "-Wextra", "-o", LIMIT, join(ROOT, "bench/limit.c")]);
const routes = await compare("one-gateway", 50_000, [C, BUN, DENO, IP]);
const nexthops = await compare("nexthop", 20_000, [C, BUN, DENO]);
await compare("vxlan", 20_000, [C, BUN, DENO]);
const classic = await compare("onlink", 20_000, [C], 1);

const ratio = (a: number, b: number) => (a / b).toFixed(2);
console.log("\nWhat is promised:");
for (const { name } of [BUN, DENO]) {
  console.log(
    `  ${name}: 50,000 routes over one gateway: ${ratio(routes.get(C.name)!, routes.get(name)!)} of C (0.9), ${
      ratio(routes.get(IP.name)!, routes.get(name)!)
    } times ip -batch (3)`,
  );
  console.log(
    `  ${name}: 20,000 peers by nexthop objects: ${ratio(nexthops.get(C.name)!, nexthops.get(name)!)} of C (0.9), ${
      ratio(classic.get(C.name)!, nexthops.get(name)!)
    } times C by classic routes (20)`,
  );
}
