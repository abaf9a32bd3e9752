/**
 * Keeps asking a store that fails, with growing, jittered pauses.
 *
 * @module
 */

import type { Chance, Clock, Log } from "./ports.ts";

const FIRST_PAUSE = 1_000;
const LONGEST_PAUSE = 30_000;

/** What waiting needs. */
export interface PatienceOptions {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Told what went wrong, every time. */
  readonly note?: (problem: string) => void;
}

/** Counts failures in a row, and waits longer after each. */
export class Patience {
  readonly #options: PatienceOptions;
  readonly #signal: AbortSignal;
  #failures = 0;

  constructor(options: PatienceOptions, signal: AbortSignal) {
    this.#options = options;
    this.#signal = signal;
  }

  /** It worked: the next failure is a first one. */
  renew(): void {
    this.#failures = 0;
  }

  /** Waits after a failure; the first of a row is logged. Returns at once when the signal has ended it. */
  async bear(error: unknown): Promise<void> {
    if (this.#signal.aborted) return;
    const { clock, chance, log, note } = this.#options;
    const { message } = error as Error;
    note?.(message);
    log(this.#failures === 0 ? "error" : "debug", message);
    const pause = Math.min(FIRST_PAUSE * 2 ** this.#failures++, LONGEST_PAUSE) * (0.5 + chance.number() / 2);
    await rest(clock, pause, this.#signal);
  }
}

/** Asks again and again until there is an answer; `null` if the signal ended it. */
export async function persist<T>(ask: () => Promise<T>, options: PatienceOptions, signal: AbortSignal): Promise<T | null> {
  const patience = new Patience(options, signal);
  while (!signal.aborted) {
    try {
      return await ask();
    } catch (error) {
      await patience.bear(error);
    }
  }
  return null;
}

/** Waits for some milliseconds, or until the signal ends it. */
export function rest(clock: Clock, milliseconds: number, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = () => {
      cancel();
      signal.removeEventListener("abort", done);
      resolve();
    };
    const cancel = clock.after(milliseconds, done);
    signal.addEventListener("abort", done);
  });
}

/** Follows a stream that may fail, again and again. */
export async function* endless<T>(
  open: () => AsyncIterable<T>,
  options: PatienceOptions,
  signal: AbortSignal,
): AsyncGenerator<T> {
  const patience = new Patience(options, signal);
  while (!signal.aborted) {
    try {
      for await (const value of open()) {
        patience.renew();
        yield value;
      }
      return;
    } catch (error) {
      await patience.bear(error);
    }
  }
}
