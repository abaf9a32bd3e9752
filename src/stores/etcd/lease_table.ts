/**
 * The leases of a cluster, as far as they were read, and what of it those who follow have not heard yet.
 *
 * Pure. After a gap the whole list is told, with the very same records for what has not changed. Where a cluster has lost a part of its
 * history (an older snapshot was restored), leases that are missing stay for a while, since their owners run and are about to write
 * them again; our own is told to be gone, so that it is written again too.
 *
 * @module
 */

import type { Cidr } from "../../model/ip.ts";
import type { LeaseEvent, LeaseRecord } from "../../model/lease.ts";
import { leaseRecord, parseLeaseKey } from "../lease_value.ts";
import type { KeyValue } from "./kv.ts";
import type { OwnWrites } from "./own_writes.ts";

/** An entry. */
export interface Entry {
  readonly record: LeaseRecord;
  readonly modRevision: number;
  /** The number of its etcd lease. */
  readonly lease: string;
  /** It is missing in the cluster, and only kept. */
  readonly held: boolean;
  /** It stands under our key and is not ours: those who follow hear first that ours is gone. */
  readonly taken: boolean;
}

/** Leases by the names of their keys. */
export class LeaseTable {
  readonly #prefix: string;
  readonly #own: OwnWrites;
  readonly #warn: (twin: string) => void;
  readonly #news = new Set<News>();
  #entries = new Map<string, Entry>();
  #coming: Map<string, KeyValue & { readonly record: LeaseRecord }> | null = null;
  #complete = false;

  /**
   * @param prefix What the keys of leases begin with.
   * @param warn Told when another host publishes our address.
   */
  constructor(prefix: string, own: OwnWrites, warn: (twin: string) => void) {
    this.#prefix = prefix;
    this.#own = own;
    this.#warn = warn;
  }

  /** Whether a list was read. */
  get complete(): boolean {
    return this.#complete;
  }

