/**
 * What has happened to the leases of an embedded store since they were last looked at.
 *
 * Each look gives either everything or exactly the difference, however many processes wrote in between. Expired leases are gone for
 * every reader at the same moment, whether or not somebody has deleted their rows yet.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import type { LeaseEvent, LeaseRecord } from "../model/lease.ts";
import { HISTORY } from "./embedded_database.ts";
import { leaseRecord } from "./lease_value.ts";

/** A row of the table of leases. */
export interface Row {
  readonly key: string;
  readonly value: string;
  /** The name of the node that holds the lease. */
  readonly node: string;
  /** Milliseconds since the epoch; `null` if the lease does not expire. */
  readonly expires_at: number | null;
  /** The number of the row's last change. */
  readonly seq: number;
}

/** Where a reader stands. */
export interface Cursor {
  /** The database: one that was made anew is another. */
  readonly id: string;
  readonly seq: number;
  /** Leases that expired until then are known to be gone; milliseconds since the epoch. */
  readonly at: number;
}

/** The outcome of a look. */
export interface Look {
  /** `null` if nothing has happened. */
  readonly event: LeaseEvent | null;
  readonly cursor: Cursor;
  /** When the next lease expires, if nobody renews it; `null` if none does. */
  readonly nextExpiry: number | null;
}

/** The lease in a row, or why there is none. */
export function recordOf({ key, value, expires_at }: Row): LeaseRecord {
  return leaseRecord(key, value, expires_at);
}

/**
 * Looks at the leases. Run it in one transaction.
 *
 * @param before Where the last look ended; `null` for a first one.
 * @param now Milliseconds since the epoch.
 */
export function look(db: DatabaseSync, before: Cursor | null, now: number): Look {
  const { id, seq } = db.prepare("SELECT id, seq FROM store").get() as unknown as Cursor;
  const { next } = db.prepare("SELECT min(expires_at) AS next FROM lease WHERE expires_at > ?").get(now) as { next: number | null };
  const isFollowing = before !== null && before.id === id && before.seq <= seq && seq - before.seq <= HISTORY && before.at <= now;
  const event = isFollowing ? difference(db, before, now) : everything(db, now);
  return { event, cursor: { id, seq, at: now }, nextExpiry: next };
}

function everything(db: DatabaseSync, now: number): LeaseEvent {
  const rows = db.prepare("SELECT * FROM lease WHERE expires_at IS NULL OR expires_at > ? ORDER BY key").all(now);
  return { type: "snapshot", records: (rows as unknown as Row[]).map(recordOf) };
}

function difference(db: DatabaseSync, { seq, at }: Cursor, now: number): LeaseEvent | null {
  const rows = db.prepare("SELECT * FROM lease WHERE seq > ? OR (expires_at > ? AND expires_at <= ?) ORDER BY seq")
    .all(seq, at, now) as unknown as Row[];
  const gone = db.prepare("SELECT key FROM removed WHERE seq > ? ORDER BY seq").all(seq) as unknown as Pick<Row, "key">[];
  const isExpired = ({ expires_at }: Row) => expires_at !== null && expires_at <= now;
  const changed = rows.filter((row) => !isExpired(row)).map(recordOf);
  const removed = [...gone, ...rows.filter(isExpired)].map(({ key }) => key);
  return changed.length + removed.length === 0 ? null : { type: "changes", changed, removed };
}
