/**
 * The executable as a CNI plugin: wires the plugin's ports.
 *
 * A container runtime starts it for every container. So this module is loaded before, and instead of, everything else, and uses none of
 * `process.stdin`, `process.stdout` and `process.stderr`, whose streams alone take 12 ms.
 *
 * @module
 */

import * as fs from "node:fs";
import process from "node:process";
import { runCni } from "../cni/plugin.ts";
import { spawn } from "./spawn.ts";

/** What is used of Bun: how much more often than usual code has to run before it is compiled. */
interface Bun {
  readonly unsafe?: { setJITPolicy?(scale: number): void };
}

/**
 * Serves one call of a container runtime.
 *
 * @param limitMs How long a delegate may take, in milliseconds; the plugin's own limit if absent.
 * @returns The exit code.
 */
export function cni(limitMs?: number): Promise<number> {
  // Nothing here runs long enough to be worth compiling, which takes a millisecond of two processors.
  (globalThis as { readonly Bun?: Bun }).Bun?.unsafe?.setJITPolicy?.(1000);
  const io = {
    env: process.env,
    stdin: () => readAll(0),
    stdout: (text: string) => fs.writeFileSync(1, text),
    stderr: (text: string) => fs.writeFileSync(2, text),
    spawn,
  };
  return runCni(io, limitMs);
}

async function readAll(file: number): Promise<string> {
  const [chunks, buffer] = [[] as Buffer[], Buffer.alloc(64 * 1024)];
  for (;;) {
    try {
      const count = fs.readSync(file, buffer);
      if (count === 0) return Buffer.concat(chunks).toString();
      chunks.push(Buffer.from(buffer.subarray(0, count)));
    } catch (error) {
      // The other end of a pipe may have made it one that does not wait.
      if ((error as { code?: string }).code !== "EAGAIN") throw error;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }
}