  /** All entries by name. */
  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  /** The key of the lease that was written last; `null` if there is none. */
  newest(): { readonly key: string; readonly modRevision: number } | null {
    let newest: Entry | null = null;
    for (const entry of this.#entries.values()) {
      if (!entry.held && "lease" in entry.record && entry.modRevision > (newest?.modRevision ?? 0)) newest = entry;
    }
    return newest === null ? null : { key: this.#prefix + newest.record.key, modRevision: newest.modRevision };
  }

  /** Begins a list. */
  begin(): void {
    this.#coming = new Map();
  }

  /** An entry of the list. */
  listed(it: KeyValue): void {
    const record = this.#recordOf(it);
    this.#coming!.set(record.key, { ...it, value: record.key === this.#own.name ? it.value : "", record });
  }

  /**
   * Ends the list.
   *
   * @param known Up to which revision the former table was complete.
   * @param replaced The cluster is another one, or has an older state than it had.
   * @returns Whether the cluster has lost history; then {@linkcode dropHeld} is due some time later.
   */
  end(known: number, replaced: boolean): boolean {
    const [before, coming] = [this.#entries, this.#coming!];
    let lost = replaced;
    for (const [name, it] of coming) lost ||= it.modRevision <= known && before.get(name)?.modRevision !== it.modRevision;
    this.#coming = null;
    this.#entries = new Map();
    for (const [name, it] of coming) {
      const old = before.get(name)?.record;
      const record = old !== undefined && same(old, it.record) ? old : it.record;
      this.#entries.set(name, {
        record,
        modRevision: it.modRevision,
        lease: it.lease,
        held: false,
        taken: this.#isTaken(it, record, lost),
      });
    }
    if (lost) {
      for (const [name, entry] of before) {
        if (!this.#entries.has(name) && name !== this.#own.name) this.#entries.set(name, { ...entry, held: true });
      }
    }
    this.#complete = true;
    this.#news.forEach((news) => news.gap());
    return lost;
  }

  /** Gives up what is still missing. */
  dropHeld(): void {
    for (const [name, { held }] of this.#entries) if (held) this.#drop(name);
  }

  /** A key was written. */
  put(it: KeyValue): void {
    const made = this.#recordOf(it);
    const name = made.key;
    const old = this.#entries.get(name);
    if (old !== undefined && !old.held && old.modRevision >= it.modRevision) return;
    const unchanged = old !== undefined && same(old.record, made);
    const record = unchanged ? old.record : made;
    const taken = this.#isTaken(it, record, false);
    this.#entries.set(name, { record, modRevision: it.modRevision, lease: it.lease, held: false, taken });
    if (!unchanged || taken || old.taken) this.#news.forEach((news) => news.add(name, record, taken));
  }

  /** A key was not there at a revision. */
  remove(key: string, modRevision: number): void {
    const name = key.slice(this.#prefix.length);
    const old = this.#entries.get(name);
    if (old !== undefined && !old.held && old.modRevision <= modRevision) this.#drop(name);
  }

  /** The subnets that the keys name, whatever stands under them, but for some. */
  subnets(without: ReadonlySet<string>): readonly Cidr[] {
    return [...this.#entries].flatMap(([name, { record }]) => without.has(name) ? [] : subnetsOf(record));
  }

  /** Follows: what is told begins with all there is. */
  follow(): News {
    const news = new News(this, () => this.#news.delete(news));
    this.#news.add(news);
    return news;
  }

  #recordOf({ key, value }: KeyValue): LeaseRecord {
    return leaseRecord(key.slice(this.#prefix.length), value, null);
  }

  #isTaken(it: KeyValue, record: LeaseRecord, lost: boolean): boolean {
    if (record.key !== this.#own.name) return false;
    if (lost) return !this.#own.isLast(it);
    if (this.#own.made(it) || !this.#own.isLater(it)) return false;
    const twin = this.#own.twin(record);
    if (twin !== null) this.#warn(twin);
    return twin === null;
  }

  #drop(name: string): void {
    this.#entries.delete(name);
    this.#news.forEach((news) => news.add(name, null, false));
  }
}

/** What one follower has not heard yet. */
export class News implements Disposable {
  readonly #table: LeaseTable;
  readonly #end: () => void;
  readonly #pending = new Map<string, LeaseRecord | null>();
  #gap = true;
  #taken: string | null = null;

  constructor(table: LeaseTable, end: () => void) {
    this.#table = table;
    this.#end = end;
  }

  /** The next event; `null` if there is nothing new. */
  take(): LeaseEvent | null {
    if (!this.#table.complete) return null;
    if (this.#gap) return this.#snapshot();
    if (this.#taken !== null) {
      const removed = [this.#taken];
      this.#taken = null;
      return { type: "changes", changed: [], removed };
    }
    if (this.#pending.size === 0) return null;
    const changed = [...this.#pending.values()].filter((record) => record !== null);
    const removed = [...this.#pending].flatMap(([name, record]) => record === null ? [name] : []);
    this.#pending.clear();
    return { type: "changes", changed, removed };
  }

  /** The table was read anew. */
  gap(): void {
    this.#gap = true;
    this.#taken = null;
    this.#pending.clear();
  }

  /** Something has changed. */
  add(name: string, record: LeaseRecord | null, taken: boolean): void {
    if (this.#gap) return;
    this.#pending.set(name, record);
    if (taken) this.#taken = name;
  }

  [Symbol.dispose](): void {
    this.#end();
  }

  #snapshot(): LeaseEvent {
    this.#gap = false;
    const records: LeaseRecord[] = [];
    for (const [name, { record, taken }] of this.#table.entries) {
      if (taken) this.#pending.set(name, record);
      else records.push(record);
    }
    return { type: "snapshot", records };
  }
}

/** The subnets that the key of a record names. */
function subnetsOf(record: LeaseRecord): readonly Cidr[] {
  return "lease" in record ? record.lease.endpoints.map(({ subnet }) => subnet) : subnetsNamed(record.key);
}

/** The subnets that the name of a key says; none if it is none of a lease. */
export function subnetsNamed(name: string): readonly Cidr[] {
  try {
    return parseLeaseKey(name);
  } catch {
    return [];
  }
}

function same(a: LeaseRecord, b: LeaseRecord): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}
