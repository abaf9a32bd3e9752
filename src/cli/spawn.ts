/**
 * Runs a process with limits on its time and its output: the port of the CNI plugin.
 *
 * The process gets a group of its own, and the group is killed as a whole: delegates start others (`bridge` starts `host-local`), which
 * would go on and hold the streams open. Under Bun nothing is loaded and nothing else runs meanwhile, because the container runtime
 * waits for every millisecond: `node:child_process` and its streams would add 15 ms to each call.
 *
 * @module
 */

import process from "node:process";
import type { Command, Outcome } from "../cni/io.ts";

/** What is used of Bun. */
interface Bun {
  spawnSync(argv: readonly string[], options: object): {
    readonly pid: number;
    readonly exitCode: number | null;
    readonly stdout: Uint8Array;
    readonly stderr: Uint8Array;
    readonly exitedDueToTimeout?: boolean;
    readonly exitedDueToMaxBuffer?: boolean;
  };
}

/** Runs a process to its end. @throws {Error} If it can not be started, with the system's code. */
export async function spawn(command: Command): Promise<Outcome> {
  const bun = (globalThis as { readonly Bun?: Bun }).Bun;
  return bun === undefined ? await runByNode(command) : runByBun(bun, command);
}

function runByBun(bun: Bun, { argv, env, stdin, limitMs, limitBytes }: Command): Outcome {
  const limits = { timeout: limitMs, maxBuffer: limitBytes, killSignal: "SIGKILL", detached: true };
  const ended = bun.spawnSync(argv, { env, stdin: new Blob([stdin]), stdout: "pipe", stderr: "pipe", ...limits });
  const exceeded = ended.exitedDueToTimeout ? "time" : ended.exitedDueToMaxBuffer ? "output" : null;
  if (exceeded !== null) killGroup(ended.pid);
  const decoder = new TextDecoder();
  const [stdout, stderr] = [ended.stdout, ended.stderr].map((bytes) => decoder.decode(bytes));
  return { code: exceeded === null ? ended.exitCode : null, stdout: stdout!, stderr: stderr!, exceeded };
}

async function runByNode({ argv, env, stdin, limitMs, limitBytes }: Command): Promise<Outcome> {
  const { spawn: start } = await import("node:child_process");
  const child = start(argv[0]!, argv.slice(1), { env: { ...env }, stdio: "pipe", detached: true });
  const ended = new Promise<number | null>((resolve) => child.once("close", resolve));
  await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  child.stdin.on("error", () => {}).end(stdin); // it may end without reading
  const stopped = Promise.withResolvers<"time" | "output">();
  const timer = setTimeout(stopped.resolve, limitMs, "time");
  const [stdout, stderr] = [child.stdout, child.stderr].map((stream) => {
    const read = { chunks: [] as Uint8Array[], bytes: 0 };
    stream.on("data", (chunk: Uint8Array) => {
      read.bytes += chunk.length;
      if (read.bytes > limitBytes) stopped.resolve("output");
      else read.chunks.push(chunk);
    });
    return () => Buffer.concat(read.chunks).toString();
  });
  const how = await Promise.race([
    ended.then((code) => ({ code, exceeded: null })),
    stopped.promise.then((exceeded) => ({ code: null, exceeded })),
  ]);
  clearTimeout(timer);
  if (how.exceeded !== null) {
    killGroup(child.pid!);
    for (const stream of [child.stdin, child.stdout, child.stderr]) stream.destroy();
  }
  return { ...how, stdout: stdout!(), stderr: stderr!() };
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of it has ended.
  }
}
