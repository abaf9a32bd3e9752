/**
 * The difference between what should be in the kernel and what is: pure.
 *
 * @module
 */

import { type Change, type Item, KINDS, rankOf, same } from "../model/item.ts";

/** A change of what stands under a key. */
export type KeyedChange = Change & { readonly key: string };

/**
 * The changes that turn one set of items into another: puts by rising rank, then drops by falling rank.
 *
 * @param desired What should be there.
 * @param observed What is there, of ours.
 * @param keys Only these are compared, for a caller that knows where a difference can be.
 *
 * @example Usage
 * ```ts
 * import { diff } from "./diff.ts";
 * import { keyOf, type Item } from "../model/item.ts";
 * import assert from "node:assert/strict";
 *
 * const old: Item = { kind: "reverse-path", link: "eth0" };
 * const changes = diff(new Map(), new Map([[keyOf(old), old]]));
 * assert.deepEqual(changes, [{ op: "drop", key: "reverse-path eth0", item: old }]);
 * ```
 */
export function diff(
  desired: ReadonlyMap<string, Item>,
  observed: ReadonlyMap<string, Item>,
  keys: Iterable<string> = new Set([...desired.keys(), ...observed.keys()]),
): KeyedChange[] {
  const puts: KeyedChange[][] = KINDS.map(() => []);
  const drops: KeyedChange[][] = KINDS.map(() => []);
  for (const key of keys) {
    const item = desired.get(key);
    const old = observed.get(key);
    if (item === undefined) {
      if (old !== undefined) drops[rankOf[old.kind]]!.push({ op: "drop", key, item: old });
    } else if (old === undefined || !same(item, old)) puts[rankOf[item.kind]]!.push({ op: "put", key, item, old: old ?? null });
  }
  return [...puts, ...drops.reverse()].flat();
}
