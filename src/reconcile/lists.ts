/**
 * What differs between two long lists that are nearly the same. Pure.
 *
 * Of thousands of peers hardly one changes at a time; to look at each of them would cost more than all the rest. So who makes a list out of
 * another tells how, and nobody else need compare the two.
 *
 * @module
 */

/** What a list has lost, and what it has gained, in its order. */
export interface Difference<T> {
  readonly gone: ReadonlySet<T>;
  readonly fresh: readonly T[];
}

/** Of lists whose makers have told it: which one they were made of, and how they differ from that. */
const origins = new WeakMap<readonly unknown[], Difference<unknown> & { readonly before: readonly unknown[] }>();

/** Tells {@linkcode difference} how a list differs from the one that it was made of; neither is changed from now on. */
export function tellDifference<T>(before: readonly T[], now: readonly T[], { gone, fresh }: Difference<T>): void {
  origins.delete(before); // a chain of all lists there ever were would never be given back
  origins.set(now, { before, gone, fresh });
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
  if (before === now) return { gone: new Set(), fresh: [] };
  const origin = origins.get(now);
  if (origin?.before === before) return origin as Difference<T>;
  let start = 0;
  while (start < before.length && before[start] === now[start]) start++;
  let [oldEnd, newEnd] = [before.length, now.length];
  while (oldEnd > start && newEnd > start && before[oldEnd - 1] === now[newEnd - 1]) [oldEnd, newEnd] = [oldEnd - 1, newEnd - 1];
  const gone = new Set(before.slice(start, oldEnd));
  const fresh = now.slice(start, newEnd).filter((value) => !gone.delete(value));
  return { gone, fresh };
}
