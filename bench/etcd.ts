/**
 * The whole agent on an etcd with many leases: how long it takes from its start until all peers are in the kernel, its memory, how soon
 * a changed lease is there, and a burst of changes.
 *
 * ```sh
 * bun test/lab/run.ts bench/etcd.ts [--peers N,N] [--rounds N]
 * ```
 *
 * A cold start is compared with the sum of two times that nobody can be faster than: etcd's own for one answer with all leases, read
 * and thrown away, and the kernel's own for their items (limit.c). Beside it stands `bare_start.ts`, which does both in JavaScript and
 * nothing else. All are the best of several rounds, in one run. When the kernel has all is told by the agent's log, so that nobody who
 * asks takes a share of the processors. Changed leases are timed from the write's beginning to the kernel's own event, and beside it a
 * plain watch of etcd that only hears of them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { request } from "node:http";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { build } from "../scripts/build.mjs";
import { EtcdClient } from "../src/stores/etcd/client.ts";
import { below, Kv } from "../src/stores/etcd/kv.ts";
import { ETCD, lackOf } from "../test/e2e/binaries.ts";
import { base64, EtcdCluster } from "../test/e2e/etcd_cluster.ts";
import type { Agent } from "../test/lab/agent.ts";
import { run, until } from "../test/lab/command.ts";
import { Lab } from "../test/lab/lab.ts";
import type { AgentOptions, Node } from "../test/lab/node.ts";
import { agentCommand } from "../test/lab/paths.ts";
import { joinOutside, leaveOutside, OUTSIDE } from "../test/lab/outside.ts";
import { LIMITED_ENV, LimitedGroup } from "./limits.ts";
import { memoryOf } from "./memory.ts";
import { buildLimit, C, measure } from "./programs.ts";

const PREFIX = "/coreos.com/network";
const PATIENCE = 120_000;
const BARE = "/run/bare_start";
/** So long after its start the agent's runtime still compiles and tidies up, in milliseconds. */
const SETTLING = 3000;
/** Changed leases that are timed, the first of them that the runtime has not compiled for yet, and their pause in milliseconds. */
const CHANGES = { count: 500, first: 100, pause: 20 };

const hex = (value: number) => value.toString(16).padStart(2, "0");

/** The lease of a peer; `generation` gives it another MAC. */
function lease(peer: number, generation = 0): [key: string, value: string] {
  const [high, low] = [peer >> 8, peer & 255];
  const value = `{"PublicIP":"172.${16 + (high >> 4)}.${high & 15}.${low}","PublicIPv6":null,"BackendType":"vxlan",` +
    `"BackendData":{"VNI":1,"VtepMAC":"${macOf(peer, generation)}"}}`;
  return [`${PREFIX}/subnets/10.${64 + high}.${low}.0-24`, value];
}

function macOf(peer: number, generation: number): string {
  return `02:00:${hex(generation >> 8)}:${hex(generation & 255)}:${hex(peer >> 8)}:${hex(peer & 255)}`;
}

/** How long etcd takes for one answer with all leases, in milliseconds. */
function answerTime(origin: string): Promise<number> {
  const range = below(`${PREFIX}/subnets/`);
  const body = JSON.stringify({ key: base64(range.from), range_end: base64(range.to!) });
  const began = performance.now();
  return new Promise((resolve, reject) => {
    const sent = request(`${origin}/v3/kv/range`, { method: "POST", agent: false }, (answer) => {
      answer.on("data", () => {}).on("end", () => resolve(performance.now() - began)).on("error", reject);
    });
    sent.on("error", reject).end(body);
  });
}

/** A lab with one node and an etcd outside. */
class Bed implements AsyncDisposable {
  readonly lab: Lab;
  readonly etcd: EtcdCluster;

  private constructor(lab: Lab, etcd: EtcdCluster) {
    this.lab = lab;
    this.etcd = etcd;
  }

  static async create(etcd: EtcdCluster): Promise<Bed> {
    const lab = await Lab.create({ segments: { A: ["a1"] } });
    await joinOutside(lab);
    return new Bed(lab, etcd);
  }

  get node(): Node {
    return this.lab.node("a1");
  }

  agent(given: AgentOptions = {}): Agent {
    const args = [`--etcd-endpoints=${this.etcd.endpoints.join(",")}`];
    return this.node.agent({ backend: "vxlan", store: "none", args, ...given });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    await leaveOutside();
  }
}

/** When the log says that so many changes were made at once, in milliseconds since the epoch; `null` if it does not yet. */
function appliedAt(log: string, atLeast: number): number | null {
  for (const [, time, more] of log.matchAll(/^(\S+) info +and (\d+) more changes$/gm)) {
    if (Number(more) >= atLeast) return Date.parse(time!);
  }
  return null;
}

async function routes(node: Node): Promise<number> {
  return (await node.exec(["ip", "route", "show", "proto", "87"])).split("\n").length - 1;
}

