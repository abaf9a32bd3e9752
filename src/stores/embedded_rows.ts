/**
 * The statements by which leases are written to the file of an embedded store. Who may do so is decided elsewhere.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import type { Cidr } from "../model/ip.ts";
import type { Lease } from "../model/lease.ts";
import { leaseValue, parseLeaseKey } from "./lease_value.ts";

/** A lease that was written. */
export interface Written {
  readonly lease: Lease;
  /** As {@linkcode lastChange} names it. */
  readonly change: string;
}

/** Writes a lease, over the one with the same key if there is one. */
export function writeLease(db: DatabaseSync, lease: Lease, node: string): Written {
  db.prepare(
    "INSERT INTO lease (key, value, node, expires_at) VALUES (?, ?, ?, ?) " +
      "ON CONFLICT (key) DO UPDATE SET value = excluded.value, node = excluded.node, expires_at = excluded.expires_at",
  ).run(lease.key, leaseValue(lease), node, lease.expiresAt);
  return { lease, change: lastChange(db, lease.key)! };
}

/** Takes a lease away. */
export function removeLease(db: DatabaseSync, key: string): void {
  db.prepare("DELETE FROM lease WHERE key = ?").run(key);
}

/** The last change of a lease, by a name that no other change has, in no other file; `null` if there is no such lease. */
export function lastChange(db: DatabaseSync, key: string): string | null {
  const found = db.prepare("SELECT id || ' ' || lease.seq AS name FROM lease, store WHERE key = ?").get(key);
  return (found as { name: string } | undefined)?.name ?? null;
}

/** The subnets of all leases but some, also of those whose value is no lease: their key can not be used twice. */
export function takenSubnets(db: DatabaseSync, but: ReadonlySet<string>): Cidr[] {
  const rows = db.prepare("SELECT key FROM lease").all() as { key: string }[];
  return rows.filter(({ key }) => !but.has(key)).flatMap(({ key }) => {
    try {
      return parseLeaseKey(key);
    } catch {
      return []; // it names no subnet, so it takes none
    }
  });
}
