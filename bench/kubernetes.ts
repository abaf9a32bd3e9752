/**
 * What following the nodes of a large cluster costs: first list, memory, heartbeats, and all of it in the limits of the walk-through's
 * DaemonSet.
 *
 * ```sh
 * bun bench/kubernetes.ts [--nodes N] [--kilobytes K]
 * ```
 *
 * A real kube-apiserver holds the nodes; a compiled program follows them (kubernetes_worker.ts). The way of the lease store, which
 * watches metadata, is compared with a watch of whole nodes. As root with control groups the program also runs in 50 MiB of memory and
 * a tenth of a CPU. Prints a table; exit code 1 if the program does not live in those limits.
 *
 * @module
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ANY_ETCD, KUBE_APISERVER, lackOf, NEW_ETCD } from "../test/e2e/kubernetes_binaries.ts";
import { KubernetesServer } from "../test/e2e/kubernetes_server.ts";

const ROOT = join(import.meta.dirname!, "..");
const MEMORY = 50 * 1024 * 1024;
/** Heartbeats of the comparison, and how many followers hear each. */
const HEARTBEATS = 500;
const FOLLOWERS = 10;

/** What the program prints. */
interface Line {
  readonly ms: number;
  readonly bytes: number;
  readonly changes: number;
  readonly cpuMs: number;
  readonly anonMiB: number;
  readonly peakAnonMiB: number;
  readonly residentMiB: number;
  readonly peakMiB: number;
}