/** Waits until the kernel has cleared the namespaces of before, for which it holds the lock that all need. */
async function calm(peers: number): Promise<void> {
  await sleep(500 + peers / 5);
}

/** One bare start. @returns Milliseconds from the start of the process until the kernel has all. */
async function bareStart(etcd: EtcdCluster, peers: number): Promise<number> {
  await using bed = await Bed.create(etcd);
  const { node } = bed;
  const began = performance.now();
  const items = await node.exec([BARE, etcd.endpoints[0]!, PREFIX, node.address]);
  const ms = performance.now() - began;
  assert.equal(Number(items), peers * 4 + 2); // the device and its address
  assert.equal(await routes(node), peers);
  return ms;
}

/** One cold start. @returns Milliseconds from the start of the process until the kernel has all. */
async function coldStart(etcd: EtcdCluster, peers: number): Promise<{ readonly ms: number; readonly memory: string }> {
  await using bed = await Bed.create(etcd);
  const began = Date.now();
  const agent = bed.agent();
  const at = await agent.until("has all peers", () => appliedAt(agent.log(), peers * 4 - 100), PATIENCE);
  await agent.ready(PATIENCE);
  assert.equal(await routes(bed.node), peers);
  await sleep(2000);
  const [resident, anonymous, peak] = ["VmRSS", "RssAnon", "VmHWM"].map((name) => memoryOf(agent.pid, name).toFixed(1));
  const { subnet } = (await agent.status()).lease;
  await agent.stop();
  await etcd.delete(`${PREFIX}/subnets/${subnet!.replace("/", "-")}`);
  return { ms: at - began, memory: `resident ${resident} MiB (peak ${peak}), anonymous ${anonymous} MiB` };
}

async function coldStarts(etcd: EtcdCluster, peers: number, rounds: number): Promise<boolean> {
  let [answer, kernel, bare, start] = [Infinity, Infinity, Infinity, Infinity];
  let memory = "";
  for (let round = 0; round < rounds; round++) {
    await calm(peers);
    answer = Math.min(answer, await answerTime(etcd.endpoints[0]!));
    kernel = Math.min(kernel, 1000 * await measure(C, "vxlan", peers));
    await calm(peers);
    bare = Math.min(bare, await bareStart(etcd, peers));
    await calm(peers);
    const { ms, ...rest } = await coldStart(etcd, peers);
    start = Math.min(start, ms);
    memory = rest.memory;
  }
  const limit = answer + kernel;
  console.log(`\n${peers} vxlan leases, best of ${rounds}`);
  console.log(`  etcd's own answer ${answer.toFixed(0)} ms, limit.c ${kernel.toFixed(0)} ms: ${limit.toFixed(0)} ms`);
  console.log(
    `  the least in JavaScript, without a check or a plan: ${bare.toFixed(0)} ms: ${(bare / limit).toFixed(2)} times that`,
  );
  console.log(`  cold start until all are in the kernel ${start} ms: ${(start / limit).toFixed(2)} times that (promised: 2)`);
  console.log(`  memory two seconds later: ${memory}`);
  return start <= 2 * limit;
}

/** A cold start in the limits of the walk-through's DaemonSet. */
async function limitedStart(etcd: EtcdCluster, peers: number): Promise<void> {
  let group: LimitedGroup;
  try {
    group = new LimitedGroup();
  } catch (error) {
    console.log(`  50 MiB and 0.1 CPU: skipped, ${(error as Error).message}`);
    return;
  }
  using _ = group;
  await using bed = await Bed.create(etcd);
  const began = performance.now();
  const agent = bed.agent({ command: [...group.enter, ...agentCommand()], env: LIMITED_ENV });
  await agent.until("has all peers", async () => await routes(bed.node) === peers, PATIENCE);
  const took = (performance.now() - began) / 1000;
  await agent.ready(PATIENCE);
  const { peakMiB, withoutFilesMiB } = group.memory();
  console.log(
    `  in 50 MiB and 0.1 CPU: ${took.toFixed(1)} s, at the most ${peakMiB.toFixed(1)} MiB with files, now ${
      withoutFilesMiB.toFixed(1)
    } MiB without`,
  );
  const { subnet } = (await agent.status()).lease;
  await agent.stop("SIGTERM", PATIENCE);
  await etcd.delete(`${PREFIX}/subnets/${subnet!.replace("/", "-")}`);
}

/** What a node's kernel tells of neighbours, line by line. */
class Monitor implements Disposable {
  readonly #child: ChildProcess;
  #heard: (line: string) => void = () => {};

