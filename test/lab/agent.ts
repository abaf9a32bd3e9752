/**
 * The agent of one node as a process of the lab: started, asked for its state over its status API, and stopped.
 *
 * The API is reached over a unix socket, which other network namespaces can open too, so asking costs no process. An agent that
 * listens on its usual port is asked by a program in its namespace.
 *
 * @module
 */

import { request } from "node:http";
import { resolve } from "node:path";
import type { PeerRow } from "../../src/model/report.ts";
import type { StatusBody } from "../../src/status/body.ts";
import { type Daemon, until } from "./command.ts";
import type { Host } from "./host.ts";
import { runtimeCommand } from "./paths.ts";

/** Where an agent listens if it is not told. */
const STATUS_URL = "http://127.0.0.1:8473";
const HTTP_GET = resolve(import.meta.dirname!, "http_get.ts");

/** An answer over HTTP. */
export interface Answer {
  readonly code: number;
  readonly body: string;
}

/** A running agent. */
export class Agent implements AsyncDisposable {
  readonly #host: Host;
  readonly #daemon: Daemon;
  readonly #socket: string | null;

  /**
   * @param host Where it runs.
   * @param daemon The running agent.
   * @param socket The unix socket that it was told to serve its status on; `null` if it serves it on its usual port.
   */
  constructor(host: Host, daemon: Daemon, socket: string | null) {
    this.#host = host;
    this.#daemon = daemon;
    this.#socket = socket;
  }

  get pid(): number {
    return this.#daemon.pid;
  }

  /** Settles with its exit code (128 + number if a signal ended it). */
  get exited(): Promise<number> {
    return this.#daemon.exited;
  }

  /** All that agents on this node have logged. */
  log(): string {
    return this.#daemon.text();
  }

  /** The last lines of the log. */
  tail(lines = 20): string {
    return this.#daemon.tail(lines);
  }

  /** Asks the status API. @throws {Error} If nobody answers within 5 s. */
  async get(path: string): Promise<Answer> {
    if (this.#socket !== null) return await ask(this.#socket, path);
    return await this.#host.json([...runtimeCommand(), HTTP_GET, `${STATUS_URL}${path}`]) as Answer;
  }

  /** `GET /v1/status`. @throws {Error} If the answer is not 200. */
  async status(): Promise<StatusBody> {
    return await this.#json("/v1/status") as StatusBody;
  }

  /** `GET /v1/peers`. @throws {Error} If the answer is not 200. */
  async peers(): Promise<readonly PeerRow[]> {
    return await this.#json("/v1/peers") as PeerRow[];
  }

  /** Waits until `/readyz` says so. @throws {Error} At the time-out in milliseconds, or if the agent ends; with its log's end. */
  async ready(timeout = 10_000): Promise<void> {
    await this.until("is ready", async () => {
      const { code, body } = await this.get("/readyz");
      if (code !== 200) throw new Error(`/readyz: ${code} ${body}`);
      return true;
    }, timeout);
  }

  /**
   * Waits until so many peers are in sync and none is anything else.
   *
   * @returns The peers.
   * @throws {Error} At the time-out in milliseconds, or if the agent ends; with the peers seen last and the log's end.
   */
  async inSync(count: number, timeout = 10_000): Promise<readonly PeerRow[]> {
    return await this.until(`has ${count} peers in sync`, async () => {
      const peers = await this.peers();
      if (peers.length === count && peers.every((peer) => peer.state === "in-sync")) return peers;
      throw new Error(`Its peers: ${JSON.stringify(peers)}`);
    }, timeout);
  }

  /**
   * Waits for a state of the agent, as {@linkcode until} does.
   *
   * @param what The sentence's end: "is ready".
   */
  async until<T>(what: string, look: () => T | Promise<T>, timeout = 10_000): Promise<NonNullable<Exclude<T, false>>> {
    const ended = Symbol("ended");
    const answer = await until<T | typeof ended>(
      `the agent on ${this.#host.name} ${what}`,
      () => this.#daemon.exitCode === null ? look() : ended,
      { timeout, state: () => `Its log ends:\n${this.tail()}` },
    );
    if (answer !== ended) return answer as NonNullable<Exclude<T, false>>;
    throw new Error(`The agent on ${this.#host.name} ended with exit code ${this.#daemon.exitCode}. Its log ends:\n${this.tail()}`);
  }

  /** Sends a signal. */
  signal(signal: NodeJS.Signals): void {
    this.#daemon.signal(signal);
  }

  /** Stops it and waits. @returns Its exit code. @throws {Error} If it does not end in time; it is killed then. */
  async stop(signal: NodeJS.Signals = "SIGTERM", timeout = 10_000): Promise<number> {
    return await this.#daemon.stop(signal, timeout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }

  async #json(path: string): Promise<unknown> {
    const { code, body } = await this.get(path);
    if (code !== 200) throw new Error(`The agent on ${this.#host.name} answered ${path} with ${code}: ${body}`);
    return JSON.parse(body);
  }
}

function ask(socketPath: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asking = request({ socketPath, path, headers: { host: "localhost" }, timeout: 5000, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (text: string) => body += text);
      response.on("end", () => resolve({ code: response.statusCode ?? 0, body })).on("error", reject);
    });
    asking.on("timeout", () => asking.destroy(new Error(`No answer to ${path} on ${socketPath}`)));
    asking.on("error", reject).end();
  });
}
