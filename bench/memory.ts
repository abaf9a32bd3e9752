/**
 * How much memory a process has.
 *
 * @module
 */

import { readFileSync } from "node:fs";

/** Memory of a process in MiB, by the name of a line of its status. */
export function memoryOf(pid: number, name: string): number {
  const kilobytes = new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kilobytes ?? 0) / 1024;
}
