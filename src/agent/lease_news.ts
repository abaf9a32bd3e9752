/**
 * What the store tells of leases: followed, taken over into the records, and held against this node's own lease.
 *
 * Where there is little memory, a long first list is taken over in parts, one in each of the agent's cycles.
 *
 * @module
 */

import type { LeaseEvent } from "../model/lease.ts";
import type { AgentOptions } from "./options.ts";
import type { OwnLease } from "./own_lease.ts";
import { endless } from "./patience.ts";
import type { Records } from "./records.ts";

/** So many records of a list are one part. */
const PART = 1000;

/** What following needs. */
export type LeaseNewsOptions = Pick<AgentOptions, "store" | "clock" | "chance" | "log"> & {
  readonly records: Records;
  readonly ownLease: Pick<OwnLease, "lease" | "lose">;
  /** There is little memory. */
  readonly inParts: boolean;
  /** Something is new, or waits to be taken over. */
  readonly changed: () => void;
};

/** Follows leases. */
export class LeaseNews {
  readonly #o: LeaseNewsOptions;
  readonly #waiting: LeaseEvent[] = [];

  constructor(options: LeaseNewsOptions) {
    this.#o = options;
  }

  /** Something has been told that is not taken over yet. */
  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Follows what the store tells until the signal ends it. */
  async follow(signal: AbortSignal): Promise<void> {
    const { store, records, inParts, changed } = this.#o;
    for await (const event of endless(() => store.watch(signal), this.#o, signal)) {
      if (!inParts) this.#take(event);
      else this.#waiting.push(...records.full ? [event] : partsOf(event));
      changed();
    }
  }

  /** Takes over what has waited longest. */
  takeNext(): void {
    const event = this.#waiting.shift();
    if (event !== undefined) this.#take(event);
  }

  #take(event: LeaseEvent): void {
    const { records, ownLease } = this.#o;
    records.take(event);
    const own = ownLease.lease;
    if (own === null) return;
    const other = records.otherSubnets(own, event);
    if (records.lacks(own.key, event)) ownLease.lose(`the store has no lease ${own.key} any more`);
    else if (other !== null) ownLease.lose(`the store gives ${own.key} the subnet ${other} now`);
  }
}

/** A first list in parts, none of which says that something is gone before the last, which is the list itself. */
function* partsOf(event: LeaseEvent): Generator<LeaseEvent> {
  if (event.type === "snapshot") {
    for (let from = 0; from + PART < event.records.length; from += PART) {
      yield { type: "changes", changed: event.records.slice(from, from + PART), removed: [] };
    }
  }
  yield event;
}
