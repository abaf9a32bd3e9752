/**
 * What following the nodes of a large cluster costs: first list, memory, heartbeats.
 *
 * ```sh
 * bun bench/kubernetes.ts [--nodes N] [--kilobytes K]
 * ```
 *
 * A real kube-apiserver holds the nodes; a compiled program follows them (kubernetes_worker.ts). The way of the lease store, which
 * watches metadata, is compared with a watch of whole nodes. Prints a table.
 *
 * @module
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { ANY_ETCD, KUBE_APISERVER, lackOf, NEW_ETCD } from "../test/e2e/kubernetes_binaries.ts";
import { KubernetesServer } from "../test/e2e/kubernetes_server.ts";
import { fill, inParallel, nameOf } from "./kubernetes_nodes.ts";

const ROOT = join(import.meta.dirname!, "..");
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

/** A program that follows, and the lines that it prints. */
class Worker {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(argv: readonly string[]) {
    this.#child = spawn(argv[0]!, argv.slice(1), { stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  /** The next line. */
  async line(): Promise<Line> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("The program that follows has ended");
    return JSON.parse(value as string) as Line;
  }

  async ask(): Promise<Line> {
    this.#child.stdin!.write("\n");
    return await this.line();
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

async function firstList(what: string, argv: readonly string[]): Promise<void> {
  const worker = new Worker(argv);
  console.log(shown(what, await worker.line()));
  await sleep(3000);
  console.log(shown("  three seconds later", await worker.ask()));
  await worker.end();
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
      await fill(server, nodes, kilobytes);
      console.log(
        `\n${nodes} nodes of ${kilobytes} KB over ${
          etcd === NEW_ETCD ? "etcd 3.6 (lists are streamed)" : "the distribution's etcd (lists in pages)"
        }`,
      );
      await firstList("first list, Weft", [program, server.kubeconfig, "weft", "1"]);
      await firstList("first list, pages and whole nodes", [program, server.kubeconfig, "whole", "1"]);
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
  return 0;
}

process.exit(await main());
