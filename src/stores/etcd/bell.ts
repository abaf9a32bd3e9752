/**
 * Wakes whoever waits for something to change.
 *
 * @module
 */

import { until } from "../wait.ts";

/** A bell that any number may wait for. */
export class Bell {
  readonly #waiting = new Set<() => void>();

  /** Wakes all who wait. */
  ring(): void {
    for (const wake of [...this.#waiting]) wake();
  }

  /** Waits for the next ring. @throws The signal's reason, if it is aborted before. */
  next(signal: AbortSignal): Promise<void> {
    return until(signal, (done) => {
      this.#waiting.add(done);
      return () => this.#waiting.delete(done);
    });
  }
}
