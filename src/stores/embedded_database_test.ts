import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { Database, DatabaseError } from "./embedded_database.ts";

const FOR_EVER = new AbortController().signal;

/** A folder that is there during a test. */
class Folder implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "weft-database-"));
  readonly file = join(this.path, "leases.db");

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

function open(path: string, readOnly = false): Database {
  return new Database({ path, readOnly, random: Math.random });
}

function insert(db: DatabaseSync, key: string, expiresAt: number | null = null): void {
  db.prepare("INSERT INTO lease (key, value, node, expires_at) VALUES (?, '{}', 'n', ?)").run(key, expiresAt);
}

function keysIn(db: DatabaseSync): unknown[] {
  return db.prepare("SELECT key FROM lease ORDER BY key").all().map(({ key }) => key);
}

test("Database makes the file and its folder, and finds what is in it when it is opened again", async () => {
  using folder = new Folder();
  const path = join(folder.path, "a/b/leases.db");
  {
    using database = open(path);
    await database.write(FOR_EVER, (db) => insert(db, "k"));
  }
  using again = open(path);
  assert.deepEqual(await again.read(FOR_EVER, keysIn), ["k"]);
  assert.deepEqual(readdirSync(join(folder.path, "a/b")), ["leases.db"], "one file, and nothing beside it");
});

test("Database takes an empty file for a new one, and follows a link", async () => {
  using folder = new Folder();
  writeFileSync(join(folder.path, "elsewhere.db"), "");
  symlinkSync("elsewhere.db", folder.file);
  using database = open(folder.file);
  await database.write(FOR_EVER, (db) => insert(db, "k"));
  using direct = open(join(folder.path, "elsewhere.db"));
  assert.deepEqual(await direct.read(FOR_EVER, keysIn), ["k"]);
});

test("Database undoes a write that throws, and passes the error on", async () => {
  using folder = new Folder();
  using database = open(folder.file);
  const failure = new RangeError("no");
  const failing = database.write(FOR_EVER, (db) => {
    insert(db, "k");
    throw failure;
  });
  await assert.rejects(failing, (error) => error === failure);
  assert.deepEqual(await database.read(FOR_EVER, keysIn), []);
});

test("Database turns to the file that stands in its place when it was replaced or removed", async () => {
  using folder = new Folder();
  using database = open(folder.file);
  await database.write(FOR_EVER, (db) => insert(db, "old"));
  rmSync(folder.file);
  assert.deepEqual(await database.read(FOR_EVER, keysIn), []);
  using other = open(folder.file);
  await other.write(FOR_EVER, (db) => insert(db, "new"));
  assert.deepEqual(await database.read(FOR_EVER, keysIn), ["new"], "both have the same file again");
});

test("Database gives up a write-ahead log that somebody has switched on", async () => {
  using folder = new Folder();
  {
    using database = open(folder.file);
    await database.write(FOR_EVER, (db) => insert(db, "k"));
  }
  const other = new DatabaseSync(folder.file);
  other.exec("PRAGMA journal_mode = WAL");
  other.close();
  using database = open(folder.file);
  assert.deepEqual(await database.read(FOR_EVER, (db) => db.prepare("PRAGMA journal_mode").get()!["journal_mode"]), "delete");
  assert.deepEqual(await database.read(FOR_EVER, keysIn), ["k"]);
});

test("Database lets nobody write what readers could not stand", async () => {
  using folder = new Folder();
  using database = open(folder.file);
  for (const [value, expiresAt] of [["x".repeat(65_537), 1], ["{}", -1], ["{}", 8640000000000001n]] as const) {
    const writing = database.write(FOR_EVER, (db) => {
      db.prepare("INSERT INTO lease (key, value, node, expires_at) VALUES ('k', ?, 'n', ?)").run(value, expiresAt);
    });
    await assert.rejects(writing, /CHECK constraint failed/);
  }
});

test("Database that is read-only writes nothing, and needs a file that is filled", async () => {
  using folder = new Folder();
  using early = open(folder.file, true);
  await assert.rejects(
    early.read(FOR_EVER, keysIn),
    /^DatabaseError: Cannot use the lease database ".*": it does not exist; the first/,
  );
  assert.deepEqual(readdirSync(folder.path), []);
  writeFileSync(folder.file, "");
  await assert.rejects(early.read(FOR_EVER, keysIn), /: it is empty; the first agent that starts fills it$/);
  {
    using database = open(folder.file);
    await database.write(FOR_EVER, (db) => insert(db, "k"));
  }
  const before = readFileSync(folder.file);
  using database = open(folder.file, true);
  assert.deepEqual(await database.read(FOR_EVER, keysIn), ["k"]);
  await assert.rejects(database.write(FOR_EVER, (db) => insert(db, "l")), DatabaseError);
  assert.deepEqual(readFileSync(folder.file), before);
});
