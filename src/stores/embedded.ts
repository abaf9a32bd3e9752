/**
 * The embedded lease store: one SQLite file that all agents of a machine open.
 *
 * Every write is one immediate transaction, so any number of agents may start at once, and a process that dies in the middle of one
 * leaves the file as it was. Other processes' changes are heard through the write-ahead log: a watch on its folder, no polling.
 * The network configuration comes from net-conf.json. Values have flannel's form, see lease_value.ts.
 *
 * @module
 */

import { mkdirSync } from "node:fs";
import { basename, dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Lease, LeaseEvent, LeaseRecord, LeaseRequest, LeaseStore } from "../model/lease.ts";
import { LeaseLostError } from "../model/lease.ts";
import type { Ip } from "../model/ip.ts";
import { chooseSubnets, isLeaseOf } from "./allocate.ts";
import { changesIn, textOf } from "./file_watch.ts";
import { leaseKey, leaseRecord, leaseValue } from "./lease_value.ts";

/** How long a lease lasts, in milliseconds; flannel's 24 hours. */
export const LEASE_TIME = 24 * 3_600_000;
/** The format of the file (`PRAGMA user_version`). */
const FORMAT = 1;
/** How long a transaction waits for another process's, in milliseconds. */
const PATIENCE = 10_000;
/** What is taken for the network where nobody configured one. */
const DEFAULT_NETWORK = '{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}';

/** How the store is opened. */
export interface EmbeddedOptions {
  /** The database; it and its folder are made where they are missing. */
  readonly path: string;
  readonly netConfigPath: string;
  /** Only the default path may be absent: then the network is 10.244.0.0/16 with vxlan. */
  readonly netConfigPathIsDefault: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
}

/**
 * Opens the store.
 *
 * @throws {Error} If the file is not such a database, or can not be written; the message names it and says what to do.
 */
export function openEmbeddedStore(options: EmbeddedOptions): LeaseStore {
  return new EmbeddedStore(options, openDatabase(options.path));
}

function openDatabase(path: string): DatabaseSync {
  let db: DatabaseSync | null = null;
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    db = new DatabaseSync(path);
    db.exec(`PRAGMA busy_timeout = ${PATIENCE}`);
    const version = (db.prepare("PRAGMA user_version").get() as { user_version: number }).user_version;
    if (version > FORMAT) {
      throw new Error(
        `it has format ${version}, this agent knows ${FORMAT}: update the agent, or name another file with --lease-db`,
      );
    }
    db.exec("PRAGMA journal_mode = WAL");
    db.exec("PRAGMA synchronous = FULL");
    if (version < FORMAT) create(db);
    check(db);
    return db;
  } catch (error) {
    db?.close();
    throw new Error(`Cannot open the lease database "${path}": ${explain(error as Error)}`, { cause: error });
  }
}

function create(db: DatabaseSync): void {
  db.exec(`BEGIN IMMEDIATE;
    CREATE TABLE IF NOT EXISTS lease (key TEXT PRIMARY KEY, value TEXT NOT NULL, expires INTEGER, holder TEXT NOT NULL) STRICT;
    PRAGMA user_version = ${FORMAT};
    COMMIT`);
}

/** Finds at once what would otherwise fail later: a damaged file, a missing table, a file that can not be written. */
function check(db: DatabaseSync): void {
  const found = db.prepare("PRAGMA quick_check(1)").get() as Record<string, string>;
  const verdict = Object.values(found)[0];
  if (verdict !== "ok") throw new Error(`it is damaged (${verdict}): move it away, agents take their leases anew`);
  db.prepare("SELECT key, value, expires, holder FROM lease LIMIT 1").get();
  db.exec("BEGIN IMMEDIATE; ROLLBACK");
}

