/**
 * Long lists that are nearly the same each time they are made, such as that of all peers.
 *
 * Of thousands of values hardly one changes at a time; to copy the list, or to look at each of them, would cost more than all the rest. So
 * who makes a list says how it differs from the edition before, and who has seen that one need not look further.
 *
 * @module
 */

/** What a list has lost and gained. */
export interface Difference<T> {
  readonly gone: ReadonlySet<T>;
  readonly fresh: readonly T[];
}

/** A list of different values as it is now, and how it differs from the edition before. */
export interface Edition<T> extends Difference<T> {
  /** Counts the editions of one list. */
  readonly version: number;
  /** The list; once there is a newer edition, that one's. */
  all(): readonly T[];
}

const NOTHING: Difference<never> = { gone: new Set(), fresh: [] };
/** The version of what has been seen by nobody yet. */
export const UNSEEN = NaN;

/** A list that is the only one of its kind: nobody has seen an edition before. */
export function editionOf<T>(values: readonly T[]): Edition<T> {
  return { version: UNSEEN, gone: new Set(), fresh: values, all: () => values };
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
export function difference<T>(before: Iterable<T>, now: readonly T[]): Difference<T> {
  const gone = new Set(before);
  return { gone, fresh: now.filter((value) => !gone.delete(value)) };
}

/**
 * How an edition differs from one that was seen.
 *
 * @param seen The version of that; {@linkcode UNSEEN} if there was none.
 * @param known The values in it; asked for only where another edition has come in between.
 */
export function since<T>(edition: Edition<T>, seen: number, known: () => Iterable<T>): Difference<T> {
  if (edition.version === seen) return NOTHING;
  return edition.version === seen + 1 ? edition : difference(known(), edition.all());
}
