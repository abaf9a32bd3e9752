/**
 * Keeps secrets of the command line out of process lists.
 *
 * Whoever may run `ps` sees the arguments of all processes, which are memory of the process itself: the secrets in them are written
 * over with asterisks as soon as they have been read. Source: proc(5), `arg_start` in `/proc/pid/stat`.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { closeSync, openSync, readFileSync, writeSync } from "node:fs";

/** Where a secret stands in the arguments as the kernel has them, each with a zero byte behind it: offset and length in bytes. */
export function secretsIn(cmdline: Uint8Array, flag: string): readonly (readonly [offset: number, length: number])[] {
  const found: [number, number][] = [];
  let offset = 0;
  let next = false;
  for (const arg of Buffer.from(cmdline).toString("latin1").split("\0")) {
    const [, name, equals] = /^--?([\w-]+)(=?)/.exec(arg) ?? [];
    const value = name === flag && equals !== "" ? arg.indexOf("=") + 1 : null;
    if (next) found.push([offset, arg.length]);
    else if (value !== null) found.push([offset + value, arg.length - value]);
    next = !next && name === flag && value === null;
    offset += arg.length + 1;
  }
  return found.filter(([, length]) => length > 0);
}

/** Hides the value of a flag of this process. Where the system does not let us, it stays. */
export function hideSecretArgument(flag: string): void {
  try {
    const secrets = secretsIn(readFileSync("/proc/self/cmdline"), flag);
    if (secrets.length === 0) return;
    const fields = readFileSync("/proc/self/stat", "latin1").replace(/^.*\) /s, "").split(" ");
    const start = Number(fields[45]); // the 48th, counted from one, and after the name in brackets
    const memory = openSync("/proc/self/mem", "r+");
    try {
      for (const [offset, length] of secrets) writeSync(memory, "*".repeat(length), start + offset);
    } finally {
      closeSync(memory);
    }
  } catch {
    // no worse than before
  }
}
