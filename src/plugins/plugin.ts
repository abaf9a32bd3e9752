/**
 * A plugin as the core's backend: asked in batches, its answers checked and kept, its Worker started anew when it is lost.
 *
 * The core asks whenever it plans; what is not known yet is sent with all other questions of the same plan in one message, and until the
 * answer comes the last good one counts. A plugin that throws, hangs or answers nonsense harms only itself.
 *
 * @module
 */

import { readFileSync, realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { NodeSide, OpenSide, Peer } from "../model/backend.ts";
import { BackendError, type BackendPort, type BackendRequest, type BoundEffects, type PeerAnswer } from "../model/backend_port.ts";
import type { Level } from "../model/effects.ts";
import type { Cidr, Family } from "../model/ip.ts";
import type { Item } from "../model/item.ts";
import { linkNames } from "./answers.ts";
import { foreignImports } from "./imports.ts";
import { Memory } from "./memory.ts";
import { PluginProcess, WorkerLostError } from "./process.ts";
import type { ExampleRequest } from "./protocol.ts";
import { remoteEffects } from "./remote_effects.ts";
import { distrust } from "./trust.ts";

/** How long a plugin may take, in milliseconds: to load, and to answer one plan, plus so much for each peer of it. */
export const LIMITS = { load: 5_000, answer: 5_000, peer: 2 } as const;
/** The pauses before a Worker that was lost is started anew, in milliseconds. */
const PAUSE = { first: 1_000, longest: 60_000 };
/** A file of program text is not larger, in bytes. */
const LARGEST = 4 * 1024 * 1024;

/** What a plugin is opened with. */
export interface PluginRequest extends BackendRequest {
  readonly path: string;
  /** The first module of Workers. */
  readonly worker: URL;
  readonly log: (level: Level, message: string) => void;
  /** It is to be checked, by whoever wrote it: anybody may have written the file, and `given` is what its example says. */
  readonly strict?: boolean;
}

/** A loaded plugin. */
export interface OpenPlugin extends BackendPort {
  /** What its example says that peers publish; `null` if it has none. */
  example(request: ExampleRequest): Promise<readonly unknown[] | null>;
}

/**
 * Loads a plugin.
 *
 * @throws {BackendError} If its file may not be run, it does not load, it is no backend, or the options are wrong for it.
 */
export async function openPlugin(request: PluginRequest): Promise<OpenPlugin> {
  const path = resolve(request.path);
  const refuse = (reason: string) => new BackendError(`Cannot use backend "${request.name}" of "${path}": ${reason}`);
  const reason = examine(path, request.strict ?? false);
  if (reason !== null) throw refuse(reason);
  const plugin = new Plugin({ ...request, path });
  try {
    await plugin.load();
    return plugin;
  } catch (error) {
    plugin.close();
    const { message } = error as Error;
    const options = /^options: (.*)$/s.exec(message)?.[1];
    if (options !== undefined) throw new BackendError(`The Backend in ${request.source} is wrong for ${request.name}: ${options}`);
    const slow = error instanceof WorkerLostError && message.startsWith("it did not answer");
    throw refuse(slow ? `${message}: a module must end when it is loaded, and do nothing but export` : message);
  }
}

/** Why a file is not even loaded; `null` if it may be. */
function examine(path: string, strict: boolean): string | null {
  try {
    const reason = strict ? null : distrust(path);
    if (reason !== null) return reason;
    const found = statSync(path);
    if (!found.isFile() || found.size > LARGEST) return "it is no file of program text";
    const [module] = foreignImports(readFileSync(path, "utf8"));
    if (module === undefined) return null;
    return `it imports "${module}": only modules of the runtime, as "node:fs", can be imported, and types by "import type"`;
  } catch (error) {
    return (error as Error).message;
  }
}

class Plugin implements OpenPlugin {
  readonly name: string;
  type = "";
  links: readonly string[] = [];
  devices: RegExp | null = null;
  adopts = true;
  effects: BoundEffects = {};
  edition = 0;
  incarnation = 0;
  readonly #request: PluginRequest;
  readonly #memory: Memory;
  #process: PluginProcess;
  #loaded = false;
  #closed = false;
  #asking = false;
  /** Why the Worker was lost, until it has been started anew. */
  #lost: string | null = null;
  #failures = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(request: PluginRequest) {
    this.#request = request;
    this.name = request.name;
    this.#memory = new Memory({ ...request, asked: () => this.#askSoon() });
    this.#process = this.#start();
  }

  get problem(): string | null {
    return this.#lost ?? this.#memory.problem;
  }

  get settled(): boolean {
    return !this.#asking && this.problem === null && !this.#memory.curious;
  }

  /** Loads it into the Worker, a fresh one. */
  async load(): Promise<void> {
    const { path, name, given, strict = false } = this.#request;
    const request = { path: realpathSync(path), name, given: strict ? null : given, strict };
    const { type, links, devices, adopts, effects } = await this.#process.call("load", request, { limit: LIMITS.load });
    this.type = type;
    this.links = this.#memory.links = linkNames(links);
    this.devices = devices;
    this.adopts = adopts;
    this.effects = remoteEffects(effects, () => this.#process, () => this.#memory.tables());
    this.#loaded = true;
  }

  example(request: ExampleRequest): Promise<readonly unknown[] | null> {
    return this.#process.call("example", request, { limit: LIMITS.answer });
  }

  mtu(external: number, families: readonly Family[]): number | null {
    return this.#memory.mtu(external, families);
  }

  publish(side: OpenSide): { readonly data: unknown } | null {
    return this.#memory.publish(side);
  }

  node(side: NodeSide): readonly Item[] | null {
    return this.#memory.node(side);
  }

  peer(peer: Peer<unknown>, side: NodeSide): PeerAnswer {
    return this.#memory.peer(peer, side);
  }

  forget(subnets: readonly Cidr[]): void {
    this.#memory.forget(subnets);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#process.end();
  }

  #start(): PluginProcess {
    return new PluginProcess(this.#request.worker, (reason) => this.#lose(reason));
  }

  /** All that one plan asks goes in one message; the next one waits for the answer. */
  #askSoon(): void {
    if (this.#asking) return;
    this.#asking = true;
    queueMicrotask(() => void this.#ask());
  }

  async #ask(): Promise<void> {
    while (!this.#closed && this.#lost === null && this.#memory.curious) {
      const { questions, batch } = this.#memory.ask();
      try {
        const limit = LIMITS.answer + LIMITS.peer * batch.peers.length;
        this.#memory.take(questions, await this.#process.call("ask", batch, { limit }));
        this.#failures = 0;
      } catch (error) {
        this.#memory.putBack(questions);
        if (!(error instanceof WorkerLostError)) { // it could not even be asked or understood
          this.#process.end();
          this.#lose((error as Error).message);
        }
        break;
      }
      if (!this.#memory.curious) this.#asking = false;
      this.#changed();
    }
    this.#asking = false;
  }

  #lose(reason: string): void {
    if (this.#closed || !this.#loaded) return; // whoever loads it the first time is told
    if (this.#lost === null) {
      this.#request.log("error", `backend ${this.name}: ${reason}; it is started anew, and what it said last counts`);
    }
    this.#lost = reason;
    const pause = Math.min(PAUSE.first * 2 ** this.#failures++, PAUSE.longest);
    this.#timer = setTimeout(() => void this.#restart(), pause);
    this.#changed();
  }

  async #restart(): Promise<void> {
    if (this.#closed) return;
    const fresh = this.#process = this.#start();
    try {
      const before = [this.type, ...this.links];
      await this.load();
      if (JSON.stringify([this.type, ...this.links]) !== JSON.stringify(before)) {
        throw new Error("its file has changed: restart the agent");
      }
    } catch (error) {
      if (error instanceof WorkerLostError) return; // that has been seen to
      fresh.end();
      return this.#lose((error as Error).message);
    }
    this.#lost = null;
    this.incarnation++;
    this.#changed();
    if (this.#memory.curious) this.#askSoon();
  }

  #changed(): void {
    this.edition++;
    this.#request.changed();
  }
}
