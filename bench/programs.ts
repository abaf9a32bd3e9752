/**
 * Programs that put items into a kernel of their own, measured; limit.c among them, which shows how fast the kernel takes them.
 *
 * @module
 */

import { join } from "node:path";
import { run } from "../test/lab/command.ts";

const LIMIT = "/run/limit";

/** A program that puts items; the arguments are mode, peers, device, address and source. */
export interface Program {
  readonly name: string;
  readonly command: (args: readonly string[]) => readonly string[];
}

/** limit.c. {@linkcode buildLimit} comes first. */
export const C: Program = {
  name: "C",
  command: ([mode, peers, device, address, src]) => [LIMIT, ...(src ? ["-s", src] : []), mode!, peers!, device!, address!],
};

/** Compiles limit.c. */
export async function buildLimit(): Promise<void> {
  await run(["gcc", "-O2", "-Wall", "-Wextra", "-o", LIMIT, join(import.meta.dirname!, "limit.c")]);
}

/** Measures one program once, in a fresh namespace. */
export async function measure(program: Program, mode: string, peers: number): Promise<number> {
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