function node(i: number, kilobytes: number) {
  const prefix = "flannel.alpha.coreos.com";
  const hex = i.toString(16).padStart(4, "0");
  const images = Array.from({ length: Math.max(0, Math.floor(kilobytes * 1024 / 260) - 8) }, (_, j) => ({
    names: [
      `registry.example/some/project/image-${i}-${j}@sha256:${hex.repeat(16)}`,
      `registry.example/some/project/image-${j}:v1.${j}.0`,
    ],
    sizeBytes: 12345678 + j,
  }));
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: nameOf(i),
      annotations: {
        [`${prefix}/kube-subnet-manager`]: "true",
        [`${prefix}/backend-type`]: "vxlan",
        [`${prefix}/backend-data`]: `{"VNI":1,"VtepMAC":"0a:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}"}`,
        [`${prefix}/public-ip`]: `192.168.${20 + (i >> 8)}.${i & 255}`,
      },
    },
    spec: { podCIDR: `10.${i >> 8}.${i & 255}.0/24`, podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`] },
    status: { images },
  };
}

function nameOf(i: number): string {
  return `node-${String(i).padStart(5, "0")}`;
}

async function inParallel(count: number, run: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let i = next++; i < count; i = next++) await run(i);
  }));
}

/** A program that follows, and the lines that it prints. */
class Worker {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(argv: readonly string[]) {
    this.#child = spawn(argv[0]!, argv.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** The next line; `null` if the program has ended. */
  async line(): Promise<Line | null> {
    const { value, done } = await this.#lines.next();
    return done ? null : JSON.parse(value as string) as Line;
  }

  async ask(): Promise<Line> {
    this.#child.stdin!.write("\n");
    return (await this.line())!;
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin!.end();
    await ended;
  }
}

function shown(what: string, line: Line): string {
  const { ms, bytes, cpuMs, anonMiB, peakAnonMiB, residentMiB, peakMiB } = line;
  return `${what.padEnd(38)} ${String(ms).padStart(6)} ms  ${(bytes / 1e6).toFixed(1).padStart(6)} MB read  ${
    String(cpuMs).padStart(5)
  } ms CPU  ` +
    `anonymous ${anonMiB} (peak ${peakAnonMiB})  resident ${residentMiB} (peak ${peakMiB}) MiB`;
}

async function firstList(what: string, argv: readonly string[]): Promise<boolean> {
  const worker = new Worker(argv);
  const line = await worker.line();
  if (line === null) {
    console.log(`${what.padEnd(38)} was killed before it had its first list`);
    return false;
  }
  console.log(shown(what, line));
  await sleep(3000);
  console.log(shown("  three seconds later", await worker.ask()));
  await worker.end();
  return true;
}

/** What heartbeats cost followers and server. */
async function heartbeats(server: KubernetesServer, program: string, way: string | null, nodes: number): Promise<number> {
  const worker = way === null ? null : new Worker([program, server.kubeconfig, way, String(FOLLOWERS)]);
  const before = await worker?.line();
  await sleep(2000);
  const cpu = server.usage().cpuSeconds;
  await inParallel(HEARTBEATS, async (i) => {
    const condition = { type: "Ready", status: "True", lastHeartbeatTime: new Date(Date.now() + i * 1000).toISOString() };
    const path = `/api/v1/nodes/${nameOf(i % nodes)}/status`;
    await server.must("PATCH", path, { status: { conditions: [condition] } }, "application/strategic-merge-patch+json");
  });
  await sleep(1000);
  const serverMs = (server.usage().cpuSeconds - cpu) * 1000;
  if (worker !== null) {
    const after = await worker.ask();
    const each = HEARTBEATS * FOLLOWERS;
    console.log(
      `${`heartbeats, ${way === "weft" ? "metadata (Weft)" : "whole nodes"}`.padEnd(38)} ${
        ((after.bytes - before!.bytes) / each).toFixed(0)
      } bytes and ` +
        `${((after.cpuMs - before!.cpuMs) / each).toFixed(3)} ms CPU for each follower; ` +
        `${(serverMs / HEARTBEATS).toFixed(2)} ms CPU of the server for ${FOLLOWERS} followers`,
    );
    await worker.end();
  }
  return serverMs / HEARTBEATS;
}

/** Control groups with the limits of the DaemonSet, or why there are none. */
function limits(): { readonly enter: string; readonly remove: () => void } | string {
  const name = `weft-bench-${process.pid}`;
  const root = "/sys/fs/cgroup";
  const unified = existsSync(`${root}/cgroup.controllers`);
  const folders = unified ? [`${root}/${name}`] : [`${root}/memory/${name}`, `${root}/cpu/${name}`];
  try {
    folders.forEach((folder) => mkdirSync(folder));
    if (unified) {
      writeFileSync(`${folders[0]}/memory.max`, String(MEMORY));
      writeFileSync(`${folders[0]}/cpu.max`, "10000 100000");
    } else {
      writeFileSync(`${folders[0]}/memory.limit_in_bytes`, String(MEMORY));
      writeFileSync(`${folders[1]}/cpu.cfs_period_us`, "100000");
      writeFileSync(`${folders[1]}/cpu.cfs_quota_us`, "10000");
    }
  } catch (error) {
    return (error as Error).message;
  }
  const enter = folders.map((folder) => `echo $$ > ${folder}/cgroup.procs`).join(" && ");
  return { enter: `${enter} && exec "$@"`, remove: () => folders.forEach((folder) => rmdirSync(folder)) };
}

async function measure(server: KubernetesServer, program: string): Promise<boolean> {
  const follow = (way: string) => [program, server.kubeconfig, way, "1"];
  await firstList("first list, Weft", follow("weft"));
  await firstList("first list, pages and whole nodes", follow("whole"));
  const group = limits();
  if (typeof group === "string") {
    console.log(`50 MiB and 0.1 CPU: skipped, ${group}`);
    return true;
  }
  try {
    return await firstList("first list, Weft, 50 MiB and 0.1 CPU", ["sh", "-c", group.enter, "sh", ...follow("weft")]);
  } finally {
    await sleep(500);
    group.remove();
  }
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { nodes: { type: "string", default: "5000" }, kilobytes: { type: "string", default: "20" } },
  });
  const lack = lackOf(KUBE_APISERVER, ANY_ETCD);
  if (lack) {
    console.log(`skipped: ${lack}`);
    return 0;
  }
  const [nodes, kilobytes] = [Number(values.nodes), Number(values.kilobytes)];
  const folder = mkdtempSync(join(tmpdir(), "weft-bench-"));
  const program = join(folder, "worker");
  let fits = true;
  try {
    const bun = join(ROOT, "node_modules/.bin/bun");
    const entry = join(import.meta.dirname!, "kubernetes_worker.ts");
    const { status, stderr } = spawnSync(bun, ["build", "--compile", "--minify", entry, "--outfile", program], {
      encoding: "utf8",
    });
    if (status !== 0) throw new Error(`Cannot compile ${entry}: ${stderr}`);
    for (const etcd of [NEW_ETCD, ANY_ETCD]) {
      if ("lack" in etcd) continue;
      await using server = await KubernetesServer.start(etcd);
      await inParallel(nodes, (i) => server.must("POST", "/api/v1/nodes", node(i, kilobytes)));
      console.log(
        `\n${nodes} nodes of ${kilobytes} KB over ${
          etcd === NEW_ETCD ? "etcd 3.6 (lists are streamed)" : "the distribution's etcd (lists in pages)"
        }`,
      );
      fits = await measure(server, program) && fits;
      if (etcd !== NEW_ETCD) continue;
      console.log(
        `heartbeats without followers               ${
          (await heartbeats(server, program, null, nodes)).toFixed(2)
        } ms CPU of the server for each`,
      );
      for (const way of ["weft", "whole"]) await heartbeats(server, program, way, nodes);
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return fits ? 0 : 1;
}

process.exit(await main());
