/**
 * Servers that come back: after a short while, after a long one, and with a state that is older than what was seen.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { managed, StandIn } from "../../../test/kubernetes/stand_in.ts";
import { Health } from "../health.ts";
import { annotationNames } from "./annotations.ts";
import { Follower } from "./follower.ts";
import { HttpClient } from "./http.ts";
import { NodeApi } from "./node_api.ts";
import { NodeTable } from "./node_table.ts";

const [A, B] = [managed("a", "10.1.0.0/24"), managed("b", "10.2.0.0/24")];

async function bed() {
  const server = await StandIn.start(A, B);
  const http = new HttpClient({
    credentials: { access: () => Promise.resolve({ url: new URL(server.url), tls: {}, headers: {} }), refused: () => {} },
    userAgent: "weft/test",
  });
  const table = new NodeTable();
  const health = new Health();
  const clock = { ahead: 0 };
  const api = new NodeApi(http, annotationNames("flannel.alpha.coreos.com"));
  const now = () => performance.now() + clock.ahead;
  const follower = new Follower(table, { api, health, random: Math.random, changed: () => {}, now });
  const over = new AbortController();
  const running = follower.run(over.signal).catch((error) => {
    if (!over.signal.aborted) throw error;
  });
  await server.until("the watch", ({ open }) => open === 1);
  return {
    server,
    table,
    clock,
    health,
    /** Refuses everything until the failure was seen. */
    async outage(): Promise<void> {
      server.intercept = (_, response) => (response.destroy(), true);
      server.endWatches("cut");
      await server.until("the failure", () => !health.state.connected);
    },
    async [Symbol.asyncDispose]() {
      over.abort();
      await running;
      http.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

test("after a short outage the watch goes on, and nothing is listed", async () => {
  await using it = await bed();
  await it.outage();
  it.server.intercept = () => false;
  await it.server.until("the next watch", ({ open }) => open === 1);
  assert.deepEqual(it.server.lists, ["whole"]);
  assert.deepEqual(it.health.state, { connected: true, lastError: null });
});

test("after a long outage everything is compared by its metadata, and no node is read twice", async () => {
  await using it = await bed();
  it.table.take();
  await it.outage();
  it.clock.ahead = 61_000;
  it.server.nodes.delete("b");
  it.server.intercept = () => false;
  await it.server.until("the next watch", ({ open }) => open === 1);
  assert.deepEqual(it.server.lists, ["whole", "metadata"]);
  const event = it.table.take();
  assert.deepEqual(event?.type === "snapshot" && event.records.map(({ key }) => key), ["a"]);
});

test("a server whose state is older than what was seen is read as a whole, for pod subnets may be others too", async () => {
  await using it = await bed();
  it.server.put(managed("a", "10.1.0.0/24", { "flannel.alpha.coreos.com/public-ip": "192.168.100.9" }));
  await it.server.until("the change", () => it.table.hasNews);
  it.table.take();
  await it.outage();
  it.server.version = 50;
  it.server.nodes.set("a", { ...A, spec: { podCIDR: "10.7.0.0/24" } });
  it.server.intercept = () => false;
  await it.server.until("the next watch", ({ open }) => open === 1);
  assert.deepEqual(it.server.lists, ["whole", "whole"]);
  const event = it.table.take();
  const records = event?.type === "snapshot" ? event.records : [];
  assert.deepEqual(records.map((it) => "lease" in it && it.lease.endpoints[0]!.subnet), ["10.7.0.0/24", "10.2.0.0/24"]);
  assert.equal(it.server.watches.at(-1)!.query.get("resourceVersion"), "50");
});

test("versions that are no numbers are not compared", async () => {
  await using it = await bed();
  it.server.tell("BOOKMARK", { metadata: { name: "", uid: "", resourceVersion: "opaque-9" }, spec: {} });
  it.server.bookmark();
  it.server.tell("BOOKMARK", { metadata: { name: "", uid: "", resourceVersion: "opaque-9" }, spec: {} });
  await new Promise((resolve) => setTimeout(resolve, 100));
  await it.outage();
  it.server.version = 1;
  it.server.intercept = () => false;
  await it.server.until("the next watch", ({ open }) => open === 1);
  assert.equal(it.server.watches.at(-1)!.query.get("resourceVersion"), "opaque-9");
  assert.deepEqual(it.server.lists, ["whole"]);
});
