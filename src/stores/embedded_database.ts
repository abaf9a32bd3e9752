/**
 * The SQLite file of the embedded store: opened, checked, made where it is missing, and every transaction on it.
 *
 * It knows how the file is laid out and what SQLite's errors mean to an operator; what is a lease is decided elsewhere. The file has a
 * rollback journal and no write-ahead log, for two reasons. Who sees a page being written and then reads waits for the writer and gets
 * the new rows, while a reader beside a write-ahead log gets the old ones without a hint that it came too early. And leases are one
 * file, not three that must stay together.
 *
 * @module
 */

import { accessSync, closeSync, constants, mkdirSync, openSync, statSync } from "node:fs";
import { posix } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { oneLine, quote } from "../config/errors.ts";
import { pause } from "./wait.ts";

/** Says that the file is ours (`PRAGMA application_id`): "weft". */
const APPLICATION = 0x77656674;
/** The layout of the file (`PRAGMA user_version`). */
const FORMAT = 1;
/** How long SQLite itself waits for another process, in milliseconds. Nothing else runs meanwhile. */
const BUSY_WAIT = 50;
/** How long a transaction is tried again while other processes are in the way, in milliseconds. */
const PATIENCE = 10_000;
/** Whoever is behind by more changes has to read everything. */
export const HISTORY = 1000;

/** Every change of a lease, whoever makes it, gets the next number; the last deletions are kept by theirs. */
const LAYOUT = `
  CREATE TABLE store (id TEXT NOT NULL, seq INTEGER NOT NULL) STRICT;
  INSERT INTO store VALUES (lower(hex(randomblob(8))), 0);
  CREATE TABLE lease (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL CHECK (length(value) <= 65536),
    node TEXT NOT NULL,
    expires_at INTEGER CHECK (expires_at BETWEEN 0 AND 8640000000000000),
    seq INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX lease_by_seq ON lease (seq);
  CREATE INDEX lease_by_expiry ON lease (expires_at);
  CREATE TABLE removed (key TEXT NOT NULL PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
  CREATE INDEX removed_by_seq ON removed (seq);
  CREATE TRIGGER lease_inserted AFTER INSERT ON lease BEGIN
    UPDATE store SET seq = seq + 1;
    UPDATE lease SET seq = (SELECT seq FROM store) WHERE key = new.key;
    DELETE FROM removed WHERE key = new.key;
  END;
  CREATE TRIGGER lease_updated AFTER UPDATE OF key, value, node, expires_at ON lease BEGIN
    UPDATE store SET seq = seq + 1;
    UPDATE lease SET seq = (SELECT seq FROM store) WHERE key = new.key;
    INSERT INTO removed SELECT old.key, seq FROM store WHERE old.key <> new.key;
    DELETE FROM removed WHERE key = new.key;
  END;
  CREATE TRIGGER lease_deleted AFTER DELETE ON lease BEGIN
    UPDATE store SET seq = seq + 1;
    INSERT INTO removed SELECT old.key, seq FROM store;
    DELETE FROM removed WHERE seq <= (SELECT seq FROM store) - ${HISTORY};
  END;
  PRAGMA application_id = ${APPLICATION};
  PRAGMA user_version = ${FORMAT};
`;

/** What the file is used for, to find out at the start whether somebody has changed the layout. */
const TABLES = ["id, seq FROM store", "key, value, node, expires_at, seq FROM lease", "key, seq FROM removed"];

/** The file can not be used. The message names it, says why and what to do. */
export class DatabaseError extends Error {
  override readonly name = "DatabaseError";
}

/** How the file is opened. */
export interface DatabaseOptions {
  readonly path: string;
  /** Nothing is written, and the file must be there. */
  readonly readOnly: boolean;
  /** A number in [0, 1), for jitter. */
  readonly random: () => number;
}

/** The file, opened when it is first used and again whenever another stands in its place. */
export class Database implements Disposable {
  readonly #options: DatabaseOptions;
  #open: { readonly db: DatabaseSync; readonly id: string } | null = null;

  constructor(options: DatabaseOptions) {
    this.#options = options;
  }

  /**
   * Reads in one transaction.
   *
   * @param run Must have no effect but on the database: it runs again where another process was in the way.
   * @throws {DatabaseError} If the file can not be used.
   */
  read<T>(signal: AbortSignal, run: (db: DatabaseSync) => T): Promise<T> {
    return this.#transact("BEGIN", signal, run);
  }

  /** As {@linkcode read}, and writes. Whatever `run` throws undoes it. */
  write<T>(signal: AbortSignal, run: (db: DatabaseSync) => T): Promise<T> {
    return this.#transact("BEGIN IMMEDIATE", signal, run);
  }

  /** Closes the file. */
  [Symbol.dispose](): void {
    this.#open?.db.close();
    this.#open = null;
  }

