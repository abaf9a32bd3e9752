/**
 * Finds the name that a misspelt one was probably meant to be.
 *
 * The distance counts insertions, deletions, changes and swaps of neighbours (optimal string alignment), relative to the longer name.
 *
 * @module
 */

/**
 * The name most like `text`; the first of them if several are.
 *
 * @param names Must not be empty.
 * @returns The name, and its unlikeness from 0 (the same) to 1 (nothing in common).
 *
 * @example Usage
 * ```ts
 * import { nearest } from "./nearest.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(nearest("ip-mask", ["iface", "ip-masq"]).name, "ip-masq");
 * ```
 */
export function nearest(text: string, names: readonly string[]): { readonly name: string; readonly unlikeness: number } {
  const cut = text.slice(0, 64); // the cost grows with the product of the lengths, and no name is this long
  let best = { name: names[0]!, unlikeness: Infinity };
  for (const name of names) {
    const unlikeness = distance(cut, name) / Math.max(cut.length, name.length, 1);
    if (unlikeness < best.unlikeness) best = { name, unlikeness };
  }
  return best;
}

function distance(a: string, b: string): number {
  let [before, last]: [number[], number[]] = [[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = a[i - 1] === b[j - 1] ? 0 : 1;
      let least = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + changed);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, before[j - 2]! + 1);
      row.push(least);
    }
    [before, last] = [last, row];
  }
  return last[b.length]!;
}
