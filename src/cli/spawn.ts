/**
 * Runs a process with limits on its time and its output: the port of the CNI plugin.
 *
 * Loads nothing under Bun, where the container runtime waits for every millisecond: `node:child_process` with its streams would add
 * 15 ms to each call, so it is loaded only elsewhere. The process gets a group of its own, and the group is killed as a whole:
 * delegates start others (`bridge` starts `host-local`), which would go on and hold the streams open.
 *
 * @module
 */

import process from "node:process";
import type { Command, Outcome } from "../cni/io.ts";

/** A started process, as both runtimes can show it. */
interface Running {
  readonly pid: number;
  readonly streams: readonly AsyncIterable<Uint8Array>[];
  /** The exit code, once it has ended; `null` if a signal ended it. */
  readonly ended: Promise<number | null>;
}

/** What is used of Bun. */
interface Bun {
  spawn(argv: readonly string[], options: object): {
    readonly pid: number;
    readonly stdout: ReadableStream<Uint8Array>;
    readonly stderr: ReadableStream<Uint8Array>;
    readonly exited: Promise<number>;
    readonly signalCode: string | null;
  };
}

/** Runs a process to its end. @throws {Error} If it can not be started, with the system's code. */
export async function spawn(command: Command): Promise<Outcome> {
  const bun = (globalThis as { readonly Bun?: Bun }).Bun;
  const running = bun === undefined ? await startByNode(command) : startByBun(bun, command);
  let exceeded: Outcome["exceeded"] = null;
  const stopped = Promise.withResolvers<void>();
  const stop = (reason: "time" | "output") => {
    exceeded ??= reason;
    killGroup(running.pid);
    stopped.resolve();
  };
  const timer = setTimeout(stop, command.limitMs, "time");
  try {
    const texts = running.streams.map((stream) => readText(stream, command.limitBytes, stopped.promise, () => stop("output")));
    const [stdout = "", stderr = ""] = await Promise.all(texts);
    // A process may close its streams and go on.
    const code = await Promise.race([running.ended, stopped.promise.then(() => null)]);
    return { code, stdout, stderr, exceeded };
  } finally {
    clearTimeout(timer);
  }
}

function startByBun(bun: Bun, { argv, env, stdin }: Command): Running {
  const child = bun.spawn(argv, { env, stdin: new Blob([stdin]), stdout: "pipe", stderr: "pipe", detached: true });
  const ended = child.exited.then((code) => child.signalCode === null ? code : null);
  return { pid: child.pid, streams: [child.stdout, child.stderr], ended };
}

async function startByNode({ argv, env, stdin }: Command): Promise<Running> {
  const { spawn: start } = await import("node:child_process");
  const child = start(argv[0]!, argv.slice(1), { env: { ...env }, stdio: "pipe", detached: true });
  const ended = new Promise<number | null>((resolve) => child.once("exit", resolve));
  await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  child.stdin.on("error", () => {}).end(stdin); // it may end without reading
  return { pid: child.pid!, streams: [child.stdout, child.stderr], ended };
}

/** Reads until the stream ends, has given too much, or `stopped`. */
async function readText(
  stream: AsyncIterable<Uint8Array>,
  limit: number,
  stopped: Promise<void>,
  tooMuch: () => void,
): Promise<string> {
  const decoder = new TextDecoder();
  const chunks = stream[Symbol.asyncIterator]();
  const end = stopped.then(() => ({ done: true, value: undefined } as const));
  let [text, bytes] = ["", 0];
  for (;;) {
    const { done, value } = await Promise.race([chunks.next(), end]);
    if (done) break;
    bytes += value.length;
    if (bytes > limit) {
      tooMuch();
      break;
    }
    text += decoder.decode(value, { stream: true });
  }
  return text + decoder.decode();
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // All of it has ended.
  }
}
