/**
 * The store's records as of the last event.
 *
 * @module
 */

import { CompactMap } from "../model/compact_map.ts";
import type { Lease, LeaseEvent, LeaseRecord } from "../model/lease.ts";

/** All records that the store holds now. */
export class Records {
  #byKey = new CompactMap<string, LeaseRecord>();
  #full = false;

  /** A full list has been read. */
  get full(): boolean {
    return this.#full;
  }

  /** The records. */
  list(): readonly LeaseRecord[] {
    return this.#byKey.list();
  }

  /** Takes an event over. */
  take(event: LeaseEvent): void {
    if (event.type === "snapshot") {
      this.#byKey = new CompactMap(event.records.map((record) => [record.key, record]));
      this.#full = true;
      return;
    }
    for (const record of event.changed) this.#byKey.set(record.key, record);
    for (const key of event.removed) this.#byKey.delete(key);
  }

  /** Whether an event that was taken over says that a lease is gone. */
  lacks(key: string, event: LeaseEvent): boolean {
    return event.type === "snapshot" ? !this.#byKey.has(key) : event.removed.includes(key);
  }

  /** The subnets that an event which was taken over gives to a lease that we know otherwise; `null` if it says nothing else of it. */
  otherSubnets({ key, endpoints }: Lease, event: LeaseEvent): string | null {
    const record = event.type === "snapshot" ? this.#byKey.get(key) : event.changed.find((record) => record.key === key);
    if (record === undefined || !("lease" in record)) return null;
    const there = record.lease.endpoints.map(({ subnet }) => subnet);
    return endpoints.every(({ subnet }) => there.includes(subnet)) ? null : there.join(" and ");
  }
}
