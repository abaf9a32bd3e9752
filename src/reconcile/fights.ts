/**
 * Notices when somebody keeps changing what we put back, and slows us down then: two agents that repair each other as fast as they
 * can help nobody.
 *
 * @module
 */

/** Repairs of one item that are made at once. */
const PATIENCE = 10;
/** After so long without a repair an item counts as left alone, in milliseconds. */
const CALM = 10_000;
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 30_000;

/** The pause after a number of failures in a row, in milliseconds. */
export function pauseAfter(attempts: number): number {
  return Math.min(FIRST_PAUSE * 2 ** Math.min(attempts - 1, 20), LONGEST_PAUSE);
}

/** The repairs of items, by key. */
export class Fights {
  readonly #repairs = new Map<string, { count: number; last: number }>();
  #total = 0;
  #forgotAt = 0;

  /** All repairs so far. */
  get total(): number {
    return this.#total;
  }

  /** Notes that an item was put back. */
  repaired(key: string, now: number): void {
    this.#total++;
    const before = this.#repairs.get(key);
    const calm = before === undefined || now - before.last > CALM + pauseOf(before.count);
    this.#repairs.set(key, { count: calm ? 1 : before.count + 1, last: now });
    if (now - this.#forgotAt > CALM) this.#forget(now);
  }

  /** Until when an item may not be put back; in the past if it may. */
  pausedUntil(key: string): number {
    const repairs = this.#repairs.get(key);
    return repairs === undefined ? 0 : repairs.last + pauseOf(repairs.count);
  }

  #forget(now: number): void {
    this.#forgotAt = now;
    for (const [key, { last }] of this.#repairs) if (now - last > CALM + LONGEST_PAUSE) this.#repairs.delete(key);
  }
}

/** The pause after a number of repairs. */
function pauseOf(repairs: number): number {
  return repairs < PATIENCE ? 0 : pauseAfter(repairs - PATIENCE + 1);
}
