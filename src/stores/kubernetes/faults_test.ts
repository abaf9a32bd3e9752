/**
 * What a real API server can not be made to do on demand: answers that are late, refused, cut or those of another version.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { watchFolder } from "../../../test/watch_folder.ts";
import { followLeases } from "../../../test/contracts/followed_leases.ts";
import { eventBytes, listBytes, statusBytes } from "../../../test/kubernetes/bytes.ts";
import { type Asked, managed, StandIn } from "../../../test/kubernetes/stand_in.ts";
import { credentialsOf } from "./credentials.ts";
import { type KubernetesOptions, KubernetesStore } from "./store.ts";

function storeAt(server: StandIn, given: Partial<KubernetesOptions> = {}): KubernetesStore {
  const none = () => Promise.reject(new Error("no plugin is named"));
  return new KubernetesStore({
    credentials: credentialsOf({ apiUrl: server.url, kubeconfigFile: null, env: {}, run: none, now: Date.now, warn: () => {} }),
    annotationPrefix: "flannel.alpha.coreos.com",
    netConfigPath: "/nonexistent",
    watchFolder,
    node: "a",
    userAgent: "weft/test",
    now: Date.now,
    random: Math.random,
    warn: () => {},
    ...given,
  });
}

const [A, B, C] = [managed("a", "10.1.0.0/24"), managed("b", "10.2.0.0/24"), managed("c", "10.3.0.0/24")] as const;

/** A server with nodes a and b, and who follows them. */
async function followed(options: { readonly minor?: string; readonly intercept?: StandIn["intercept"] } = {}) {
  const server = await StandIn.start(A, B);
  if (options.minor !== undefined) server.minor = options.minor;
  if (options.intercept !== undefined) server.intercept = options.intercept;
  const store = storeAt(server);
  const leases = followLeases(store);
  return {
    server,
    store,
    leases,
    subnets: () => Object.fromEntries([...leases.leases].map(([key, { endpoints }]) => [key, endpoints[0]!.subnet]).sort()),
    async [Symbol.asyncDispose]() {
      await leases[Symbol.asyncDispose]();
      await store[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

const BOTH = { a: "10.1.0.0/24", b: "10.2.0.0/24" };

/** Answers the first `times` requests that match with something else. */
function first(times: number, matches: (asked: Asked) => boolean, answer: StandIn["intercept"]): StandIn["intercept"] {
  let left = times;
  return (asked, response) => matches(asked) && left > 0 && (left--, answer(asked, response));
}

const isList = ({ path, query }: Asked) => path === "/api/v1/nodes" && !query.has("watch");
const isWatch = ({ path, query }: Asked) => path === "/api/v1/nodes" && query.has("watch");

test("history that is gone in the middle of a watch: metadata is listed again, and no node is read twice", async () => {
  await using it = await followed();
  await it.server.until("the watch", ({ open }) => open === 1);
  it.server.nodes.delete("b");
  it.server.nodes.set("a", managed("a", "10.1.0.0/24", { "flannel.alpha.coreos.com/public-ip": "192.168.100.9" }));
  it.server.write(eventBytes("ERROR", statusBytes(410, "Expired", "too old resource version")));
  await it.leases.until("the second snapshot", ({ events }) => events.filter(({ type }) => type === "snapshot").length === 2);
  assert.deepEqual(it.subnets(), { a: "10.1.0.0/24" });
  assert.equal(it.leases.leases.get("a")!.endpoints[0]!.publicIp, "192.168.100.9");
  assert.deepEqual(it.server.lists, ["whole", "metadata"]);
  assert.deepEqual(it.store.health(), { connected: true, lastError: null }, "that is no failure");
});

test("history that is gone before a watch begins: the same", async () => {
  await using it = await followed({
    intercept: first(1, isWatch, (_, response) => {
      response.writeHead(410).end(statusBytes(410, "Gone", "too old"));
      return true;
    }),
  });
  await it.leases.until("the second snapshot", ({ events }) => events.length === 2);
  assert.deepEqual(it.server.lists, ["whole", "metadata"]);
  assert.deepEqual(it.subnets(), BOTH);
});

test("a list whose next page is gone begins again, and nothing of it was told", async () => {
  let served = 0;
  await using it = await followed({
    intercept: (asked, response) => {
      if (!isList(asked) || served > 1) return false;
      served++;
      if (asked.query.get("continue") === "") response.end(listBytes([A], "5", { whole: true, next: "page-2" }));
      else response.writeHead(410).end(statusBytes(410, "Expired", "the continue parameter is too old"));
      return true;
    },
  });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  assert.deepEqual([served, it.leases.events.length, it.subnets()], [2, 1, BOTH]);
});

test("pages are read to the last", async () => {
  await using it = await followed({
    intercept: (asked, response) => {
      if (!isList(asked)) return false;
      const last = asked.query.get("continue") === "page-2";
      response.end(last ? listBytes([B], "7", { whole: true }) : listBytes([A], "7", { whole: true, next: "page-2" }));
      return true;
    },
  });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  assert.deepEqual(it.subnets(), BOTH);
  await it.server.until("the watch", ({ watches }) => watches.length === 1);
  assert.equal(it.server.watches[0]!.query.get("resourceVersion"), "7");
});

test("a server that is too busy is asked again when it said, and not before", async () => {
  await using it = await followed({
    intercept: first(2, isList, (_, response) => {
      response.writeHead(429, { "retry-after": "1" }).end(statusBytes(429, "TooManyRequests", "too many requests"));
      return true;
    }),
  });
  await it.server.until("the first request", ({ lists }) => lists.length > 0);
  await sleep(100);
  assert.match(it.store.health().lastError!, /refused GET \/api\/v1\/nodes with 429: too many requests/);
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  const times = it.server.asked.filter(isList).map(({ at }) => at);
  assert.equal(times.length, 3);
  for (const i of [1, 2]) assert.ok(times[i]! - times[i - 1]! > 1000, `${times[i]! - times[i - 1]!} ms`);
  assert.deepEqual(it.store.health(), { connected: true, lastError: null });
});

for (const [what, cut] of [["in the middle of an event", 100], ["between two events", 0]] as const) {
  test(`a watch that is cut ${what} goes on from the last version`, async () => {
    await using it = await followed();
    await it.server.until("the watch", ({ open }) => open === 1);
    it.server.put(C);
    await it.leases.until("c", ({ leases }) => leases.has("c"));
    const { version } = it.server;
    it.server.tell("MODIFIED", { ...B, spec: {} }, cut);
    await sleep(50);
    it.server.endWatches("cut");
    await it.server.until("the next watch", ({ open }) => open === 1);
    assert.equal(it.server.watches.at(-1)!.query.get("resourceVersion"), String(version));
    it.server.delete("c");
    await it.leases.until("the end of c", ({ leases }) => !leases.has("c"));
    assert.ok(it.leases.events.slice(1).every(({ type }) => type === "changes"), "nothing was missed, so no snapshot");
    assert.deepEqual(it.server.lists, ["whole"]);
  });
}

test("a watch that the server ends goes on from the last bookmark, and one that it always ends at once is not begun in a loop", async () => {
  await using it = await followed();
  await it.server.until("the watch", ({ open }) => open === 1);
  it.server.bookmark();
  await sleep(50);
  it.server.endWatches("properly");
  await it.server.until("the next watch", ({ open }) => open === 1);
  assert.equal(it.server.watches.at(-1)!.query.get("resourceVersion"), String(it.server.version));
  it.server.intercept = (asked, response) => isWatch(asked) && (response.end(), true);
  it.server.endWatches("properly");
  const before = it.server.watches.length;
  await sleep(2500);
  assert.ok(it.server.watches.length - before <= 3, `${it.server.watches.length - before} watches in 2.5 s`);
  assert.deepEqual(it.store.health(), { connected: true, lastError: null });
});

test("a list that is cut in half is read again, and nothing of it was told", async () => {
  const whole = listBytes([A, B], "100", { whole: true });
  await using it = await followed({
    intercept: first(2, isList, (_, response) => {
      response.writeHead(200, { "content-length": whole.length }).write(whole.subarray(0, whole.length - 60));
      setTimeout(() => response.destroy(), 20);
      return true;
    }),
  });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  assert.deepEqual([it.leases.events.length, it.subnets(), it.server.lists.length], [1, BOTH, 3]);
});

test("a list that ends too early although it says it is complete is read again", async () => {
  const whole = listBytes([A, B], "100", { whole: true });
  await using it = await followed({
    intercept: first(1, isList, (_, response) => (response.end(whole.subarray(0, whole.length - 60)), true)),
  });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  assert.deepEqual([it.leases.events.length, it.subnets()], [1, BOTH]);
});

test("a server that falls silent is noticed, and what changed meanwhile is told once it is back", async () => {
  await using it = await followed();
  await it.server.until("the watch", ({ open }) => open === 1);
  const silent = performance.now();
  it.server.intercept = () => true; // accepts everything, answers nothing
  while (it.store.health().connected) await sleep(20);
  const noticed = performance.now() - silent;
  assert.ok(noticed < 14_000, `noticed after ${noticed} ms`);
  assert.match(it.store.health().lastError!, /Cannot reach the API server http:.*: no answer for 3 s/);
  it.server.endWatches("cut");
  it.server.delete("b");
  it.server.intercept = () => false;
  const back = performance.now();
  await it.leases.until("the end of b", ({ leases }) => !leases.has("b"));
  assert.ok(performance.now() - back < 5000, `told after ${performance.now() - back} ms`);
  assert.deepEqual(it.subnets(), { a: "10.1.0.0/24" });
});

test("a list is streamed where the server can, and only metadata is watched after it", async () => {
  await using it = await followed({ minor: "35" });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  await it.server.until("the second watch", ({ watches }) => watches.length === 2);
  const [list, watch] = it.server.watches;
  assert.deepEqual([it.server.lists, it.subnets()], [[], BOTH]);
  assert.deepEqual([list!.query.get("resourceVersionMatch"), /as=/.test(list!.accept)], ["NotOlderThan", false]);
  assert.deepEqual([watch!.query.get("resourceVersion"), /as=PartialObjectMetadata;/.test(watch!.accept)], ["100", true]);
});

for (
  const [what, answer] of [
    [
      "with a status",
      (_, response) => (response.writeHead(422).end(statusBytes(422, "Invalid", "sendInitialEvents is forbidden")), true),
    ],
    [
      "with an event",
      (
        _,
        response,
      ) => (response.end(eventBytes("ERROR", statusBytes(500, "InternalError", "RequestWatchProgress is disabled"))), true),
    ],
  ] as const satisfies readonly (readonly [string, StandIn["intercept"]])[]
) {
  test(`a server that refuses to stream a list, ${what}, is asked for pages at once`, async () => {
    await using it = await followed({ minor: "32+", intercept: first(1, ({ query }) => query.has("sendInitialEvents"), answer) });
    await it.leases.until("a snapshot", ({ events }) => events.length > 0);
    assert.deepEqual([it.subnets(), it.server.lists, it.store.health().lastError], [BOTH, ["whole"], null]);
    assert.ok(it.server.asked.at(-1)!.at - it.server.asked[0]!.at < 400, "without waiting");
  });
}

test("a server that tells nobody its version is asked for pages", async () => {
  await using it = await followed({
    minor: "35",
    intercept: ({ path }, response) => path === "/version" && (response.writeHead(403).end(), true),
  });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  assert.deepEqual([it.subnets(), it.server.lists, it.store.health().lastError], [BOTH, ["whole"], null]);
});

test("a streamed list that breaks off is read in pages the next time, and nothing of it was told", async () => {
  await using it = await followed({
    minor: "35",
    intercept: first(1, isWatch, (asked, response) => {
      response.flushHeaders();
      response.write(eventBytes("ADDED", listBytes([], "1", { whole: true })));
      setTimeout(() => response.destroy(), 20);
      return asked.method === "GET";
    }),
  });
  await it.leases.until("a snapshot", ({ events }) => events.length > 0);
  assert.deepEqual([it.leases.events.length, it.subnets(), it.server.lists], [1, BOTH, ["whole"]]);
});

test("a server that does not tell metadata apart is asked for whole nodes", async () => {
  await using it = await followed({
    intercept: (asked, response) => /as=/.test(asked.accept) && (response.writeHead(406).end("only application/json"), true),
  });
  await it.server.until("a watch of whole nodes", ({ open }) => open === 1);
  it.server.put(C);
  await it.leases.until("c", ({ leases }) => leases.has("c"));
  assert.deepEqual(it.subnets(), { ...BOTH, c: "10.3.0.0/24" });
  assert.ok(!it.server.asked.some(({ query }) => query.has("fieldSelector")), "nothing had to be read again");
});

test("whole nodes that are sent although metadata was asked for are read as they are", async () => {
  await using it = await followed();
  it.server.intercept = (
    asked,
    response,
  ) => (it.server.serve({ ...asked, accept: "application/vnd.kubernetes.protobuf" }, response), true);
  await it.server.until("the watch", ({ open }) => open === 1);
  it.server.endWatches("properly");
  await it.server.until("the next watch", ({ open, watches }) => open === 1 && watches.length === 2);
  it.server.put(C);
  await it.leases.until("c", ({ leases }) => leases.has("c"));
  assert.ok(!it.server.asked.some(({ query }) => query.has("fieldSelector")));
});

test("a few new nodes are read one by one by their names, many by one list", async () => {
  await using it = await followed();
  await it.server.until("the watch", ({ open }) => open === 1);
  it.server.put(C);
  await it.leases.until("c", ({ leases }) => leases.has("c"));
  const single = it.server.asked.filter(({ query }) => query.get("fieldSelector") === "metadata.name=c");
  assert.deepEqual([single.length, single[0]!.accept], [1, "application/vnd.kubernetes.protobuf"]);
  for (let i = 10; i < 60; i++) it.server.put(managed(`n${i}`, `10.${i}.0.0/24`));
  await it.leases.until("all", ({ leases }) => leases.size === 53);
  assert.ok(it.server.lists.filter((kind) => kind === "whole").length >= 2);
  const read = it.server.asked.filter(({ query }) => query.has("fieldSelector")).length;
  assert.ok(read < 40, `${read} were read one by one`);
});

test("nodes that can not be read are asked for again, and what else happens is told meanwhile", async () => {
  await using it = await followed();
  await it.server.until("the watch", ({ open }) => open === 1);
  it.server.intercept = first(2, ({ query }) => query.has("fieldSelector"), (_, response) => (response.writeHead(500).end(), true));
  it.server.put(C);
  it.server.put(managed("a", "10.1.0.0/24", { "flannel.alpha.coreos.com/public-ip": "192.168.100.9" }));
  await it.leases.until("a", ({ leases }) => leases.get("a")!.endpoints[0]!.publicIp === "192.168.100.9");
  assert.ok(!it.leases.leases.has("c"));
  await it.leases.until("c", ({ leases }) => leases.has("c"));
});

test("a node that no agent manages is not read", async () => {
  await using it = await followed();
  await it.server.until("the watch", ({ open }) => open === 1);
  it.server.put({ ...C, metadata: { ...C.metadata, annotations: {} } });
  it.server.delete("b");
  await it.leases.until("the end of b", ({ leases }) => !leases.has("b"));
  assert.ok(!it.server.asked.some(({ query }) => query.has("fieldSelector")));
});
