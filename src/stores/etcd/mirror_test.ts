/**
 * When a mirror reads everything again, and when it goes on from where it was; against a cluster that is only played.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { Health } from "../health.ts";
import { Bell } from "./bell.ts";
import { EtcdError } from "./error.ts";
import { CompactedError, type KeyValue, type WatchMessage } from "./kv.ts";
import { LeaseTable } from "./lease_table.ts";
import { Mirror, type MirrorOptions } from "./mirror.ts";
import { OwnWrites } from "./own_writes.ts";

const CONFIG = "/p/config";
const LEASES = "/p/subnets/";

/** A cluster that holds what a test says, and whose watches a test feeds and ends. */
class Played {
  cluster = "c";
  revision = 10;
  config: string | null = '{"Network":"10.5.0.0/16"}';
  leases: KeyValue[] = [];
  failure: Error | null = null;
  /** What was asked, in order; a watch with where it goes on. */
  readonly asked: string[] = [];
  #feed: ((message: WatchMessage | Error) => void) | null = null;
  readonly #bell = new Bell();

  set(name: string, modRevision: number): void {
    this.leases = this.leases.filter(({ key }) => key !== LEASES + name);
    this.leases.push({
      key: LEASES + name,
      value: '{"PublicIP":"192.168.64.1"}',
      createRevision: modRevision,
      modRevision,
      lease: "7",
    });
    this.revision = Math.max(this.revision, modRevision);
  }

  /** Tells a watch. */
  tell(message: Partial<WatchMessage>): void {
    const { cluster, revision } = this;
    this.#feed!({ cluster, revision, of: 1, puts: [], removed: [], next: null, ...message });
  }

  /** Ends a watch. */
  end(error: Error = new Error("cut off")): void {
    this.#feed!(error);
  }

  /** Waits until something was asked for the nth time. */
  async until(what: RegExp, times = 1): Promise<void> {
    while (this.asked.filter((it) => what.test(it)).length < times) await this.#bell.next(AbortSignal.timeout(10_000));
  }

  readonly kv: MirrorOptions["kv"] = {
    get: (key) => this.#answer("get", () => ({ found: key === CONFIG && this.config !== null ? this.#config() : null })),
    look: (key) => this.#answer(`look ${key}`, () => ({ found: this.leases.find((it) => it.key === key) ?? null })),
    list: (_range, put) => this.#answer("list", () => this.leases.forEach(put)),
    watch: (_origin, ranges, signal) => this.#watch(ranges.map(({ from }) => from), signal),
  };

  async #answer<T>(what: string, answer: () => T) {
    this.#note(what);
    await Promise.resolve();
    if (this.failure !== null) throw this.failure;
    return { cluster: this.cluster, revision: this.revision, ...answer() };
  }

  async *#watch(from: readonly number[], signal: AbortSignal): AsyncGenerator<WatchMessage> {
    const queue: (WatchMessage | Error)[] = [];
    const bell = new Bell();
    this.#feed = (message) => {
      queue.push(message);
      bell.ring();
    };
    this.#note(`watch ${from.join(" ")}`);
    for (;;) {
      const next = queue.shift();
      if (next instanceof Error) throw next;
      if (next === undefined) await bell.next(signal);
      else yield next;
    }
  }

  #config(): KeyValue {
    return { key: CONFIG, value: this.config!, createRevision: 1, modRevision: 1, lease: "0" };
  }

  #note(what: string): void {
    this.asked.push(what);
    this.#bell.ring();
  }
}

/** A mirror that runs. */
function bed(played = new Played()) {
  const stop = new AbortController();
  const health = new Health();
  const logged: string[] = [];
  const left: string[] = [];
  const changed = new Bell();
  const table = new LeaseTable(LEASES, new OwnWrites(), () => {});
  const mirror = new Mirror({
    client: { origin: "http://m", leave: (origin) => left.push(origin) },
    kv: played.kv,
    configKey: CONFIG,
    leasePrefix: LEASES,
    table,
    health,
    random: () => 0,
    changed: () => changed.ring(),
    log: (_level, message) => logged.push(message),
  });
  const running = mirror.run(stop.signal).catch(() => {});
  return {
    played,
    mirror,
    table,
    health,
    logged,
    left,
    changed: () => changed.next(AbortSignal.timeout(10_000)),
    async [Symbol.asyncDispose]() {
      stop.abort();
      await running;
    },
  };
}

