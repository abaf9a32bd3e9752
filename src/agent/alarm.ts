/**
 * What wakes the agent's loop: pokes, which count once however many come, and timers, one of each name.
 *
 * @module
 */

import type { Clock } from "./ports.ts";

/** Wakes one loop. */
export class Alarm {
  readonly #clock: Clock;
  readonly #timers = new Map<string, () => void>();
  #wake: () => void = () => {};
  #woken = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Wakes the loop, now or when it comes to wait. */
  poke(): void {
    this.#woken = true;
    this.#wake();
  }

  /** Waits for a poke that has not been waited for. */
  async next(): Promise<void> {
    if (!this.#woken) await new Promise<void>((resolve) => this.#wake = resolve);
    this.#woken = false;
  }

  /** Pokes after some milliseconds, instead of the time that was set before under this name. */
  set(name: string, milliseconds: number, first: () => void = () => {}): void {
    this.#timers.get(name)?.();
    const ring = () => {
      this.#timers.delete(name);
      first();
      this.poke();
    };
    this.#timers.set(name, this.#clock.after(milliseconds, ring));
  }

  /** Cancels all timers. */
  clear(): void {
    this.#timers.forEach((cancel) => cancel());
    this.#timers.clear();
  }
}
