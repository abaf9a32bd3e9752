/**
 * The outside world, as the agent is handed it: time, chance, files and the log.
 *
 * @module
 */

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import type { Chance, Clock, Log, SubnetFile } from "../agent/ports.ts";
import { writeFileAtomically } from "../config/atomic_file.ts";
import type { Keys } from "../kernel/wireguard.ts";
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

/** What is used of Bun. */
interface Bun {
  gc(force: boolean): void;
  shrink(): void;
  readonly unsafe?: { setJITPolicy?(scale: number): void };
}

/** A process that may have no more than this, in bytes, gives memory back. */
const SCARCE = 256 * 1024 * 1024;
/** So many milliseconds the runtime's own thread needs to hand pages back to the system. */
const HANDING_BACK = 150;

/** Gives memory back. */
export interface Relief {
  /** Collects garbage at once, which the runtime would keep for later. */
  collect(): void;
  /** Collects, and resolves when the system has the pages again. */
  handBack(): Promise<void>;
}

/**
 * Gives memory back, where the process may have little: the collector of Bun goes by the machine's memory, not by the process's.
 *
 * @param limit As much as the process may have, in bytes.
 * @returns `null` where that is enough, or the runtime can not be told.
 */
export function reliefOf(limit: number): Relief | null {
  const bun = (globalThis as { readonly Bun?: Bun }).Bun;
  if (bun === undefined || limit === 0 || limit > SCARCE) return null;
  bun.unsafe?.setJITPolicy?.(100);
  return {
    collect: () => bun.gc(true),
    async handBack() {
      bun.gc(true);
      bun.shrink();
      await new Promise((resolve) => setTimeout(resolve, HANDING_BACK));
    },
  };
}

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

/** Keys in files; nothing of what is in one gets into a message. */
export const keys: Keys = {
  read(file) {
    const text = readFileSync(file, "utf8").trim(); // its error names the file and nothing of it
    if (!KEY.test(text)) throw new Error(`"${file}" holds no key: expected 32 bytes in base64`);
    return text;
  },
  digest: (key) => createHash("sha256").update(key, "base64").digest("hex").slice(0, 16),
};

/** 32 bytes in base64: the last digit has two bits to spare, which are 0. */
const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;

/** A log on stderr. Lines of level `debug` need `-v=1`. */
export function logTo(write: (line: string) => void, format: "text" | "json", verbosity: number): Log {
  return (level: Level, message: string) => {
    if (level === "debug" && verbosity < 1) return;
    const time = new Date().toISOString();
    write(format === "json" ? `${JSON.stringify({ time, level, message })}\n` : `${time} ${level.padEnd(7)} ${message}\n`);
  };
}
