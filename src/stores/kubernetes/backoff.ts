/**
 * How long to wait before a failed request is made again.
 *
 * @module
 */

import { ApiError } from "./api_error.ts";

const FIRST = 500;
/** A server that is back is found within this many milliseconds. */
const LONGEST = 4000;

/** Waiting times that grow, each by chance between a half and the whole of itself, so that thousands of agents spread out. */
export class Backoff {
  #failures = 0;
  readonly #random: () => number;

  /** @param random A number in [0, 1). */
  constructor(random: () => number) {
    this.#random = random;
  }

  /** After a success the next failure is the first again. */
  reset(): void {
    this.#failures = 0;
  }

  /** Milliseconds to wait after this error; never less than the server asked for. */
  next(error: unknown): number {
    const grown = Math.min(FIRST * 2 ** this.#failures, LONGEST) * (0.5 + this.#random() / 2);
    this.#failures++;
    const asked = error instanceof ApiError && error.retryAfter !== null ? error.retryAfter * 1000 : 0;
    return asked + grown;
  }
}
