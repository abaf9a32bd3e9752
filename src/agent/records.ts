/**
 * The store's records as of the last event.
 *
 * @module
 */

import { CompactMap } from "../model/compact_map.ts";
import type { Lease, LeaseEvent, LeaseRecord } from "../model/lease.ts";
import { difference, type Edition } from "../reconcile/lists.ts";

/** All records that the store holds now. */
export class Records {
  #byKey = new CompactMap<string, LeaseRecord>();
  #full = false;
  #edition: Edition<LeaseRecord> = { version: 0, gone: new Set(), fresh: [], all: () => this.#byKey.list() };
  /** What has changed since that edition. */
  #gone = new Set<LeaseRecord>();
  #fresh = new Set<LeaseRecord>();

  /** A full list has been read. */
  get full(): boolean {
    return this.#full;
  }

  /** The records; the very same edition as before if nothing has changed. */
  edition(): Edition<LeaseRecord> {
    if (this.#gone.size + this.#fresh.size === 0) return this.#edition;
    this.#edition = { ...this.#edition, version: this.#edition.version + 1, gone: this.#gone, fresh: [...this.#fresh] };
    [this.#gone, this.#fresh] = [new Set(), new Set()];
    return this.#edition;
  }

  /** Takes an event over. */
  take(event: LeaseEvent): void {
    if (event.type === "snapshot") {
      const { gone, fresh } = difference(this.#byKey.list(), event.records);
      this.#byKey = new CompactMap(event.records.map((record) => [record.key, record]));
      this.#full = true;
      gone.forEach((record) => this.#note(record, null));
      fresh.forEach((record) => this.#note(undefined, record));
      return;
    }
    for (const record of event.changed) {
      this.#note(this.#byKey.get(record.key), record);
      this.#byKey.set(record.key, record);
    }
    for (const key of event.removed) {
      this.#note(this.#byKey.get(key), null);
      this.#byKey.delete(key);
    }
  }

  #note(before: LeaseRecord | undefined, now: LeaseRecord | null): void {
    if (before === now) return;
    if (before !== undefined && !this.#fresh.delete(before)) this.#gone.add(before);
    if (now !== null && !this.#gone.delete(now)) this.#fresh.add(now);
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
