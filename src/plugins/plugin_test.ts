/**
 * A plugin in its Worker: asked, lost and started anew, and its effects.
 *
 * @module
 */

import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EffectContext } from "../model/effects.ts";
import { macsOf, peerOf, sideOf } from "./check/world.ts";
import { type OpenPlugin, openPlugin } from "./plugin.ts";

const WORKER = new URL("./worker.ts", import.meta.url);
const side = sideOf(1, 4, 1450, null);

let folder = "";
before(() => folder = mkdtempSync(join(tmpdir(), "weft-plugin-")));
after(() => rmSync(folder, { recursive: true }));

const PARTS: Readonly<Record<string, string>> = {
  options: "(value) => value",
  leaseData: '(value) => { if (value === "bad") throw new Error("it is bad"); return value; }',
  mtu: "(external) => external - 20",
  links: '() => ["mine0"]',
  publish: '(side) => ({ mac: side.macFor("mine0"), state: side.state })',
  node: "() => []",
  peer: `({ subnet, publicIp }, side) => {
    const link = side.onLink(publicIp);
    return { path: link === null ? "far" : "near", items: [{ kind: "route", dst: subnet, to: { via: publicIp, link: side.link, onlink: false }, src: null }] };
  }`,
};

/** Opens a plugin; `until` waits for the next thing that it has to say, until something holds. */
async function open(name: string, odd: Readonly<Record<string, string>> = {}, head = "") {
  const parts = { name: JSON.stringify(name), api: "1", type: '"mine"', ...PARTS, ...odd };
  const path = join(folder, `${name}.js`);
  writeFileSync(
    path,
    `${head}\nexport default { ${Object.entries(parts).map(([key, text]) => `${key}: ${text}`).join(",\n")} };\n`,
  );
  const log: string[] = [];
  let news = Promise.withResolvers<void>();
  const plugin = await openPlugin({
    ...{ name, path, worker: WORKER, by: "the test", given: {}, source: "the test", strict: true },
    macs: macsOf(() => 1),
    log: (level, line) => log.push(`${level} ${line}`),
    changed: () => news.resolve(),
  });
  const until = async (holds: () => boolean) => {
    while (!holds()) {
      await news.promise;
      news = Promise.withResolvers();
    }
  };
  return { plugin, log, until, [Symbol.dispose]: () => plugin.close() };
}

const ask = (plugin: OpenPlugin) => [2, 200].map((n) => plugin.peer(peerOf(n, 4, n === 2 ? {} : "bad"), side));

test("a plugin answers all that one plan asks, and changes its edition once", async () => {
  using opened = await open("answers");
  const { plugin, until } = opened;
  assert.deepEqual([plugin.type, plugin.links, plugin.settled], ["mine", ["mine0"], true]);
  plugin.mtu(1500, [4]);
  plugin.publish(side);
  plugin.node(side);
  ask(plugin);
  assert.equal(plugin.settled, false);
  await until(() => plugin.settled);
  assert.equal(plugin.edition, 1);
  assert.equal(plugin.mtu(1500, [4]), 1480);
  assert.deepEqual(plugin.publish(side), { data: { mac: macsOf(() => 1).of("mine0").drawn, state: null } });
  assert.deepEqual(ask(plugin).map(({ path, state, reason }) => [path, state, reason]), [
    ["near", "planned", null],
    ["none", "rejected", "its backend data is wrong: it is bad"],
  ]);
});

test("a plugin whose Worker is lost keeps what it said, and is started anew", async () => {
  using opened = await open("crashes", {
    effects: '{ ready: () => { setTimeout(() => { throw new Error("nobody catches this"); }, 1); return Promise.resolve(); } }',
  });
  const { plugin, log, until } = opened;
  ask(plugin);
  await until(() => plugin.settled);
  const context: EffectContext = { signal: new AbortController().signal, log: () => {} };
  await plugin.effects.ready!(context, { name: "a", sides: [side] });
  await until(() => plugin.problem !== null);
  assert.match(plugin.problem!, /it threw where nobody could catch it: .*nobody catches this/);
  assert.equal(ask(plugin)[0]!.path, "near");
  assert.equal(plugin.settled, false, "while it is gone, nothing may be dropped for its sake");
  await until(() => plugin.problem === null);
  assert.deepEqual([plugin.incarnation, log.length], [1, 1]);
  const changed = peerOf(2, 4, { other: true });
  plugin.peer(changed, side);
  await until(() => plugin.settled);
  assert.equal(plugin.peer(changed, side).path, "near");
});

test("effects run where the plugin runs: with its log, its signal and its state, and fail by their own words", async () => {
  using opened = await open("acts", {
    effects: `{
      started: 0,
      async start(context, node) { context.log("info", "starts on " + node.name); return { started: ++this.started, mtu: node.sides[0].mtu }; },
      async ready() { throw new Error("not\\n\\x1b[31m today"); },
      async peers(context, { put, drop, all }) { return new Map(put.map(({ key, sides }) => [key, sides[0].data + " of " + all.size + ", " + drop.length])); },
      health: (context) => new Promise((resolve) => context.signal.addEventListener("abort", () => resolve("it was " + context.signal.reason.message))),
      async stop() { return "whatever"; },
    }`.replace("started: 0,\n", "").replace("++this.started", "1"),
  });
  const { plugin } = opened;
  const { start, ready, peers, health, stop } = plugin.effects;
  const log: string[] = [];
  const ended = new AbortController();
  const context: EffectContext = { signal: ended.signal, log: (level, line) => log.push(`${level} ${line}`) };
  const node = { name: "a1", sides: [side] };
  assert.deepEqual(await start!(context, node), { started: 1, mtu: 1450 });
  assert.deepEqual(log, ["info starts on a1"]);
  await assert.rejects(ready!(context, node), { message: "not today" });
  const peer = { key: "node-2", sides: [peerOf(2, 4, "two")] };
  assert.deepEqual(
    await peers!(context, { put: [peer], drop: [], all: new Map([["node-2", peer]]) }, node),
    new Map([["node-2", "two of 1, 0"]]),
  );
  const sick = health!(context, node);
  ended.abort(new Error("too late"));
  assert.equal(await sick, "it was too late");
  assert.equal(await stop!({ ...context, signal: new AbortController().signal }, node), undefined);
});

test("a plugin that can not be used is refused with the reason, and its Worker ends", async () => {
  await assert.rejects(
    open("throws", {}, 'throw new Error("no licence");'),
    /Cannot use backend "throws" of ".*throws\.js": no licence$/,
  );
  await assert.rejects(
    open("wrong", { options: '() => { throw new Error("Port is missing"); }' }),
    /The Backend in the test is wrong for wrong: Port is missing$/,
  );
  await assert.rejects(open("reads", {}, 'import x from "./x.js";'), /it imports "\.\/x\.js"/);
  await assert.rejects(open("sends", {}, 'globalThis.postMessage("garbage");'), /it sent what is no answer/);
  await assert.rejects(open("links", { links: "() => 7" }), /links\(\) answers what is no such thing/);
});