function explain(error: Error): string {
  const text = error.message;
  if (/not a database/i.test(text)) return `${text}: move it away, or name another file with --lease-db`;
  if (/malformed|damaged|disk image/i.test(text)) return `${text}: move it away, agents take their leases anew`;
  if (/readonly|read-only|unable to open|EACCES|EROFS|EPERM/i.test(text)) {
    return `${text}: the file and its folder must be writable; name another with --lease-db`;
  }
  if (/no such (table|column)/i.test(text)) return `${text}: another program's database; name another file with --lease-db`;
  return text;
}

interface Row {
  readonly key: string;
  readonly value: string;
  readonly expires: number | null;
  readonly holder: string;
}

class EmbeddedStore implements LeaseStore {
  readonly kind = "embedded";
  readonly #options: EmbeddedOptions;
  readonly #db: DatabaseSync;
  /** Tells our writes from those of others, and of an earlier run on the same node. */
  readonly #holder: string;
  #lastError: string | null = null;

  constructor(options: EmbeddedOptions, db: DatabaseSync) {
    this.#options = options;
    this.#db = db;
    this.#holder = Array.from({ length: 4 }, () => Math.floor(options.random() * 2 ** 32).toString(16).padStart(8, "0")).join("");
  }

  health() {
    return { connected: this.#lastError === null, lastError: this.#lastError };
  }

  networkConfig(signal: AbortSignal): AsyncIterable<string> {
    const { netConfigPath, netConfigPathIsDefault } = this.#options;
    return textOf(netConfigPath, netConfigPathIsDefault ? DEFAULT_NETWORK : null, signal);
  }

  previousLease(publicIps: readonly Ip[], signal: AbortSignal): Promise<Lease | null> {
    return this.#do(
      "look up the lease of this node",
      signal,
      () => this.#leases().find((lease) => isLeaseOf(lease, publicIps)) ?? null,
    );
  }

