/**
 * The store's records as of the last event.
 *
 * @module
 */

import { CompactMap } from "../model/compact_map.ts";
import type { Lease, LeaseEvent, LeaseRecord } from "../model/lease.ts";
import { tellDifference } from "../reconcile/lists.ts";

/** All records that the store holds now. */
export class Records {
  #byKey = new CompactMap<string, LeaseRecord>();
  #full = false;
  #list: readonly LeaseRecord[] = [];
  /** What has changed since that list was made; `null` if nobody kept account. */
  #changes: { readonly gone: Set<LeaseRecord>; readonly fresh: Set<LeaseRecord> } | null = noChanges();

  /** A full list has been read. */
  get full(): boolean {
    return this.#full;
  }

  /** The records; the very same list as before if nothing has changed. */
  list(): readonly LeaseRecord[] {
    const changes = this.#changes;
    if (changes !== null && changes.gone.size + changes.fresh.size === 0) return this.#list;
    const before = this.#list;
    this.#list = this.#byKey.list();
    if (changes !== null) tellDifference(before, this.#list, { gone: changes.gone, fresh: [...changes.fresh] });
    this.#changes = noChanges();
    return this.#list;
  }

  /** Takes an event over. */
  take(event: LeaseEvent): void {
    if (event.type === "snapshot") {
      this.#byKey = new CompactMap(event.records.map((record) => [record.key, record]));
      this.#full = true;
      this.#changes = null;
      return;
    }
    for (const record of event.changed) this.#replace(record.key, record);
    for (const key of event.removed) this.#replace(key, null);
  }

  #replace(key: string, now: LeaseRecord | null): void {
    const before = this.#byKey.get(key);
    if (now === null) this.#byKey.delete(key);
    else this.#byKey.set(key, now);
    if (this.#changes === null || now === before) return;
    const { gone, fresh } = this.#changes;
    if (before !== undefined && !fresh.delete(before)) gone.add(before);
    if (now !== null && !gone.delete(now)) fresh.add(now);
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

function noChanges() {
  return { gone: new Set<LeaseRecord>(), fresh: new Set<LeaseRecord>() };
}
