/**
 * One program that follows the nodes of an API server, measured by kubernetes.ts: `kubernetes_worker KUBECONFIG WAY WATCHES`.
 *
 * The way `weft` is the lease store's own; `whole` is a plain watch of whole nodes after the list, for comparison. It prints a line of
 * JSON once all watches have their first list, and one whenever it gets a line on its standard input.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { watchFolder } from "../test/watch_folder.ts";
import { annotationNames } from "../src/stores/kubernetes/annotations.ts";
import { credentialsOf } from "../src/stores/kubernetes/credentials.ts";
import { HttpClient } from "../src/stores/kubernetes/http.ts";
import { NodeApi } from "../src/stores/kubernetes/node_api.ts";
import { NodeTable } from "../src/stores/kubernetes/node_table.ts";
import { KubernetesStore } from "../src/stores/kubernetes/store.ts";

const [kubeconfigFile, way, watches] = process.argv.slice(2) as [string, string, string];
const PREFIX = "flannel.alpha.coreos.com";

const bun = (globalThis as { readonly Bun?: { gc(force: boolean): void } }).Bun;
const credentials = credentialsOf({
  apiUrl: null,
  kubeconfigFile,
  env: {},
  run: () => Promise.reject(new Error("no plugin is named")),
  now: Date.now,
  warn: () => {},
});
const collect = () => bun?.gc(true);
const started = performance.now();
const never = new AbortController().signal;
let peak = 0;
let changes = 0;

/** Follows as the agent does. @returns How to ask for the bytes read. */
async function weft(): Promise<() => number> {
  const store = new KubernetesStore({
    credentials,
    annotationPrefix: PREFIX,
    netConfigPath: "/nonexistent",
    watchFolder,
    node: "none",
    userAgent: "weft/bench",
    now: Date.now,
    random: Math.random,
    warn: () => {},
    collect,
  });
  const events = store.watch(never)[Symbol.asyncIterator]();
  await events.next();
  (async () => {
    for (;;) if (!(await events.next()).done) changes++;
  })();
  return () => store.bytesRead;
}

/** Follows whole nodes. */
async function whole(): Promise<() => number> {
  const http = new HttpClient({ credentials, userAgent: "weft/bench", collect });
  const api = new NodeApi(http, annotationNames(PREFIX));
  const table = new NodeTable();
  table.beginList();
  const version = await api.list({ whole: true }, (node) => table.put(node), never);
  table.endList();
  (async () => {
    for await (const { type, node } of api.watch({ whole: true }, version, 0, never)) {
      if (type === "put") table.put(node);
      changes++;
    }
  })();
  return () => http.bytesRead;
}

function memory(name: string): number {
  return Number(new RegExp(`${name}:\\s+(\\d+)`).exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0) / 1024;
}

function print(bytes: number): void {
  peak = Math.max(peak, memory("RssAnon"));
  const { user, system } = process.cpuUsage();
  console.log(JSON.stringify({
    ms: Math.round(performance.now() - started),
    bytes,
    changes,
    cpuMs: Math.round((user + system) / 1000),
    anonMiB: Math.round(memory("RssAnon") * 10) / 10,
    peakAnonMiB: Math.round(peak * 10) / 10,
    residentMiB: Math.round(memory("VmRSS") * 10) / 10,
    peakMiB: Math.round(memory("VmHWM") * 10) / 10,
  }));
}

setInterval(() => peak = Math.max(peak, memory("RssAnon")), 20);
const counters = await Promise.all(Array.from({ length: Number(watches) }, way === "weft" ? weft : whole));
const total = () => counters.reduce((sum, bytes) => sum + bytes(), 0);
print(total());
for await (const _ of createInterface({ input: process.stdin })) print(total());
process.exit(0);
