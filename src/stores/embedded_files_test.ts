import assert from "node:assert/strict";
import { chmodSync, existsSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { watchFolder } from "../../test/watch_folder.ts";
import { asOrdinaryUser, Child } from "../../test/contracts/child.ts";
import { EmbeddedBacking } from "../../test/contracts/embedded_backing.ts";
import { followLeases } from "../../test/contracts/followed_leases.ts";
import { parseIp } from "../model/ip.ts";
import { requestOf } from "../../test/contracts/lease_entries.ts";
import { openEmbeddedStore } from "./embedded.ts";

const SCRIPT = new URL("../../test/contracts/embedded_child.ts", import.meta.url).pathname;
const IP = parseIp("192.168.64.1");
const NODE = { name: `node-${IP}`, publicIps: [IP], subnets: [] };
const REQUEST = requestOf(IP);

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

/** Fills the file with leases over many pages. */
async function fill(backing: EmbeddedBacking): Promise<void> {
  await backing.sql(
    `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 250) INSERT INTO lease (key, value, node)
      SELECT format('10.9.%d.0-24', i), format('{"PublicIP":"192.168.65.%d","BackendData":"%s"}', i, hex(zeroblob(150))), 'other' FROM n`,
  );
}

function writeSqlite(path: string, ...statements: string[]): void {
  const db = new DatabaseSync(path);
  statements.forEach((statement) => db.exec(statement));
  db.close();
}

/** Fills every page but the first with what does not belong there. */
function damage(path: string): void {
  const bytes = readFileSync(path);
  bytes.fill(0xa5, 4096);
  writeFileSync(path, bytes);
}

type Spoil = (path: string, backing: EmbeddedBacking) => void | Promise<void>;

const BAD: readonly (readonly [what: string, spoil: Spoil, says: RegExp])[] = [
  [
    "text",
    (path) => writeFileSync(path, "these are no leases\n".repeat(1000)),
    /not an? (SQLite )?database.*move it away, or name another/,
  ],
  ["a few bytes", (path) => writeFileSync(path, "hello"), /not an? (SQLite )?database.*move it away/],
  ["a folder", (path) => mkdirSync(path), /not a regular file; name one with --lease-db/],
  [
    "another program's",
    (path) => writeSqlite(path, "CREATE TABLE bookmark (url)"),
    /another program's database; name another file/,
  ],
  [
    "another program's with a table of the same name",
    (path) => writeSqlite(path, "CREATE TABLE lease (id)", "PRAGMA user_version = 1"),
    /another program's database/,
  ],
  [
    "a newer agent's",
    async (_, backing) => void await backing.sql("PRAGMA user_version = 7"),
    /format 7.*knows format 1.*newer agent/,
  ],
  [
    "truncated",
    async (path, backing) => (await fill(backing), truncateSync(path, 8192)),
    /is damaged; move it away, and the agents take/,
  ],
  ["damaged", async (path, backing) => (await fill(backing), damage(path)), /is damaged; move it away, and the agents take/],
  ["without its tables", async (_, backing) => void await backing.sql("DROP TABLE lease"), /is damaged; move it away/],
];

for (const [what, spoil, says] of BAD) {
  test(`openEmbeddedStore() says in one line what is wrong with a file that is ${what}`, async () => {
    await using backing = new EmbeddedBacking();
    await spoil(backing.path, backing);
    const before = what === "a folder" ? null : readFileSync(backing.path);
    await assert.rejects(backing.open(NODE), (error: Error) => {
      assert.match(error.message, says);
      assert.ok(error.message.startsWith(`Cannot use the lease database "${backing.path}": `), error.message);
      assert.doesNotMatch(error.message, /\n/);
      return true;
    });
    if (before !== null) assert.deepEqual(readFileSync(backing.path), before, "it is left as it was");
  });
}

/** Lets an ordinary user open the file; `/` and its like are not theirs. */
async function messageAsOrdinaryUser(path: string): Promise<unknown> {
  await using child = new Child(SCRIPT, ["take", path, IP], asOrdinaryUser());
  await child.until(1);
  child.go();
  await child.until(2);
  return (child.lines[1] as { error?: string }).error;
}

const READ_ONLY: readonly (readonly [what: string, path: (backing: EmbeddedBacking) => string, forbid: (path: string) => void])[] =
  [
    ["a read-only file", ({ path }) => path, (path) => chmodSync(path, 0o444)],
    ["a file that may not be read", ({ path }) => path, (path) => chmodSync(path, 0)],
    ["a read-only folder", ({ path }) => path, (path) => chmodSync(dirname(path), 0o555)],
    ["an absent file in a read-only folder", ({ folder }) => join(folder, "new.db"), (path) => chmodSync(dirname(path), 0o555)],
    [
      "an absent folder in a read-only folder",
      ({ folder }) => join(folder, "new/x.db"),
      (path) => chmodSync(dirname(dirname(path)), 0o555),
    ],
  ];

for (const [what, pathIn, forbid] of READ_ONLY) {
  test(`openEmbeddedStore() says to an ordinary user what must be writable: ${what}`, { timeout: 60_000 }, async () => {
    await using backing = new EmbeddedBacking();
    await (await backing.open(NODE))[Symbol.asyncDispose]();
    const path = pathIn(backing);
    forbid(path);
    try {
      const message = String(await messageAsOrdinaryUser(path));
      assert.match(message, /the file and its folder must be writable for the agent; or name another with --lease-db$/);
      assert.ok(message.startsWith(`Cannot use the lease database "${path}": `) && !message.includes("\n"), message);
    } finally {
      chmodSync(backing.folder, 0o755);
    }
  });
}

test("openEmbeddedStore() makes the folders of the file, and says when it can not", async () => {
  await using backing = new EmbeddedBacking();
  const options = {
    node: "a",
    netConfigPath: "/none",
    netConfigPathIsDefault: true,
    now: Date.now,
    random: Math.random,
    watchFolder,
  };
  await using _store = await openEmbeddedStore({ ...options, path: join(backing.folder, "a/b/c.db") });
  assert.ok(existsSync(join(backing.folder, "a/b/c.db")));
  writeFileSync(join(backing.folder, "file"), "");
  await assert.rejects(
    openEmbeddedStore({ ...options, path: join(backing.folder, "file/c.db") }),
    /^DatabaseError: Cannot use the lease database ".*file\/c\.db": [^\n]*--lease-db/,
  );
});

test(
  "a file that is damaged while it is open is told, and the watch goes on when it is well again",
  { timeout: 60_000 },
  async () => {
    await using backing = new EmbeddedBacking();
    await using store = await backing.open(NODE);
    await using followed = followLeases(store);
    const lease = await store.acquire(REQUEST, soon());
    await followed.until("the lease", ({ leases }) => leases.has(lease.key));
    const whole = readFileSync(backing.path);
    writeFileSync(backing.path, "no leases");
    await assert.rejects(store.renew(lease, soon()), /^DatabaseError: Cannot use the lease database ".*": [^\n]+$/);
    const { connected, lastError } = store.health();
    assert.equal(connected, false);
    assert.match(lastError!, /leases\.db/);
    const { size } = followed.keys;
    assert.equal(size, 1, "an unreadable file takes nothing away");
    writeFileSync(backing.path, whole);
    await store.renew(lease, soon());
    assert.deepEqual(store.health(), { connected: true, lastError: null });
  },
);

/** The longest time that nothing else could run while something was awaited, in milliseconds. */
async function longestPause(run: () => Promise<unknown>): Promise<number> {
  let longest = 0;
  let last = performance.now();
  const beat = setInterval(() => {
    longest = Math.max(longest, performance.now() - last);
    last = performance.now();
  }, 5);
  try {
    await run();
  } finally {
    clearInterval(beat);
  }
  return Math.max(longest, performance.now() - last);
}

async function whileLocked(backing: EmbeddedBacking, run: (release: () => void) => Promise<void>): Promise<void> {
  const db = new DatabaseSync(backing.path);
  db.exec("BEGIN EXCLUSIVE");
  try {
    await run(() => db.exec("ROLLBACK"));
  } finally {
    db.close();
  }
}

test("a file that another process keeps locked is waited for without holding up anything else", { timeout: 60_000 }, async () => {
  await using backing = new EmbeddedBacking();
  await using store = await backing.open(NODE);
  await whileLocked(backing, async (release) => {
    const pause = await longestPause(async () => {
      setTimeout(release, 1500);
      await store.acquire(REQUEST, soon());
    });
    assert.ok(pause < 500, `${pause} ms`);
  });
});

test("a signal cuts the wait for a locked file short, and a wait in vain says what to look for", { timeout: 60_000 }, async () => {
  await using backing = new EmbeddedBacking();
  await using store = await backing.open(NODE);
  await whileLocked(backing, async () => {
    const start = performance.now();
    const reason = new Error("enough");
    const controller = new AbortController();
    setTimeout(() => controller.abort(reason), 300);
    await assert.rejects(store.acquire(REQUEST, controller.signal), reason);
    assert.ok(performance.now() - start < 2000);
    await assert.rejects(store.acquire(REQUEST, soon()), /database ".*leases\.db": .*locked.*other processes keep it locked/);
    assert.equal(store.health().connected, false);
  });
  await store.acquire(REQUEST, soon());
  assert.equal(store.health().connected, true);
});
