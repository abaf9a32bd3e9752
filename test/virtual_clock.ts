/**
 * A clock that stands still until it is told to go on.
 *
 * Whatever follows from a timer is let run to its end before the next timer fires, so a test never waits and never races.
 *
 * @module
 */

import type { Clock } from "../src/agent/ports.ts";

interface Timer {
  readonly at: number;
  /** Timers of one time fire in the order in which they were set. */
  readonly order: number;
  readonly call: () => void;
}

/** Fires of one timer after another without time going on; more is a busy loop. */
const PATIENCE = 100_000;

/** Time as the test wants it. */
export class VirtualClock implements Clock {
  readonly #timers = new Set<Timer>();
  #now: number;
  #order = 0;

  /** The clock shows a day in 2026 unless another time is given, in milliseconds since the epoch. */
  constructor(now: number = Date.UTC(2026, 0, 1)) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  after(milliseconds: number, call: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, milliseconds), order: this.#order++, call };
    this.#timers.add(timer);
    return () => void this.#timers.delete(timer);
  }

  /** Timers that have been set and not fired. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Lets all that is under way run to where it waits for time or for an event. */
  async settle(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)); // promises that follow from each other come first
  }

  /** Goes on by some milliseconds. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await this.settle();
    let [fired, since] = [0, this.#now];
    for (let timer = this.#next(end); timer !== null; timer = this.#next(end)) {
      this.#timers.delete(timer);
      this.#now = Math.max(this.#now, timer.at);
      [fired, since] = this.#now === since ? [fired + 1, since] : [0, this.#now];
      if (fired > PATIENCE) throw new Error(`Timers fire again and again without time going on, at ${this.#now}`);
      timer.call();
      await this.settle();
    }
    this.#now = end;
  }

  #next(end: number): Timer | null {
    let next: Timer | null = null;
    for (const timer of this.#timers) {
      if (timer.at > end) continue;
      if (next === null || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }
}
