/**
 * A real cluster of etcd of one or more members, and the hands of an administrator on it.
 *
 * Everything is below one folder that goes away with it. Members can be stopped, halted and lost; the state of all can be copied aside
 * and back, as who restores a snapshot does.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, cpSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import { run } from "../lab/command.ts";
import { ETCDCTL, type Found } from "./binaries.ts";
import { freePorts } from "./ports.ts";

/** How a cluster is made. */
export interface ClusterOptions {
  readonly etcd: Found;
  /** How many; one if absent. */
  readonly members?: number;
  /** Where they listen; loopback if absent. */
  readonly ip?: string;
  /** Client certificates and the like. */
  readonly args?: readonly string[];
  /** Certificates, where clients speak TLS. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

interface Member {
  readonly name: string;
  readonly client: string;
  readonly peer: string;
  child: ChildProcess | null;
  halted: boolean;
}

const PATIENCE = 30_000;

/** Running members. */
export class EtcdCluster implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-etcd-"));
  readonly #o: ClusterOptions;
  readonly #members: readonly Member[];

  private constructor(options: ClusterOptions, members: readonly Member[]) {
    this.#o = options;
    this.#members = members;
  }

  /** Starts a cluster and waits until it has a leader. */
  static async start(options: ClusterOptions): Promise<EtcdCluster> {
    const { members = 1, ip = "127.0.0.1", tls } = options;
    const ports = await freePorts(2 * members);
    const cluster = new EtcdCluster(
      options,
      Array.from({ length: members }, (_, i) => ({
        name: `m${i}`,
        client: `${tls === undefined ? "http" : "https"}://${ip}:${ports[2 * i]}`,
        peer: `http://${ip}:${ports[2 * i + 1]}`,
        child: null,
        halted: false,
      })),
    );
    try {
      await cluster.startAll();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  /** Where clients find the members. */
  get endpoints(): readonly string[] {
    return this.#members.map(({ client }) => client);
  }

  /** What the members wrote into their logs. */
  log(): string {
    return this.#members.map(({ name }) => readFileSync(join(this.folder, `${name}.log`), "utf8").slice(-2000)).join("\n");
  }

  /** Starts all members that do not run, and waits until they answer. */
  async startAll(): Promise<void> {
    this.#members.forEach((member) => this.#start(member));
    await this.ready();
  }

  /** Starts one member. */
  async start(number: number): Promise<void> {
    this.#start(this.#members[number]!);
    await this.ready();
  }

  /** Ends one member, or all: at once, as a power cut does. */
  async stop(number?: number): Promise<void> {
    await Promise.all(this.#chosen(number).map(end));
  }

  /** Stops the work of one member, or all, with their connections open, or lets them go on. */
  halt(halted: boolean, number?: number): void {
    for (const member of this.#chosen(number)) {
      member.halted = halted;
      if (member.child !== null) process.kill(member.child.pid!, halted ? "SIGSTOP" : "SIGCONT");
    }
  }

  /** The number of the member that leads. */
  async leader(): Promise<number> {
    for (const [i, { client }] of this.#members.entries()) {
      const { header, leader } = await this.#post(client, "/v3/maintenance/status", {}) as {
        header: { member_id: string };
        leader: string;
      };
      if (header.member_id === leader) return i;
    }
    throw new Error("No member leads");
  }

  /** Copies the state of all members, which must be stopped. */
  copyState(where: "aside" | "back"): void {
    for (const { name } of this.#members) {
      const [data, copy] = [join(this.folder, name), join(this.folder, `${name}.aside`)];
      const [from, to] = where === "aside" ? [data, copy] : [copy, data];
      rmSync(to, { recursive: true, force: true });
      cpSync(from, to, { recursive: true });
    }
  }

  /** Runs etcdctl. @returns What it printed. */
  async ctl(args: readonly string[], input = ""): Promise<string> {
    if ("lack" in ETCDCTL) throw new Error(ETCDCTL.lack);
    const { tls } = this.#o;
    const certificates = tls === undefined ? [] : [`--cacert=${tls.ca}`, `--cert=${tls.cert}`, `--key=${tls.key}`];
    const argv = [ETCDCTL.path, `--endpoints=${this.endpoints.join(",")}`, ...certificates, ...args];
    return await run(argv, { input, env: { ETCDCTL_API: "3" } });
  }

  /** Calls a method of the gateway of a member that runs; again while the members choose a leader. @throws {Error} If it refuses. */
  async ask(path: string, body: object): Promise<Record<string, unknown>> {
    const limit = performance.now() + PATIENCE;
    for (let i = 0;; i++) {
      const running = this.#members.filter(({ child, halted }) => child !== null && !halted);
      try {
        return await this.#post(running[i % running.length]!.client, path, body);
      } catch (error) {
        if (!/"code":\s*14|no answer/.test((error as Error).message) || performance.now() > limit) throw error;
        await sleep(50);
      }
    }
  }

  /** Writes a key. */
  async put(key: string | Uint8Array, value: string, lease = "0"): Promise<void> {
    await this.ask("/v3/kv/put", { key: base64(key), value: base64(value), lease });
  }

  /** Writes many keys in one revision for each hundred. */
  async putAll(entries: readonly (readonly [key: string, value: string])[]): Promise<void> {
    for (let i = 0; i < entries.length; i += 100) {
      const success = entries.slice(i, i + 100).map(([key, value]) => ({
        request_put: { key: base64(key), value: base64(value) },
      }));
      await this.ask("/v3/kv/txn", { success });
    }
  }

  /** Deletes a key, or all that begin with it. */
  async delete(key: string | Uint8Array, all = false): Promise<void> {
    await this.ask("/v3/kv/deleterange", {
      key: base64(key),
      ...all && { range_end: base64(`${key.slice(0, -1)}${String.fromCharCode(String(key).charCodeAt(key.length - 1) + 1)}`) },
    });
  }

  /** Makes an etcd lease. @returns Its number. */
  async grant(seconds: number): Promise<string> {
    return String((await this.ask("/v3/lease/grant", { TTL: String(seconds) }))["ID"]);
  }

  /** Forgets the history. */
  async compact(): Promise<void> {
    const { header } = await this.ask("/v3/kv/range", { key: base64("x") }) as { header: { revision: string } };
    await this.ask("/v3/kv/compaction", { revision: header.revision, physical: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** Waits until every member that runs answers with a leader. */
  async ready(): Promise<void> {
    const limit = performance.now() + PATIENCE;
    for (const { client, child } of this.#members) {
      if (child === null) continue;
      while (!await this.#answers(client)) {
        if (child.exitCode !== null || performance.now() > limit) throw new Error(`etcd did not start: ${this.log()}`);
        await sleep(50);
      }
    }
  }

  async #answers(client: string): Promise<boolean> {
    try {
      await this.#post(client, "/v3/kv/range", { key: base64("x") });
      return true;
    } catch (error) {
      return /user name is empty|permission/.test((error as Error).message);
    }
  }

  #chosen(number: number | undefined): readonly Member[] {
    return number === undefined ? this.#members : [this.#members[number]!];
  }

  #start(member: Member): void {
    if (member.child !== null) return;
    member.halted = false;
    const { etcd, tls, args = [] } = this.#o;
    if ("lack" in etcd) throw new Error(etcd.lack);
    const { name, client, peer } = member;
    const argv = [
      `--name=${name}`,
      `--data-dir=${join(this.folder, name)}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=${this.#members.map((it) => `${it.name}=${it.peer}`).join(",")}`,
      "--unsafe-no-fsync",
      "--log-level=error",
      ...tls === undefined ? [] : [`--cert-file=${tls.cert}`, `--key-file=${tls.key}`],
      ...args,
    ];
    const log = openSync(join(this.folder, `${name}.log`), "a");
    const child = spawn(etcd.path, argv, { stdio: ["ignore", log, log], detached: true });
    closeSync(log);
    member.child = child;
  }

  async #post(origin: string, path: string, body: object): Promise<Record<string, unknown>> {
    const { tls } = this.#o;
    const files = tls === undefined ? {} : { ca: read(tls.ca), cert: read(tls.cert), key: read(tls.key) };
    const request = tls === undefined ? httpRequest : httpsRequest;
    return await new Promise((resolve, reject) => {
      const sent = request(origin + path, { method: "POST", timeout: 10_000, agent: false, ...files }, (answer) => {
        let text = "";
        answer.setEncoding("utf8").on("data", (piece) => text += piece).on("error", reject);
        answer.on("end", () => answer.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${path}: ${text}`)));
      });
      sent.on("timeout", () => sent.destroy(new Error(`${path}: no answer`))).on("error", reject).end(JSON.stringify(body));
    });
  }
}

/** A text or bytes in base64, as the gateway wants keys and values. */
export function base64(text: string | Uint8Array): string {
  return Buffer.from(text as string).toString("base64");
}

function read(path: string): string {
  return readFileSync(path, "utf8");
}

async function end(member: Member): Promise<void> {
  const { child } = member;
  member.child = null;
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  process.kill(-child.pid!, "SIGKILL"); // the group: it may have been started by a wrapper
  await ended;
}