  acquire(request: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    return this.#do("take a lease", signal, () =>
      this.#transaction(() => {
        const ips = request.endpoints.map(({ publicIp }) => publicIp);
        const leases = this.#leases().map((lease) => ({ lease, subnets: lease.endpoints.map(({ subnet }) => subnet) }));
        const mine = leases.filter(({ lease }) => isLeaseOf(lease, ips));
        const subnets = chooseSubnets({
          ranges: request.network.ranges,
          own: mine.map(({ subnets }) => subnets),
          previous: request.previous,
          taken: leases.filter((it) => !mine.includes(it)).flatMap(({ subnets }) => subnets),
          random: this.#options.random,
        });
        const own = mine.find(({ lease }) => lease.key === leaseKey(subnets))?.lease ?? null;
        for (const { lease } of mine) this.#db.prepare("DELETE FROM lease WHERE key = ?").run(lease.key);
        const endpoints = subnets.map((subnet, i) => ({ ...request.endpoints[i]!, subnet }));
        const reserved = own !== null && own.expiresAt === null;
        const lease = this.#lease({ key: leaseKey(subnets), backendType: request.backendType, endpoints }, reserved);
        this.#db.prepare("INSERT OR REPLACE INTO lease (key, value, expires, holder) VALUES (?, ?, ?, ?)")
          .run(lease.key, leaseValue(lease), lease.expiresAt, this.#holder);
        return lease;
      }));
  }

  renew(lease: Lease, signal: AbortSignal): Promise<Lease> {
    return this.#do(`renew the lease ${lease.key}`, signal, () =>
      this.#transaction(() => {
        const renewed = this.#lease(lease, lease.expiresAt === null);
        const { changes } = this.#db.prepare(`UPDATE lease SET value = ?, expires = ? WHERE key = ? AND holder = ? AND ${VALID}`)
          .run(leaseValue(renewed), renewed.expiresAt, lease.key, this.#holder, this.#options.now());
        if (Number(changes) === 0) throw this.#lost(lease);
        return renewed;
      }));
  }

  release(lease: Lease, signal: AbortSignal): Promise<void> {
    return this.#do(`give back the lease ${lease.key}`, signal, () =>
      this.#transaction(() => {
        const { changes } = this.#db.prepare(`DELETE FROM lease WHERE key = ? AND holder = ? AND ${VALID}`)
          .run(lease.key, this.#holder, this.#options.now());
        if (Number(changes) === 0) throw this.#lost(lease);
      }));
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseEvent> {
    const { path } = this.#options;
    const expiry = new Expiry(this.#options.now);
    const changes = changesIn([dirname(path)], (name) => name === null || name.startsWith(basename(path)), signal, expiry);
    let known: ReadonlyMap<string, Row> | null = null;
    try {
      for await (const _ of changes) {
        const rows = await this.#do("read the leases", signal, () => this.#rows());
        expiry.at(rows);
        const now: ReadonlyMap<string, Row> = new Map(rows.map((row) => [row.key, row]));
        const event = known === null ? { type: "snapshot" as const, records: rows.map(recordOf) } : difference(known, now);
        known = now;
        if (event !== null) yield event;
      }
    } finally {
      expiry.cancel();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#db.close();
    return Promise.resolve();
  }

  #rows(): Row[] {
    return this.#db.prepare(`SELECT key, value, expires, holder FROM lease WHERE ${VALID}`).all(
      this.#options.now(),
    ) as unknown as Row[];
  }

  #leases(): Lease[] {
    return this.#rows().map(recordOf).flatMap((record) => "lease" in record ? [record.lease] : []);
  }

  #lease(lease: Omit<Lease, "expiresAt">, reserved: boolean): Lease {
    return { ...lease, expiresAt: reserved ? null : this.#options.now() + LEASE_TIME };
  }

  #lost(lease: Lease): LeaseLostError {
    return new LeaseLostError(`the lease ${lease.key} has expired, or another agent has taken it`);
  }

  /** Runs something in one transaction; expired leases are cleared away with it. */
  #transaction<T>(run: () => T): T {
    this.#db.exec("BEGIN IMMEDIATE");
    try {
      this.#db.prepare(`DELETE FROM lease WHERE NOT ${VALID}`).run(this.#options.now());
      const result = run();
      this.#db.exec("COMMIT");
      return result;
    } catch (error) {
      this.#db.exec("ROLLBACK");
      throw error;
    }
  }

  // deno-lint-ignore require-await -- rejects instead of throwing, as the other stores do
  async #do<T>(what: string, signal: AbortSignal, run: () => T): Promise<T> {
    signal.throwIfAborted();
    try {
      const result = run();
      this.#lastError = null;
      return result;
    } catch (error) {
      if (!("code" in (error as Error))) throw error; // the database did its work: the lease is lost, or no subnet is free
      const failed = `Cannot ${what} in "${this.#options.path}": ${(error as Error).message}`;
      this.#lastError = failed;
      throw new Error(failed, { cause: error });
    }
  }
}

const VALID = "(expires IS NULL OR expires > ?)";

function recordOf({ key, value, expires }: Row): LeaseRecord {
  return leaseRecord(key, value, expires);
}

function difference(before: ReadonlyMap<string, Row>, now: ReadonlyMap<string, Row>): LeaseEvent | null {
  const changed = [...now.values()].filter((row) => {
    const old = before.get(row.key);
    return old === undefined || old.value !== row.value || old.expires !== row.expires || old.holder !== row.holder;
  });
  const removed = [...before.keys()].filter((key) => !now.has(key));
  return changed.length + removed.length === 0 ? null : { type: "changes", changed: changed.map(recordOf), removed };
}

/** Wakes a watch when the next lease expires. */
class Expiry {
  readonly #now: () => number;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Set by the watch. */
  wake: () => void = () => {};

  constructor(now: () => number) {
    this.#now = now;
  }

  at(rows: readonly Row[]): void {
    this.cancel();
    const next = Math.min(...rows.flatMap(({ expires }) => expires === null ? [] : [expires]));
    if (Number.isFinite(next)) {
      this.#timer = setTimeout(() => this.wake(), Math.max(1, Math.min(next - this.#now() + 1, 2 ** 31 - 1)));
    }
  }

  cancel(): void {
    clearTimeout(this.#timer);
  }
}
