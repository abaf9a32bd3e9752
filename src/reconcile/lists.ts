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

/** A list of values, and what is known of each, in the same order. */
export interface Annotated<T, K> {
  readonly values: readonly T[];
  readonly known: readonly K[];
}

/** An annotated list, and how what is known differs from what was known of the one before. */
export interface Carried<T, K> extends Annotated<T, K>, Difference<K> {}

/**
 * Carries what is known of the values of one list over to another that is nearly the same.
 *
 * @param make Makes what is known of a value that was not in the former list.
 *
 * @example Usage
 * ```ts
 * import { carryOver } from "./lists.ts";
 * import assert from "node:assert/strict";
 *
 * const before = { values: ["a", "b", "c"], known: [1, 2, 3] };
 * const { known, gone, fresh } = carryOver(["a", "x", "c"], before, () => 4);
 * assert.deepEqual([known, [...gone], fresh], [[1, 4, 3], [2], [4]]);
 * ```
 */
export function carryOver<T, K>(values: readonly T[], before: Annotated<T, K>, make: (value: T) => K): Carried<T, K> {
  const { values: old, known: oldKnown } = before;
  let start = 0;
  while (start < old.length && start < values.length && old[start] === values[start]) start++;
  let [oldEnd, newEnd] = [old.length, values.length];
  while (oldEnd > start && newEnd > start && old[oldEnd - 1] === values[newEnd - 1]) [oldEnd, newEnd] = [oldEnd - 1, newEnd - 1];
  const gone = new Set(oldKnown.slice(start, oldEnd));
  const fresh: K[] = [];
  if (gone.size === 0 && start === newEnd) return { ...before, gone, fresh };
  const moved = new Map(old.slice(start, oldEnd).map((value, i) => [value, oldKnown[start + i]!]));
  const between = values.slice(start, newEnd).map((value) => {
    const known = moved.get(value);
    if (known === undefined) return fresh[fresh.push(make(value)) - 1]!;
    gone.delete(known);
    return known;
  });
  if (between.length !== oldEnd - start) {
    return { values, known: oldKnown.slice(0, start).concat(between, oldKnown.slice(oldEnd)), gone, fresh };
  }
  const known = oldKnown.slice(); // as a rule, and one copy instead of three
  between.forEach((it, i) => known[start + i] = it);
  return { values, known, gone, fresh };
}
