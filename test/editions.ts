/**
 * Editions of a list out of plain arrays, for tests.
 *
 * @module
 */

import { difference, type Edition } from "../src/reconcile/lists.ts";

/** One list, edition after edition. */
export class Editions<T> {
  #last: Edition<T> = { version: 0, gone: new Set(), fresh: [], all: () => [] };

  /** The next edition. */
  next(values: readonly T[]): Edition<T> {
    const version = this.#last.version + 1;
    return this.#last = { ...difference(this.#last.all(), values), version, all: () => values };
  }
}