  constructor(node: Node) {
    const [program, ...args] = node.command(["ip", "monitor", "neigh"]);
    this.#child = spawn(program!, args, { stdio: ["ignore", "pipe", "ignore"] });
    createInterface(this.#child.stdout!).on("line", (line) => this.#heard(line));
  }

  /** When a line with this text comes. */
  seen(text: string): Promise<number> {
    return new Promise((resolve) => {
      this.#heard = (line) => line.includes(text) && resolve(performance.now());
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}

/** Hears of every change as a plain watch does. */
class Watcher implements AsyncDisposable {
  readonly #stop = new AbortController();
  readonly #watching: Promise<void>;
  #heard: () => void = () => {};

  constructor(etcd: EtcdCluster, from: number) {
    const user = { endpoints: etcd.endpoints, tls: { caFile: null, certFile: null, keyFile: null }, user: null };
    const client = new EtcdClient({ ...user, userAgent: "weft/bench", now: Date.now, random: Math.random });
    this.#watching = (async () => {
      const ranges = [{ range: below(`${PREFIX}/subnets/`), from }];
      for await (const { puts } of new Kv(client).watch(client.origin, ranges, this.#stop.signal)) {
        if (puts.length > 0) this.#heard();
      }
    })().catch(() => client.close());
  }

  heard(): Promise<number> {
    return new Promise((resolve) => this.#heard = () => resolve(performance.now()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#watching;
  }
}

function percentile(values: readonly number[], part: number): string {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length * part)]!.toFixed(2);
}

async function changes(bed: Bed, peers: number): Promise<boolean> {
  const { header } = await bed.etcd.ask("/v3/kv/range", { key: base64("x") }) as { header: { revision: string } };
  using monitor = new Monitor(bed.node);
  await using watcher = new Watcher(bed.etcd, Number(header.revision) + 1);
  await sleep(500);
  const [toWatch, toKernel, between]: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < CHANGES.count; i++) {
    const peer = (i * 97) % peers;
    const [heard, seen] = [watcher.heard(), monitor.seen(macOf(peer, i + 1))];
    const began = performance.now();
    await bed.etcd.put(...lease(peer, i + 1));
    const [watched, inKernel] = await Promise.all([heard, seen]);
    toWatch.push(watched - began);
    toKernel.push(inKernel - began);
    between.push(inKernel - watched);
    await sleep(CHANGES.pause);
  }
  const line = (values: readonly number[]) => `p50 ${percentile(values, 0.5)} ms, p95 ${percentile(values, 0.95)} ms`;
  console.log(`\none changed lease among ${peers}, ${CHANGES.count} times`);
  console.log(`  from the write's beginning until a plain watch hears of it: ${line(toWatch)}`);
  console.log(`  until it is in the kernel: ${line(toKernel)}`);
  console.log(
    `  between the two: ${line(between)} (promised: p50 2 ms); the first ${CHANGES.first}: ${
      line(between.slice(0, CHANGES.first))
    }`,
  );
  return Number(percentile(between, 0.5)) <= 2;
}

async function burst(bed: Bed, peers: number): Promise<void> {
  const generation = 1000;
  const began = performance.now();
  await bed.etcd.putAll(Array.from({ length: peers }, (_, i) => lease(i, generation)));
  const written = performance.now() - began;
  const mark = macOf(0, generation).slice(0, 11);
  const left = await until("the kernel has all changes", async () => {
    const lines = (await bed.node.exec(["ip", "neigh", "show", "nud", "permanent"])).split("\n");
    return lines.filter((line) => line.includes(`lladdr ${mark}`)).length === peers;
  }, { timeout: PATIENCE, every: 20 });
  assert.ok(left);
  console.log(
    `\na burst of ${peers} changes: written in ${written.toFixed(0)} ms, in the kernel after ${
      (performance.now() - began).toFixed(0)
    } ms, none lost`,
  );
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { peers: { type: "string", default: "5000,20000" }, rounds: { type: "string", default: "3" } },
  });
  const lack = lackOf(ETCD);
  if (lack) {
    console.log(`skipped: ${lack}`);
    return 0;
  }
  await buildLimit();
  build(join(import.meta.dirname!, "bare_start.ts"), BARE);
  await run(["ip", "addr", "add", `${OUTSIDE}/32`, "dev", "lo"]); // labs come and go, etcd stays
  let kept = true;
  for (const peers of values.peers.split(",").map(Number)) {
    await using etcd = await EtcdCluster.start({ etcd: ETCD, ip: OUTSIDE });
    await etcd.put(`${PREFIX}/config`, '{"Network":"10.0.0.0/8","SubnetLen":24,"SubnetMin":"10.1.0.0","Backend":{"Type":"vxlan"}}');
    await etcd.putAll(Array.from({ length: peers }, (_, i) => lease(i)));
    kept = await coldStarts(etcd, peers, Number(values.rounds)) && kept;
    if (peers > 5000) continue;
    await limitedStart(etcd, peers);
    await using bed = await Bed.create(etcd);
    const agent = bed.agent();
    await agent.ready(PATIENCE);
    await sleep(SETTLING);
    kept = await changes(bed, peers) && kept;
    await burst(bed, peers);
  }
  return kept ? 0 : 1;
}

process.exit(await main());
