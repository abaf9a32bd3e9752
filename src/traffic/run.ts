/**
 * Runs the commands of the traffic rules as child processes.
 *
 * Owns the child's life: it gets its input, its output is collected, and it is killed when its time is over.
 *
 * @module
 */

import { execFile } from "node:child_process";
import type { CommandResult, Run } from "./command.ts";

/** iptables waits up to 10 s for its lock, and a busy node with a CPU limit may need longer for a large table than one would think. */
const LIMIT_MS = 30_000;
/** A table with 100,000 rules is about 11 MB of text. */
const MAX_OUTPUT = 128 * 1024 * 1024;

/**
 * A runner of commands.
 *
 * @param env Their environment; PATH says where programs are looked for.
 * @param limit Milliseconds after which a command is killed.
 */
export function commandRunner(env: Readonly<Record<string, string | undefined>>, limit: number = LIMIT_MS): Run {
  return (argv, stdin) =>
    new Promise<CommandResult | null>((resolve, reject) => {
      const [file, ...args] = argv as [string, ...string[]];
      const options = { env: { ...env }, timeout: limit, killSignal: "SIGKILL", maxBuffer: MAX_OUTPUT } as const;
      const child = execFile(file, args, options, (error, stdout, stderr) => {
        if (error === null) return resolve({ status: 0, stdout, stderr });
        if (error.code === "ENOENT") return resolve(null);
        if (typeof error.code === "number") return resolve({ status: error.code, stdout, stderr });
        const ended = error.signal ? `it was ended by ${error.signal}` : error.message;
        const reason = error.killed ? `it did not end within ${limit / 1000} s` : ended;
        reject(new Error(`Cannot run ${argv.join(" ")}: ${reason}`, { cause: error }));
      });
      child.stdin?.on("error", () => {}); // a program that ends early does not read to the end; its exit status says why
      child.stdin?.end(stdin);
    });
}
