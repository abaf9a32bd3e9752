/**
 * How long to wait before a failed request is made again.
 *
 * @module
 */

const FIRST = 500;
/** A server that is back is found within this many milliseconds. */
const LONGEST = 4000;

/** Waiting times that grow, each by chance between a half and the whole of itself, so that thousands of agents spread out. */
export class Backoff {
  #failures = 0;
  readonly #random: () => number;

  readonly #longest: number;

  /**
   * @param random A number in [0, 1).
   * @param longest The longest time in milliseconds.
   */
  constructor(random: () => number, longest: number = LONGEST) {
    this.#random = random;
    this.#longest = longest;
  }

  /** After a success the next failure is the first again. */
  reset(): void {
    this.#failures = 0;
  }

  /** Milliseconds to wait after this error; never less than the server asked for in seconds, as `retryAfter` of the error. */
  next(error: unknown): number {
    const grown = Math.min(FIRST * 2 ** this.#failures, this.#longest) * (0.5 + this.#random() / 2);
    this.#failures++;
    const { retryAfter } = (error ?? {}) as { readonly retryAfter?: number | null };
    return (retryAfter ?? 0) * 1000 + grown;
  }
}
