/**
 * A node for tests of the traffic rules: a network namespace, commands inside it, and a manager that works there.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseCidr } from "../../src/model/ip.ts";
import type { Run } from "../../src/traffic/command.ts";
import type { RulesetChange } from "../../src/model/kernel.ts";
import { type OnRulesetChange, TrafficManager, type TrafficState } from "../../src/traffic/manager.ts";
import type { Intent, PodRange, TrafficSettings } from "../../src/traffic/rules.ts";
import { commandRunner } from "../../src/traffic/run.ts";
import { runtimeCommand } from "./paths.ts";

/** The pod network of the tests and the node's part of it, by family. */
export const RANGES: Readonly<Record<4 | 6, PodRange>> = {
  4: { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") },
  6: { network: parseCidr("fd00:10:244::/56"), subnet: parseCidr("fd00:10:244:1::/64") },
};

/** All rules, in iptables, looked at every second. */
export const IPTABLES: TrafficSettings = { masquerade: true, forward: true, fullyRandom: true, mode: "iptables", resync: 1 };
/** All rules, in nftables. */
export const NFTABLES: TrafficSettings = { ...IPTABLES, mode: "nftables" };

/** The variants of iptables. */
export const VARIANTS = ["nft", "legacy"] as const;

const MONITOR = resolve(import.meta.dirname!, "ruleset_monitor.ts");
const PATH = `${process.env["PATH"]}:/usr/sbin:/sbin`;
const run = commandRunner({ PATH });

const clock = {
  now: () => performance.now(),
  after(ms: number, callback: () => void) {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
};

/** A network namespace; it ends with all that was started in it. */
export class Machine implements AsyncDisposable {
  static #count = 0;
  readonly name: string;
  readonly run: Run;
  /** The commands that managers on this machine ran. */
  readonly ran: string[] = [];
  readonly #children: ChildProcess[] = [];
  readonly #managers: TrafficManager[] = [];

  private constructor(name: string) {
    this.name = name;
    this.run = (argv, stdin) => run(this.inside(...argv), stdin);
  }

  /** Makes a namespace with nothing but a loopback device. */
  static async make(): Promise<Machine> {
    const machine = new Machine(`traffic${++Machine.#count}`);
    await shell(`ip netns add ${machine.name}`);
    await machine.sh("ip link set lo up");
    return machine;
  }

  /** The command that runs a command inside. */
  inside(...argv: string[]): string[] {
    return ["ip", "netns", "exec", this.name, ...argv];
  }

  /** Runs a script inside, which must succeed, and gives what it prints. */
  async sh(script: string): Promise<string> {
    return await shell(script, this.inside());
  }

  /** A manager whose commands run inside. */
  manager(onRulesetChange: OnRulesetChange | null = null, run: Run = this.run): TrafficManager {
    const noted: Run = (argv, stdin) => {
      this.ran.push(argv.join(" "));
      return run(argv, stdin);
    };
    const manager = new TrafficManager({ run: noted, clock, onRulesetChange, onState: () => {} });
    this.#managers.push(manager);
    return manager;
  }

  /** Starts a process inside, of which the output is read line by line. */
  start(argv: readonly string[], onLine: (line: string) => void): void {
    const [file, ...args] = this.inside(...argv);
    const child = spawn(file!, args, { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, PATH } });
    this.#children.push(child);
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      lines.forEach(onLine);
    });
  }

  /** The changes of nf_tables that the kernel tells of inside. */
  async changes(): Promise<OnRulesetChange> {
    const listeners = new Set<(change: RulesetChange | null) => void>();
    await new Promise<void>((ready) => {
      this.start([...runtimeCommand(), MONITOR], (line) => {
        if (line === "ready") ready();
        else for (const listener of listeners) listener(JSON.parse(line));
      });
    });
    return (callback) => {
      listeners.add(callback);
      return () => listeners.delete(callback);
    };
  }

  /** Everything in the firewall, without counters and comments. */
  async firewall(): Promise<string> {
    const saves = VARIANTS.flatMap((variant) => [`iptables-${variant}-save`, `ip6tables-${variant}-save`]);
    const text = await this.sh(`for p in ${saves.join(" ")}; do echo "$p"; $p 2>/dev/null; done; nft list ruleset 2>/dev/null`);
    const lines = text.split("\n").filter((line) => !line.startsWith("#"));
    return lines.map((line) => line.replace(/\[\d+:\d+\]|packets \d+ bytes \d+/g, "")).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const manager of this.#managers) await manager.close();
    for (const child of this.#children) child.kill("SIGKILL");
    await shell(`ip netns del ${this.name}`);
  }
}

/** Runs a script of the tests' own words; it must succeed. */
export async function shell(script: string, prefix: readonly string[] = []): Promise<string> {
  const result = await run([...prefix, "sh", "-ec", script], "");
  assert.equal(result?.status, 0, `${script}: ${result?.stderr}`);
  return result.stdout;
}

/** Waits until a state holds, at most 30 s. */
export async function until(manager: TrafficManager, holds: (state: TrafficState) => boolean): Promise<void> {
  for (let i = 0; i < 6000 && !holds(manager.state); i++) await sleep(5);
  assert.ok(holds(manager.state), `the state after 30 s: ${JSON.stringify(manager.state)}`);
}

/** Puts rules in place, and waits until they are and former ones are gone. */
export async function keep(manager: TrafficManager, intent: Intent): Promise<void> {
  manager.keep(intent);
  await until(manager, ({ inPlace, clean }) => inPlace && clean);
}
