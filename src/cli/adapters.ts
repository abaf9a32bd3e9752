/**
 * The outside world, as the agent is handed it: time, chance, files and the log.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { Chance, Clock, Log, SubnetFile } from "../agent/ports.ts";
import { writeFileAtomically } from "../config/atomic_file.ts";
import type { Level } from "../model/effects.ts";
import { macFromBytes } from "../model/ip.ts";

/** The system's clock. */
export const clock: Clock = {
  now: () => Date.now(),
  after(milliseconds, call) {
    const timer = setTimeout(call, milliseconds);
    return () => clearTimeout(timer);
  },
};

/** The system's randomness. */
export const chance: Chance = {
  number: () => Math.random(),
  mac() {
    const bytes = randomBytes(6);
    bytes[0] = (bytes[0]! & 0xfe) | 0x02; // unicast, locally administered
    return macFromBytes(bytes);
  },
};

/** The file at a path. A file that cannot be read counts as an error, one that does not exist as `null`. */
export function subnetFile(path: string): SubnetFile {
  return {
    async read() {
      try {
        return await readFile(path, "utf8");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
        throw new Error(`Cannot read "${path}": ${(error as Error).message}; it must be a readable file or not exist`);
      }
    },
    write: (text) => writeFileAtomically(path, text),
  };
}

/** A log on stderr. Lines of level `debug` need `-v=1`. */
export function logTo(write: (line: string) => void, format: "text" | "json", verbosity: number): Log {
  return (level: Level, message: string) => {
    if (level === "debug" && verbosity < 1) return;
    const time = new Date().toISOString();
    write(format === "json" ? `${JSON.stringify({ time, level, message })}\n` : `${time} ${level.padEnd(7)} ${message}\n`);
  };
}
