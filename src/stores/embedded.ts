/**
 * The embedded lease store: one SQLite file that all agents of a machine open.
 *
 * Every write is one transaction, so any number of agents may start at once, and one that dies in the middle of a write leaves the file
 * as it was. Others' changes are heard through a watch on the file's folder, which works across namespaces; nothing is polled. The
 * network configuration comes from net-conf.json.
 *
 * A node is known by its name and one of its public addresses together: in a lab many nodes have one host name, and behind NAT several
 * have one public address. So two agents hold one lease only if both agree, and a node that changes both its addresses while it is down
 * gets another subnet. One file serves one network.
 *
 * Where the file is deleted or replaced under running agents, each writes its lease into the new one, and only when all had time to do so
 * does a watch tell what is there: nobody's lease is missed for a moment.
 *
 * @module
 */

import type { DatabaseSync } from "node:sqlite";
import type { WatchFolder } from "../../ffi/mod.ts";
import { type Ip, overlaps } from "../model/ip.ts";
import { type Lease, type LeaseEvent, LeaseLostError, type LeaseRequest, type LeaseStore } from "../model/lease.ts";
import { chooseSubnets, isLeaseOf } from "./allocate.ts";
import { configText } from "./config_file.ts";
import { Database, DatabaseError } from "./embedded_database.ts";
import { type Cursor, look, recordOf, type Row } from "./embedded_reader.ts";
import { lastChange, removeLease, takenSubnets, writeLease, type Written } from "./embedded_rows.ts";
import { pause } from "./wait.ts";
import { FileWatch } from "./file_watch.ts";
import { leaseKey } from "./lease_value.ts";

/** How long a lease lasts, in milliseconds: 24 hours, as flannel's. */
export const LEASE_TIME = 24 * 3_600_000;
/** Time for a transaction to end whose first page was seen being written, in milliseconds. */
const SETTLE = 5;
/** Time for all agents to notice that the file was replaced and to write their leases into the new one, in milliseconds. */
const GRACE = 2000;
/** Pause before a file that can not be read is read again, in milliseconds. */
const RETRY = 1000;
/** The longest time a timer can be set to. */
const LONGEST_TIMER = 2 ** 31 - 1;

/** How the store is opened. */
export interface EmbeddedStoreOptions {
  /** The database. It and its folder are made where they are missing. */
  readonly path: string;
  /** The name of this node. */
  readonly node: string;
  readonly netConfigPath: string;
  /** Nobody named that path: while it is missing, the network is 10.244.0.0/16 with vxlan. */
  readonly netConfigPathIsDefault: boolean;
  /** Must open nothing in the folder: SQLite's locks on the file would be lost. */
  readonly watchFolder: WatchFolder;
  /** Nothing is written, and the database must be there; false unless given. */
  readonly readOnly?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Calls back once after some milliseconds, unless the returned function is called before. The runtime's timer unless given. */
  readonly after?: (milliseconds: number, call: () => void) => () => void;
}