  async #transact<T>(begin: string, signal: AbortSignal, run: (db: DatabaseSync) => T): Promise<T> {
    for (let waited = 0;;) {
      signal.throwIfAborted();
      try {
        return transaction(this.#current(), begin, run);
      } catch (error) {
        if (!isBusy(error) || waited >= PATIENCE) throw explained(this.#options.path, error);
      }
      const wait = 5 + this.#options.random() * 45;
      waited += BUSY_WAIT + wait;
      await pause(wait, signal);
    }
  }

  /** The open file, if it is still the one that others find under its path. */
  #current(): DatabaseSync {
    const { path, readOnly } = this.#options;
    if (this.#open !== null && this.#open.id === identityOf(path)) return this.#open.db;
    this[Symbol.dispose]();
    if (!readOnly) mkdirSync(posix.dirname(path), { recursive: true, mode: 0o755 });
    checkAccess(path, readOnly);
    const db = new DatabaseSync(path, { readOnly, timeout: BUSY_WAIT });
    try {
      prepare(db, readOnly);
    } catch (error) {
      db.close();
      throw error;
    }
    this.#open = { db, id: identityOf(path) };
    return db;
  }
}

/** Tells two files of one name apart. */
function identityOf(path: string): string {
  const info = statSync(path, { throwIfNoEntry: false });
  return info === undefined ? "none" : `${info.dev}:${info.ino}`;
}

/** Finds out beforehand what SQLite would say only when it writes, and without the reason. */
function checkAccess(path: string, readOnly: boolean): void {
  const info = statSync(path, { throwIfNoEntry: false });
  if (info === undefined && readOnly) throw new DatabaseError("it does not exist; the first agent that starts makes it");
  if (info !== undefined && !info.isFile()) throw new DatabaseError("it is not a regular file; name one with --lease-db");
  const { W_OK, X_OK } = constants;
  // Deno's access() knows nothing of file systems that are mounted read-only. We hold no lock yet that closing could release.
  if (info !== undefined) closeSync(openSync(path, readOnly ? "r" : "r+"));
  if (!readOnly) accessSync(posix.dirname(path), W_OK | X_OK); // the journal is made beside the file
}

function prepare(db: DatabaseSync, readOnly: boolean): void {
  db.exec("PRAGMA synchronous = FULL");
  const isEmpty = transaction(db, "BEGIN", inspect);
  const verdict = pragma(db, "quick_check(1)");
  if (verdict !== "ok") throw new DatabaseError(`${oneLine(String(verdict))}: ${DAMAGED}`);
  if (!isEmpty) TABLES.forEach((columns) => db.prepare(`SELECT ${columns} LIMIT 1`).get());
  if (readOnly) {
    if (isEmpty) throw new DatabaseError("it is empty; the first agent that starts fills it");
    return;
  }
  if (pragma(db, "journal_mode") === "wal") db.prepare("PRAGMA journal_mode = DELETE").get();
  if (isEmpty) transaction(db, "BEGIN IMMEDIATE", (db) => inspect(db) && db.exec(LAYOUT));
}

/** Whether the file is still empty. What is in it must be ours. */
function inspect(db: DatabaseSync): boolean {
  const [application, format] = [pragma(db, "application_id"), pragma(db, "user_version")];
  const isEmpty = db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
  if (isEmpty && application === 0 && format === 0) return true;
  if (application !== APPLICATION) {
    throw new DatabaseError("it is another program's database; name another file with --lease-db");
  }
  if (format !== FORMAT) {
    throw new DatabaseError(
      `it has format ${format}, and this agent knows format ${FORMAT}; start the newer agent, or name another file with --lease-db`,
    );
  }
  return false;
}

function pragma(db: DatabaseSync, name: string): unknown {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

function transaction<T>(db: DatabaseSync, begin: string, run: (db: DatabaseSync) => T): T {
  db.exec(begin);
  try {
    const result = run(db);
    db.exec("COMMIT");
    return result;
  } catch (error) {
    if (db.isTransaction) db.exec("ROLLBACK"); // some errors end the transaction by themselves
    throw error;
  }
}

/** Deno tells no error codes, but both runtimes pass on SQLite's own words. */
function isBusy(error: unknown): boolean {
  return error instanceof Error && /^database (table )?is locked/.test(error.message);
}

const DAMAGED = "it is damaged; move it away, and the agents take their leases again as their subnet.env says";
const MEANINGS: readonly (readonly [RegExp, string])[] = [
  [/is locked/, "other processes keep it locked; find them with fuser and end the one that hangs"],
  [/not a database/, "it is not an SQLite database; move it away, or name another file with --lease-db"],
  [
    /malformed|no such (table|column)/,
    "it is damaged; move it away, and the agents take their leases again as their subnet.env says",
  ],
  [
    /readonly|EACCES|EPERM|EROFS|unable to open/,
    "the file and its folder must be writable for the agent; or name another with --lease-db",
  ],
  [/full|ENOSPC|disk I\/O/, "make room, or check the disk"],
  [/EEXIST|ENOTDIR|ELOOP|ENAMETOOLONG/, "a part of the path can not be a folder; name another file with --lease-db"],
];

/** An error of SQLite or of the file system in words that help; any other error as it is. */
function explained(path: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (!(error instanceof DatabaseError) && code === undefined) return error;
  const [, meaning] = MEANINGS.find(([pattern]) => pattern.test(error.message)) ?? [];
  const why = error instanceof DatabaseError
    ? error.message
    : `${oneLine(error.message)}${meaning === undefined ? "" : `: ${meaning}`}`;
  return new DatabaseError(`Cannot use the lease database ${quote(path)}: ${why}`, { cause: error });
}
