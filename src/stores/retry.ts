/**
 * Asks again until the server answers.
 *
 * @module
 */

import { Backoff } from "./backoff.ts";
import type { Health } from "./health.ts";
import { pause } from "./wait.ts";

/** How {@linkcode untilItWorks} goes about it. */
export interface RetryOptions {
  /** Hears what goes wrong. */
  readonly health: Health;
  /** A number in [0, 1), so that thousands of agents spread out. */
  readonly random: () => number;
  /** Whether an error is thrown instead of waited out. */
  readonly isFinal: (error: unknown) => boolean;
}

/**
 * Runs something until it succeeds.
 *
 * @throws The signal's reason, if it ends the waiting.
 */
export async function untilItWorks<T>(run: () => Promise<T>, options: RetryOptions, signal: AbortSignal): Promise<T> {
  const { health, random, isFinal } = options;
  const backoff = new Backoff(random);
  for (;;) {
    signal.throwIfAborted();
    try {
      const result = await run();
      health.good();
      return result;
    } catch (error) {
      signal.throwIfAborted();
      if (isFinal(error)) throw error;
      health.bad(error);
      await pause(backoff.next(error), signal);
    }
  }
}