const lists = ({ asked }: Played) => asked.filter((it) => it === "list").length;

test("what was read is followed from its own revision on", async () => {
  const played = new Played();
  played.set("10.5.1.0-24", 5);
  await using it = bed(played);
  await played.until(/^watch 11 11$/);
  assert.deepEqual([it.mirror.config, [...it.table.entries.keys()]], [{ text: played.config, missing: false }, ["10.5.1.0-24"]]);
  const heard = it.changed();
  played.tell({ puts: [{ ...played.leases[0]!, key: `${LEASES}10.5.2.0-24`, modRevision: 12 }], revision: 12, next: 13 });
  await heard;
  assert.deepEqual([...it.table.entries.keys()], ["10.5.1.0-24", "10.5.2.0-24"]);
});

test("a watch that ends is gone on with where each range was, if the newest lease is as it was", async () => {
  const played = new Played();
  played.set("10.5.1.0-24", 5);
  played.set("10.5.2.0-24", 9);
  await using it = bed(played);
  await played.until(/^watch/);
  played.tell({ of: 0, puts: [], revision: 40, next: 41 });
  played.tell({ of: 1, puts: [], revision: 30, next: 31 });
  played.tell({ of: 1, puts: [], revision: 50, next: null }); // a fragment tells not how far it has come
  played.revision = 50;
  played.end();
  await played.until(/^watch 41 31$/);
  assert.ok(played.asked.includes(`look ${LEASES}10.5.2.0-24`));
  assert.deepEqual([lists(played), it.left], [1, ["http://m"]]);
  assert.deepEqual(it.logged, ["cut off"]);
});

test("everything is read again after a compaction, which is no fault of anybody's", async () => {
  const played = new Played();
  await using it = bed(played);
  await played.until(/^watch/);
  played.end(new CompactedError("compacted"));
  await played.until(/^watch/, 2);
  assert.equal(lists(played), 2);
  assert.deepEqual([it.health.state, it.left, it.logged], [{ connected: true, lastError: null }, [], []]);
});

for (
  const [what, change, lost] of [
    ["another lease is the newest", (it: Played) => it.set("10.5.1.0-24", 12), false],
    ["the newest lease is gone", (it: Played) => it.leases = [], false],
    ["the state is older", (it: Played) => it.revision = 8, true],
    ["the cluster is another one", (it: Played) => it.cluster = "d", true],
  ] as const
) {
  test(`everything is read again when ${what}`, async () => {
    const played = new Played();
    played.set("10.5.1.0-24", 5);
    await using it = bed(played);
    await played.until(/^watch/);
    change(played);
    played.end();
    await played.until(/^watch/, 2);
    assert.equal(lists(played), 2);
    assert.equal(it.logged.some((line) => /lost a part of its history/.test(line)), lost);
  });
}

test("an answer of another cluster in the middle of a watch ends it", async () => {
  await using it = bed();
  await it.played.until(/^watch/);
  it.played.cluster = "d";
  it.played.tell({});
  await it.played.until(/^watch/, 2);
  assert.equal(lists(it.played), 2);
});

test("a cluster that does not answer is asked again and again; what was known stays, and one line is logged", async () => {
  const played = new Played();
  played.set("10.5.1.0-24", 5);
  await using it = bed(played);
  await played.until(/^watch/);
  played.failure = new EtcdError("no leader", 14, "no leader");
  played.end();
  await played.until(/^look/, 3);
  assert.deepEqual([it.health.state, it.table.entries.size, it.mirror.isCurrent], [
    { connected: false, lastError: "no leader" },
    1,
    false,
  ]);
  played.failure = null;
  await played.until(/^watch/, 2);
  assert.deepEqual(it.logged, ["cut off"]);
  played.tell({});
  await it.changed();
  assert.deepEqual([it.logged, it.health.state.connected], [["cut off", "etcd answers again"], true]);
});

test("a configuration that is deleted stays in force, and is missed", async () => {
  await using it = bed();
  await it.played.until(/^watch/);
  const heard = it.changed();
  it.played.tell({ of: 0, removed: [{ key: CONFIG, modRevision: 11 }] });
  await heard;
  assert.deepEqual(it.mirror.config, { text: it.played.config, missing: true });
});
