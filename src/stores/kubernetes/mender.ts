/**
 * Does something again whenever it is found undone, and the more slowly the more often that happens.
 *
 * @module
 */

import { Backoff } from "../backoff.ts";
import { pause } from "../wait.ts";

/** Once it has held for so many milliseconds, the next time is the first again. */
const QUIET = 60_000;
/** At the longest it waits so many milliseconds. */
const LONGEST = 30_000;

/** Two agents for one node would each write what the other one did not. */
export class Mender {
  readonly #mend: (signal: AbortSignal) => Promise<void>;
  readonly #backoff: Backoff;
  #busy = false;
  #mendedAt = -Infinity;

  /**
   * @param mend What is done; what it throws is none of the mender's business.
   * @param random A number in [0, 1).
   */
  constructor(mend: (signal: AbortSignal) => Promise<void>, random: () => number) {
    this.#mend = mend;
    this.#backoff = new Backoff(random, LONGEST);
  }

  /** It is undone. */
  undone(signal: AbortSignal): void {
    if (this.#busy || signal.aborted) return;
    this.#busy = true;
    this.#run(signal).catch(() => {}).finally(() => this.#busy = false);
  }

  async #run(signal: AbortSignal): Promise<void> {
    if (performance.now() - this.#mendedAt > QUIET) this.#backoff.reset();
    await pause(this.#backoff.next(null), signal);
    await this.#mend(signal);
    this.#mendedAt = performance.now();
  }
}
