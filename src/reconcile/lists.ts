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

/** What is known of a list, and how it differs from what was known of the one before. */
export interface Carried<K> extends Difference<K> {
  readonly list: readonly K[];
}

/**
 * Carries what is known of the values of one list over to another that is nearly the same.
 *
 * @param before What is known, in the order of the former list.
 * @param valueOf The value that something is known of.
 * @param make Makes what is known of a value that was not in the former list.
 * @returns What is known of each value of `now`, in its order.
 *
 * @example Usage
 * ```ts
 * import { carryOver } from "./lists.ts";
 * import assert from "node:assert/strict";
 *
 * const before = [{ of: "a" }, { of: "b" }, { of: "c" }];
 * const { list, gone, fresh } = carryOver(["a", "x", "c"], before, (known) => known.of, (value) => ({ of: value }));
 * assert.deepEqual(list.map(({ of }) => of), ["a", "x", "c"]);
 * assert.ok(list[0] === before[0] && gone.has(before[1]!) && fresh[0] === list[1]);
 * ```
 */
export function carryOver<T, K>(
  now: readonly T[],
  before: readonly K[],
  valueOf: (known: K) => T,
  make: (value: T) => K,
): Carried<K> {
  let start = 0;
  while (start < before.length && start < now.length && valueOf(before[start]!) === now[start]) start++;
  let [oldEnd, newEnd] = [before.length, now.length];
  while (oldEnd > start && newEnd > start && valueOf(before[oldEnd - 1]!) === now[newEnd - 1]) {
    [oldEnd, newEnd] = [oldEnd - 1, newEnd - 1];
  }
  const gone = new Set(before.slice(start, oldEnd));
  const fresh: K[] = [];
  if (gone.size === 0 && start === newEnd) return { list: before, gone, fresh };
  const known = new Map([...gone].map((it) => [valueOf(it), it]));
  const list = before.slice(0, start);
  for (const value of now.slice(start, newEnd)) {
    let it = known.get(value);
    if (it !== undefined) gone.delete(it);
    else fresh.push(it = make(value));
    list.push(it);
  }
  for (let i = oldEnd; i < before.length; i++) list.push(before[i]!);
  return { list, gone, fresh };
}
