/**
 * What the agent is handed from outside: it reads no clock, no file and no randomness by itself.
 *
 * @module
 */

import type { Level } from "../model/effects.ts";
import type { Mac } from "../model/ip.ts";

/** Time. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls back once after some milliseconds, unless the returned function is called before. */
  after(milliseconds: number, call: () => void): () => void;
}

/** Writes a line to the log. */
export type Log = (level: Level, message: string) => void;

/** The file that tells the CNI plugin about the node. */
export interface SubnetFile {
  /** Its text; `null` if it does not exist. */
  read(): Promise<string | null>;
  /** Replaces it in one step. */
  write(text: string): Promise<void>;
}

/** Chance. */
export interface Chance {
  /** A number in [0, 1). */
  number(): number;
  /** A locally administered unicast MAC address. */
  mac(): Mac;
}
