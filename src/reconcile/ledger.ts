/**
 * What should be in the kernel beside what is: keeps count of the differences, so that nobody need compare everything each time.
 *
 * @module
 */

import { CompactMap } from "../model/compact_map.ts";
import { type Item, type Kind, same } from "../model/item.ts";

/** Wanted items, found items, and the keys under which they differ. */
export class Ledger {
  readonly #found = new CompactMap<string, Item>();
  readonly #differing = new Set<string>();
  #wanted: ReadonlyMap<string, Item> = new Map();

  /** What should be there. */
  get wanted(): ReadonlyMap<string, Item> {
    return this.#wanted;
  }

  /** What was last seen to be there, of ours. */
  get found(): ReadonlyMap<string, Item> {
    return this.#found;
  }

  /** The keys of what is missing, other than wanted, or not wanted. */
  get differing(): ReadonlySet<string> {
    return this.#differing;
  }

  /** Whether what is wanted under a key is there. */
  isInPlace(key: string): boolean {
    return this.#wanted.has(key) && !this.#differing.has(key);
  }

  /** Wants other items from now on; `touched` are the keys where they may differ from those wanted before, `null` stands for all. */
  want(items: ReadonlyMap<string, Item>, touched: ReadonlySet<string> | null): void {
    this.#wanted = items;
    for (const keys of touched === null ? [[...this.#differing], items.keys(), this.#found.keys()] : [touched]) {
      for (const key of keys) this.#compare(key);
    }
  }

  /**
   * Replaces all that was found of some kinds.
   *
   * @returns The keys of what was in place until then, and is no more.
   */
  look(kinds: ReadonlySet<Kind>, items: ReadonlyMap<string, Item>): readonly string[] {
    const harmed: string[] = [];
    const take = (key: string, item: Item | undefined) => {
      const was = this.isInPlace(key);
      if (item === undefined) this.drop(key);
      else this.put(key, item);
      if (was && !this.isInPlace(key)) harmed.push(key);
    };
    for (const key of this.#found.keys()) if (kinds.has(kindOf(key)) && !items.has(key)) take(key, undefined);
    for (const [key, item] of items) take(key, item);
    return harmed;
  }

  /** Notes that an item was put. */
  put(key: string, item: Item): void {
    this.#found.set((this.#wanted instanceof CompactMap ? this.#wanted.heldAs(key) : undefined) ?? key, item);
    this.#compare(key);
  }

  /** Notes that an item was dropped. */
  drop(key: string): void {
    this.#found.delete(key);
    this.#compare(key);
  }

  #compare(key: string): void {
    const wanted = this.#wanted.get(key);
    const found = this.#found.get(key);
    // A filter that was made loose stays so when nobody wants it any more: others may need it by now.
    const agrees = wanted === undefined || found === undefined
      ? wanted === undefined && (found === undefined || found.kind === "reverse-path")
      : same(wanted, found);
    if (agrees) this.#differing.delete(key);
    else this.#differing.add(key);
  }
}

/** The kind of the item under a key. */
export function kindOf(key: string): Kind {
  return key.slice(0, key.indexOf(" ")) as Kind;
}
