/**
 * What the CNI plugin costs: ADD through it against ADD of `bridge` called directly with the configuration that the plugin would give it.
 *
 * ```sh
 * bun test/lab/run.ts bench/cni.ts [--runs N] [--plugin FILE]
 * ```
 *
 * VERSION, which does nothing, shows how much of that is the start of the process. Both ways take turns, each pod in a namespace of its own that is removed again. State and addresses are on a disk, as on a node.
 * Exit code 1 if the plugin adds more than {@linkcode ALLOWED_MS}.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { findPlugin, PLUGIN_DIRS, pluginsMissing } from "../test/e2e/cni_runtime.ts";
import { insideLab } from "../test/lab/enter.ts";
import { agentCommand } from "../test/lab/paths.ts";

/** What ADD may cost more than `bridge` alone, in the median. */
const ALLOWED_MS = 12;

const WARM_UP = 5;

const CONF = { cniVersion: "1.0.0", name: "cbr0", type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } };

const SUBNET_ENV = "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

function sh(command: string, ...args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`Cannot run "${command} ${args.join(" ")}": ${error?.message ?? stderr}`);
}

/** Calls a plugin as a runtime does. @returns Milliseconds. */
function call(command: string, executable: string, conf: string, pod: string): number {
  const env = {
    ...process.env,
    CNI_COMMAND: command,
    CNI_CONTAINERID: pod,
    CNI_NETNS: `/run/netns/${pod}`,
    CNI_IFNAME: "eth0",
    CNI_PATH: PLUGIN_DIRS.join(":"),
  };
  const start = performance.now();
  const { status, stdout, error } = spawnSync(executable, {
    argv0: "flannel",
    env,
    input: conf,
    encoding: "utf8",
    timeout: 60_000,
  });
  const took = performance.now() - start;
  if (status !== 0) throw new Error(`${command} of ${executable} failed: ${error?.message ?? stdout}`);
  return took;
}

function measure(executable: string, conf: string, pod: string): number {
  sh("ip", "netns", "add", pod);
  try {
    return call("ADD", executable, conf, pod);
  } finally {
    call("DEL", executable, conf, pod);
    sh("ip", "netns", "del", pod);
  }
}

function quantile(values: readonly number[], q: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * q)]!;
}

function line(name: string, values: readonly number[]): string {
  const [low, middle, high] = [0, 0.5, 0.9].map((q) => quantile(values, q).toFixed(1));
  return `${name.padEnd(16)} min ${low}  median ${middle}  p90 ${high} ms`;
}

function main(): number {
  const { values } = parseArgs({ options: { runs: { type: "string", default: "50" }, plugin: { type: "string" } } });
  if (!insideLab()) throw new Error("Start this with: bun test/lab/run.ts bench/cni.ts");
  if (pluginsMissing !== false) throw new Error(`Cannot measure: ${pluginsMissing}`);
  const plugin = resolve(values.plugin ?? agentCommand("binary")[0]!);
  const bridge = findPlugin(PLUGIN_DIRS, "bridge")!;
  const disk = mkdtempSync("/var/tmp/weft-bench-");
  try {
    mkdirSync("/run/flannel", { recursive: true });
    writeFileSync("/run/flannel/subnet.env", SUBNET_ENV);
    mkdirSync(join(disk, "cni"));
    sh("mount", "--bind", disk, "/var/lib"); // in the lab's own mount namespace
    return compare(plugin, bridge, Number(values.runs));
  } finally {
    rmSync(disk, { recursive: true });
  }
}

function compare(plugin: string, bridge: string, runs: number): number {
  const conf = JSON.stringify(CONF);
  sh("ip", "netns", "add", "first");
  call("ADD", plugin, conf, "first"); // makes the bridge
  const delegate = readFileSync("/var/lib/cni/flannel/first", "utf8");
  const [direct, through, startup]: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < WARM_UP + runs; i++) {
    const [a, b] = [measure(bridge, delegate, `a${i}`), measure(plugin, conf, `b${i}`)];
    if (i < WARM_UP) continue;
    direct.push(a);
    through.push(b);
    startup.push(call("VERSION", plugin, "", ""));
  }
  call("DEL", plugin, conf, "first");
  const cost = quantile(through, 0.5) - quantile(direct, 0.5);
  console.log([line("bridge", direct), line("weft and bridge", through), line("weft, VERSION", startup)].join("\n"));
  console.log(`ADD costs ${cost.toFixed(1)} ms more in the median of ${runs} runs; ${ALLOWED_MS} are allowed`);
  return cost <= ALLOWED_MS ? 0 : 1;
}

try {
  process.exit(main());
} catch (error) {
  console.error((error as Error).message);
  process.exit(1);
}
