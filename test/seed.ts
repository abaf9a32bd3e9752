/**
 * Chance that can be had again: a seed gives always the same run.
 *
 * A failing test prints its seed; `WEFT_SEED=<number>` runs that one alone.
 *
 * @module
 */

import process from "node:process";
import type { Chance } from "../src/agent/ports.ts";
import { macFromBytes } from "../src/model/ip.ts";

/** Chance out of a seed. */
export interface Seeded extends Chance {
  /** An integer in [0, below). */
  below(below: number): number;
  /** One of some. */
  of<T>(values: readonly T[]): T;
  /** The values in another order. */
  shuffled<T>(values: readonly T[]): T[];
}

/** Chance out of a seed. Source: "mulberry32", in the public domain. */
export function seeded(seed: number): Seeded {
  let state = seed >>> 0;
  const number = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ state >>> 15, 1 | state);
    mixed = (mixed + Math.imul(mixed ^ mixed >>> 7, 61 | mixed)) ^ mixed;
    return ((mixed ^ mixed >>> 14) >>> 0) / 2 ** 32;
  };
  const below = (below: number) => Math.floor(number() * below);
  return {
    number,
    below,
    of: (values) => values[below(values.length)]!,
    shuffled(values) {
      const all = [...values];
      for (let i = all.length - 1; i > 0; i--) {
        const j = below(i + 1);
        [all[i], all[j]] = [all[j]!, all[i]!];
      }
      return all;
    },
    mac() {
      const bytes = Uint8Array.from({ length: 6 }, () => below(256));
      bytes[0] = (bytes[0]! & 0xfe) | 0x02;
      return macFromBytes(bytes);
    },
  };
}

/** The seeds to try: the one in WEFT_SEED, else those from 1 to `count`. */
export function seeds(count: number): number[] {
  const wanted = process.env["WEFT_SEED"];
  return wanted === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(wanted)];
}

/** Runs something once per seed, one after the other; a failure names its seed. */
export async function withSeeds(count: number, run: (chance: Seeded, seed: number) => unknown): Promise<void> {
  for (const seed of seeds(count)) {
    try {
      await run(seeded(seed), seed);
    } catch (error) {
      throw new Error(`Seed ${seed} fails (run it again with WEFT_SEED=${seed}): ${(error as Error).message}`, { cause: error });
    }
  }
}