/**
 * Opens the store.
 *
 * @throws {Error} If the file is not such a database, or can not be written; the message names it and says what to do.
 *
 * @example Usage
 * ```ts
 * import { openDriver } from "../../ffi/mod.ts";
 * import { openEmbeddedStore } from "./embedded.ts";
 * import { mkdtempSync } from "node:fs";
 *
 * const folder = mkdtempSync("/tmp/leases-");
 * await using store = await openEmbeddedStore({
 *   path: `${folder}/leases.db`,
 *   node: "a1",
 *   netConfigPath: `${folder}/net-conf.json`,
 *   netConfigPathIsDefault: true,
 *   now: Date.now,
 *   random: Math.random,
 *   watchFolder: (await openDriver()).watchFolder,
 * });
 * for await (const event of store.watch(AbortSignal.timeout(10_000))) {
 *   console.log(event.type);
 *   break;
 * }
 * ```
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<LeaseStore> {
  const store = new EmbeddedStore(options);
  await store.probe();
  return store;
}

class EmbeddedStore implements LeaseStore {
  readonly kind = "embedded";
  readonly #o: EmbeddedStoreOptions;
  readonly #database: Database;
  readonly #closed = new AbortController();
  /** Our lease, and the change that wrote it: while it is the row's last one, nobody else has touched it. */
  #mine: Written | null = null;
  #failure: string | null = null;
  #configProblem: string | null = null;
  #watchProblem: string | null = null;
  #replaced: string | null = null;

  constructor(options: EmbeddedStoreOptions) {
    this.#o = options;
    const { path, readOnly = false, random } = options;
    this.#database = new Database({ path, readOnly, random });
  }

  /** Opens the file, so that what is wrong with it is known at the start. */
  probe(): Promise<void> {
    return this.#asked(this.#database.read(this.#closed.signal, () => {}));
  }

  health() {
    const lastError = this.#failure ?? this.#watchProblem ?? this.#configProblem ?? this.#replaced;
    return { connected: this.#failure === null, lastError };
  }

  networkConfig(signal: AbortSignal): AsyncIterable<string> {
    const { netConfigPath, netConfigPathIsDefault, watchFolder } = this.#o;
    const problem = (what: string | null) => this.#configProblem = what;
    return configText(netConfigPath, netConfigPathIsDefault, this.#until(signal), problem, watchFolder);
  }

  async previousLease(publicIps: readonly Ip[], signal: AbortSignal): Promise<Lease | null> {
    const own = await this.#asked(this.#database.read(this.#until(signal), (db) => this.#own(db, publicIps)));
    return own.find(({ row }) => !this.#isExpired(row))?.lease ?? null;
  }

  acquire(request: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    return this.#put(signal, (db) => {
      db.prepare("DELETE FROM lease WHERE expires_at <= ?").run(this.#o.now());
      const own = this.#own(db, request.endpoints.map(({ publicIp }) => publicIp));
      const subnets = chooseSubnets({
        ranges: request.network.ranges,
        own: own.map(({ lease }) => lease.endpoints.map(({ subnet }) => subnet)),
        previous: request.previous,
        taken: takenSubnets(db, new Set(own.map(({ row }) => row.key))),
        random: this.#o.random,
      });
      const key = leaseKey(subnets);
      for (const { row } of own) if (row.key !== key) removeLease(db, row.key);
      const endpoints = subnets.map((subnet, i) => ({ ...request.endpoints[i]!, subnet }));
      const expiresAt = this.#expiry(own.find(({ row }) => row.key === key)?.row);
      return { key, backendType: request.backendType, endpoints, expiresAt };
    });
  }

  renew(lease: Lease, signal: AbortSignal): Promise<Lease> {
    return this.#put(signal, (db) => ({ ...lease, expiresAt: this.#expiry(this.#held(db, lease)) }));
  }

  async release(lease: Lease, signal: AbortSignal): Promise<void> {
    await this.#asked(this.#database.write(this.#until(signal), (db) => removeLease(db, this.#held(db, lease).key)));
    this.#mine = null;
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseEvent, never> {
    const all = this.#until(signal);
    const { now, after = runtimeTimer, watchFolder } = this.#o;
    using changes = new FileWatch(this.#o.path, SETTLE, watchFolder);
    let cursor: Cursor | null = null;
    let cancel = () => {};
    try {
      for (;;) {
        await changes.next(all);
        this.#watchProblem = changes.problem;
        const found = await this.#look(cursor, all);
        cancel();
        if (found.nextExpiry !== null) {
          cancel = after(Math.min(Math.max(found.nextExpiry - now(), 0), LONGEST_TIMER), () => changes.ring());
        }
        cursor = found.cursor;
        if (found.event !== null) yield found.event;
      }
    } finally {
      cancel();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error(`The lease database "${this.#o.path}" has been closed`));
    this.#database[Symbol.dispose]();
    return Promise.resolve();
  }

  /** Looks until it succeeds: a change that was announced must not be missed because the file could not be read at that moment. */
  async #look(cursor: Cursor | null, signal: AbortSignal) {
    for (;;) {
      try {
        const found = await this.#asked(this.#database.read(signal, (db) => look(db, cursor, this.#o.now())));
        if (cursor === null || (found.cursor.id === cursor.id && found.cursor.seq >= cursor.seq)) return found;
        await this.#restore(signal);
        cursor = null;
      } catch (error) {
        if (!(error instanceof DatabaseError)) throw error;
        await pause(RETRY, signal);
      }
    }
  }

  /** Writes our lease into the file that stands in the place of the one it was in, unless another node has its subnets there. */
  async #restore(signal: AbortSignal): Promise<void> {
    const at = new Date(this.#o.now()).toISOString();
    this.#replaced =
      `The lease database "${this.#o.path}" was deleted or replaced at ${at}; running agents have written their leases anew`;
    const lease = this.#mine?.lease;
    if (lease !== undefined && !this.#o.readOnly) {
      this.#mine = await this.#asked(this.#database.write(signal, (db) => {
        if (lastChange(db, lease.key) === this.#mine?.change) return this.#mine!; // another watch was faster
        const taken = takenSubnets(db, new Set());
        const isFree = lease.endpoints.every(({ subnet }) => !taken.some((other) => overlaps(other, subnet)));
        return isFree ? writeLease(db, lease, this.#o.node) : null;
      }));
    }
    await pause(GRACE, signal);
  }

  /** Waits for the database's answer, and keeps what that says of its health. */
  async #asked<T>(answer: Promise<T>): Promise<T> {
    try {
      await answer;
      this.#failure = null;
    } catch (error) {
      if (error instanceof DatabaseError) this.#failure = error.message;
    }
    return answer;
  }

  #until(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, this.#closed.signal]);
  }

  /** The leases of this node, the one written last first. */
  #own(db: DatabaseSync, publicIps: readonly Ip[]): { readonly row: Row; readonly lease: Lease }[] {
    const rows = db.prepare("SELECT * FROM lease WHERE node = ? ORDER BY seq DESC").all(this.#o.node) as unknown as Row[];
    return rows.flatMap((row) => {
      const record = recordOf(row);
      return "lease" in record && isLeaseOf(record.lease, publicIps) ? [{ row, lease: record.lease }] : [];
    });
  }

  /** The row of a lease that must be this node's. @throws {LeaseLostError} If it is not any more. */
  #held(db: DatabaseSync, lease: Lease): Row {
    const row = db.prepare("SELECT * FROM lease WHERE key = ?").get(lease.key) as Row | undefined;
    if (row === undefined) throw this.#lost(`the lease ${lease.key} is not in "${this.#o.path}" any more`);
    if (this.#isExpired(row)) throw this.#lost(`the lease ${lease.key} expired at ${new Date(row.expires_at!).toISOString()}`);
    const ips = lease.endpoints.map(({ publicIp }) => publicIp);
    const isOurs = lastChange(db, row.key) === this.#mine?.change ||
      this.#own(db, ips).some((own) => own.row.key === row.key);
    if (!isOurs) throw this.#lost(`the lease ${lease.key} is that of another node`);
    return row;
  }

  #lost(why: string): LeaseLostError {
    this.#mine = null;
    return new LeaseLostError(why);
  }

  #isExpired({ expires_at }: Row): boolean {
    return expires_at !== null && expires_at <= this.#o.now();
  }

  /** A lease that an administrator made to last for ever stays so. */
  #expiry(row: Row | undefined): number | null {
    return row?.expires_at === null ? null : this.#o.now() + LEASE_TIME;
  }

  /** Writes the lease that `choose` gives. */
  async #put(signal: AbortSignal, choose: (db: DatabaseSync) => Lease): Promise<Lease> {
    this.#mine = await this.#asked(this.#database.write(this.#until(signal), (db) => writeLease(db, choose(db), this.#o.node)));
    return this.#mine.lease;
  }
}

function runtimeTimer(milliseconds: number, call: () => void): () => void {
  const timer = setTimeout(call, milliseconds);
  return () => clearTimeout(timer);
}
