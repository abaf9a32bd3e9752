/**
 * A real Kubernetes cluster of three nodes in the lab: control plane, and on each node its own containerd and kubelet.
 *
 * The hands of a test on `cluster.py` of the shared tools, which does the work; see its README. Needs root.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";
import { createInterface } from "node:readline";
import { environment, find, ROOT } from "../../scripts/needs.mjs";
import { imageArchive } from "../../scripts/image.mjs";
import { insideLab } from "../lab/enter.ts";
import { kubernetesProgram, lackOf } from "./kubernetes_binaries.ts";
import { pluginsMissing } from "./cni_runtime.ts";

const TOOLS = join(ROOT, "../shared/tools/cluster");
const PROGRAMS = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"];
const COMMANDS = ["python3", "containerd", "runc", "busybox", "etcd", "openssl", "curl", "iptables"];

/** Where a node's files are must be a disk: a container that writes to memory fills its own limit, and overlays stand on no overlay. */
const DISK = "/var/tmp";
const NO_DISKS: Readonly<Record<number, string>> = { 0x01021994: "tmpfs", 0x794c7630: "overlay" };

/** The image that the Containerfile makes, as an archive; built by `scripts/image.mjs`. */
export const IMAGE = imageArchive();

/** Why there can be no containers here; `false` if there can. */
function rootLack(): string | false {
  return process.getuid?.() !== 0 || process.env["WEFT_LAB_USER"] === "own" ? "needs root" : false;
}

/** Why there can be no image here; `false` if there is one. */
export function imageLack(): string | false {
  return rootLack() || (existsSync(IMAGE) ? false : "needs the image: run: node scripts/image.mjs");
}

/** Why there can be no cluster here; `false` if there can. */
export function clusterLack(): string | false {
  if (!insideLab()) return "needs the lab: bun test/lab/run.ts FILE";
  const root = rootLack();
  if (root) return root;
  if (!existsSync(TOOLS)) return `needs ${TOOLS}`;
  const missing = COMMANDS.find((command) => find({ command }) === null);
  if (missing !== undefined) return `needs ${missing}`;
  if (!existsSync("/sys/fs/cgroup/memory")) return "needs the controllers of cgroup v1";
  const kind = NO_DISKS[statfsSync(DISK).type];
  if (kind !== undefined) return `needs a disk at ${DISK}, which is of type ${kind}`;
  return pluginsMissing || lackOf(...PROGRAMS.map(kubernetesProgram)) || imageLack();
}

/** What a cluster is asked. */
interface Answer {
  readonly value?: unknown;
  readonly error?: string;
}

/** What a request of somebody's was, as the API server noted it. */
export interface Audited {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly resource: string; readonly subresource?: string };
  readonly responseStatus?: { readonly code: number };
}

/** A running cluster. */
export class Cluster implements AsyncDisposable {
  readonly #folder: string;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  private constructor(folder: string, child: ChildProcess) {
    this.#folder = folder;
    this.#child = child;
    this.#answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  }

  /** Starts a cluster that has the image, and waits until its nodes have registered. */
  static async start(): Promise<Cluster> {
    const folder = mkdtempSync(join(DISK, "weft-cluster-"));
    const programs = PROGRAMS.map((name) => [name.toUpperCase().replaceAll("-", "_"), kubernetesProgram(name)] as const);
    const paths = Object.fromEntries(programs.map(([variable, found]) => [variable, (found as { path: string }).path]));
    const api = auditing(paths["KUBE_APISERVER"]!, folder);
    const prefix = `W${randomBytes(3).toString("hex")}`; // of control groups, which all labs of a machine share
    const env = { ...environment(), ...paths, KUBE_APISERVER: api, TMPDIR: folder, LAB_PREFIX: prefix };
    const child = spawn("python3", [resolve(import.meta.dirname!, "cluster_bridge.py"), TOOLS], {
      env,
      stdio: ["pipe", "pipe", "inherit"],
    });
    const cluster = new Cluster(folder, child);
    try {
      await cluster.#answer();
      await cluster.ask("load", [IMAGE]);
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Calls a method of `cluster.py`'s Cluster, or one of its functions that take a cluster. @throws {Error} With what it says. */
  async ask<T>(call: string, args: readonly unknown[] = [], named: Readonly<Record<string, unknown>> = {}): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify({ call, args, named })}\n`);
    return await this.#answer() as T;
  }

  async #answer(): Promise<unknown> {
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("The cluster ended");
    const answer = JSON.parse(value) as Answer;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  /** Runs kubectl and returns what it prints. */
  kubectl(...args: readonly string[]): Promise<string> {
    return this.ask("kubectl", args);
  }

  /** An object, or the items of a list. */
  get<T>(...args: readonly string[]): Promise<T> {
    return this.ask("get", args);
  }

  /** A shell command in a pod. */
  inPod(pod: string, command: string): Promise<string> {
    return this.ask("exec", [pod, "sh", "-c", command]);
  }

  /** A shell command on a node. */
  onNode(node: string, command: string): Promise<string> {
    return this.ask("on", [node, command]);
  }

  /** What a service account asked of the API server so far. */
  audited(account: string): Audited[] {
    const lines = readFileSync(join(this.#folder, "audit.log"), "utf8").trimEnd().split("\n").map((line) =>
      JSON.parse(line) as Audited
    );
    return lines.filter(({ user }) => user.username === `system:serviceaccount:${account}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.stdin!.end();
    if (this.#child.exitCode === null) await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** An API server that writes down who asked what; `cluster.py` gives it its own arguments. */
function auditing(program: string, folder: string): string {
  const [policy, log, script] = ["audit.json", "audit.log", "kube-apiserver"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  const rules = [{ level: "Metadata", userGroups: ["system:serviceaccounts"], omitStages: ["RequestReceived"] }, { level: "None" }];
  writeFileSync(policy, JSON.stringify({ apiVersion: "audit.k8s.io/v1", kind: "Policy", rules }));
  const flags = `--audit-policy-file='${policy}' --audit-log-path='${log}'`;
  writeFileSync(script, `#!/bin/sh\nexec '${program}' "$@" ${flags}\n`, { mode: 0o755 });
  return script;
}
