/**
 * What differs between two long lists that are nearly the same. Pure.
 *
 * Of thousands of peers hardly one changes at a time; to look into each of them would cost more than all the rest.
 *
 * @module
 */

/** What a list has lost, and what it has gained, in its order. */
export interface Difference<T> {
  readonly gone: ReadonlySet<T>;
  readonly fresh: readonly T[];
}

/**
 * Compares two lists of different values by identity; what only moved is neither gone nor fresh.
 *
 * @example Usage
 * ```ts
 * import { difference } from "./lists.ts";
 * import assert from "node:assert/strict";
 *
 * const { gone, fresh } = difference(["a", "b", "c"], ["a", "c", "d"]);
 * assert.deepEqual([[...gone], fresh], [["b"], ["d"]]);
 * ```
 */
export function difference<T>(before: readonly T[], now: readonly T[]): Difference<T> {
  let start = 0;
  while (start < before.length && before[start] === now[start]) start++;
  let [oldEnd, newEnd] = [before.length, now.length];
  while (oldEnd > start && newEnd > start && before[oldEnd - 1] === now[newEnd - 1]) [oldEnd, newEnd] = [oldEnd - 1, newEnd - 1];
  const gone = new Set(before.slice(start, oldEnd));
  const fresh = now.slice(start, newEnd).filter((value) => !gone.delete(value));
  return { gone, fresh };
}
