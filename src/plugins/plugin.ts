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
import type { BareSide, NodeSide, OpenSide, Peer } from "../model/backend.ts";
import { BackendError, type BackendPort, type BackendRequest, type BoundEffects, type PeerAnswer } from "../model/backend_port.ts";
import type { EffectContext, Effects, Level, PeerChanges, PeerFailures } from "../model/effects.ts";
import type { Cidr, Family } from "../model/ip.ts";
import type { Item } from "../model/item.ts";
import { linkNames, nodeItems, peerAnswer, podMtu } from "./answers.ts";
import { foreignImports } from "./imports.ts";
import { PluginProcess, WorkerLostError } from "./process.ts";
import type { Batch, BatchAnswer, ExampleRequest, Loaded, PeerQuestion, PlainSide, Said, Tables } from "./protocol.ts";
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

/** A question for the node, by its text, and what came of it. */
interface Answered<T> {
  readonly question: string;
  readonly said: { readonly value: T } | null;
}

/** What is known of a peer. */
interface PeerMemory {
  peer: Peer<unknown>;
  side: NodeSide;
  onLink: string | null;
  /** The question as text, and the one that was answered. */
  question: string;
  answeredQuestion: string | null;
  answer: PeerAnswer;
}

/** Questions for one message. */
interface Questions {
  mtu: Batch["mtu"];
  readonly publish: Map<Family, OpenSide>;
  readonly node: Map<Family, NodeSide>;
  readonly peers: Map<Cidr, PeerMemory>;
}

function noQuestions(): Questions {
  return { mtu: null, publish: new Map(), node: new Map(), peers: new Map() };
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
  readonly #unanswered: PeerAnswer;
  #process: PluginProcess;
  #closed = false;
  #loaded = false;
  /** What is wrong with the Worker, and with answers for the node. */
  #lost: string | null = null;
  readonly #wrong = new Map<string, string>();
  #failures = 0;
  #mtu: Answered<number> | null = null;
  readonly #published = new Map<Family, Answered<unknown>>();
  readonly #node = new Map<Family, Answered<readonly Item[]>>();
  readonly #peers = new Map<Cidr, PeerMemory>();
  readonly #sideTexts = new WeakMap<BareSide, string>();
  /** Questions for the next message. */
  #next = noQuestions();
  #asking = false;

  constructor(request: PluginRequest) {
    this.#request = request;
    this.name = request.name;
    this.#unanswered = { path: "none", items: [], state: "pending", reason: `backend ${this.name} has not answered yet` };
    this.#process = this.#start();
  }

  get problem(): string | null {
    return this.#lost ?? [...this.#wrong.values()][0] ?? null;
  }

  get settled(): boolean {
    return !this.#asking && this.#lost === null && this.#wrong.size === 0 && isEmpty(this.#next);
  }

  /** Loads it into the Worker, a fresh one. */
  async load(): Promise<void> {
    const { path, name, given, strict = false } = this.#request;
    const request = { path: realpathSync(path), name, given: strict ? null : given, strict };
    const loaded = await this.#process.call("load", request, { limit: LIMITS.load });
    this.type = loaded.type;
    this.links = linkNames(loaded.links);
    this.devices = loaded.devices;
    this.adopts = loaded.adopts;
    this.effects = this.#effectsOf(loaded);
    this.#loaded = true;
  }

  example(request: ExampleRequest): Promise<readonly unknown[] | null> {
    return this.#process.call("example", request, { limit: LIMITS.answer });
  }

  mtu(external: number, families: readonly Family[]): number | null {
    const question = JSON.stringify([external, families]);
    if (this.#mtu?.question === question) return this.#mtu.said?.value ?? null;
    this.#next.mtu = { external, families };
    this.#askSoon();
    return null;
  }

  publish(side: OpenSide): { readonly data: unknown } | null {
    const known = this.#published.get(side.family);
    if (known?.question === this.#textOf(side)) return known.said === null ? null : { data: known.said.value };
    this.#next.publish.set(side.family, side);
    this.#askSoon();
    return null;
  }

  node(side: NodeSide): readonly Item[] | null {
    const known = this.#node.get(side.family);
    if (known?.question === this.#textOf(side)) return known.said?.value ?? null;
    this.#next.node.set(side.family, side);
    this.#askSoon();
    return null;
  }

  peer(peer: Peer<unknown>, side: NodeSide): PeerAnswer {
    const { subnet } = peer;
    const onLink = side.onLink(peer.publicIp);
    let memory = this.#peers.get(subnet);
    if (memory === undefined) {
      memory = { peer, side, onLink, question: "", answeredQuestion: null, answer: this.#unanswered };
      this.#peers.set(subnet, memory);
    } else if (memory.peer === peer && memory.side === side && memory.onLink === onLink) return memory.answer;
    Object.assign(memory, { peer, side, onLink });
    memory.question = JSON.stringify([peer.publicIps, peer.data, onLink]) + this.#textOf(side);
    if (memory.question === memory.answeredQuestion) this.#next.peers.delete(subnet);
    else {
      this.#next.peers.set(subnet, memory);
      this.#askSoon();
    }
    return memory.answer;
  }

  forget(subnets: readonly Cidr[]): void {
    for (const subnet of subnets) {
      this.#peers.delete(subnet);
      this.#next.peers.delete(subnet);
    }
  }

  close(): void {
    this.#closed = true;
    this.#process.end();
  }

  #start(): PluginProcess {
    return new PluginProcess(this.#request.worker, (reason) => this.#lose(reason));
  }

  #textOf(side: BareSide): string {
    const text = this.#sideTexts.get(side) ?? JSON.stringify(side);
    this.#sideTexts.set(side, text);
    return text;
  }

  /** All that one plan asks goes in one message; the next one waits for the answer. */
  #askSoon(): void {
    if (this.#asking) return;
    this.#asking = true;
    queueMicrotask(() => void this.#ask());
  }

  async #ask(): Promise<void> {
    while (!this.#closed && this.#lost === null && !isEmpty(this.#next)) {
      const asked = this.#next;
      this.#next = noQuestions();
      try {
        const limit = LIMITS.answer + LIMITS.peer * asked.peers.size;
        this.#take(asked, await this.#process.call("ask", this.#batchOf(asked), { limit }));
        this.#failures = 0;
      } catch (error) {
        this.#putBack(asked);
        if (error instanceof WorkerLostError) break; // it is started anew
        this.#wrong.set("answer", (error as Error).message);
        this.#process.end();
        this.#lose((error as Error).message);
        break;
      }
      if (isEmpty(this.#next)) this.#asking = false;
      this.#changed();
    }
    this.#asking = false;
  }

  /** What was asked is asked again, unless something newer is. */
  #putBack({ mtu, publish, node, peers }: Questions): void {
    this.#next.mtu ??= mtu;
    for (const [family, side] of publish) if (!this.#next.publish.has(family)) this.#next.publish.set(family, side);
    for (const [family, side] of node) if (!this.#next.node.has(family)) this.#next.node.set(family, side);
    for (const [subnet, memory] of peers) if (this.#peers.has(subnet)) this.#next.peers.set(subnet, memory);
  }

  #batchOf({ mtu, publish, node, peers }: Questions): Batch {
    const sides = [...new Set([...peers.values()].map(({ side }) => side))];
    const questions = [...peers.values()].map(({ peer, side, onLink }): PeerQuestion => ({
      side: sides.indexOf(side),
      peer,
      onLink,
    }));
    return {
      tables: this.#tables(),
      mtu,
      publish: [...publish.values()].map(plain),
      node: [...node.values()].map(plain),
      sides: sides.map(plain),
      peers: questions,
    };
  }

  #tables(): Tables {
    const { macs } = this.#request;
    return {
      macs: Object.fromEntries(this.links.map((link) => [link, macs.of(link)])),
      earlier: { 4: macs.earlier(4), 6: macs.earlier(6) },
    };
  }

  #take({ mtu, publish, node, peers }: Questions, answer: BatchAnswer): void {
    for (const [link, mac] of answer.chosen) this.#request.macs.choose(link, mac);
    if (mtu !== null) {
      const question = JSON.stringify([mtu.external, mtu.families]);
      this.#mtu = { question, said: this.#read("mtu", answer.mtu!, podMtu) };
    }
    [...publish].forEach(([family, side], i) => {
      const said = this.#read(`publish IPv${family}`, answer.publish[i]!, (value) => value ?? null);
      this.#published.set(family, { question: this.#textOf(side), said });
    });
    [...node].forEach(([family, side], i) => {
      const ground = { side, links: this.links, peer: null };
      const said = this.#read(`node IPv${family}`, answer.node[i]!, (value) => nodeItems(value, ground));
      this.#node.set(family, { question: this.#textOf(side), said });
    });
    [...peers.values()].forEach((memory, i) => this.#takePeer(memory, answer.peers[i]!));
  }

  #takePeer(memory: PeerMemory, said: Said<unknown>): void {
    const { peer, side, question } = memory;
    const ground = { side, links: this.links, peer };
    try {
      if ("error" in said) throw new Error(said.error);
      memory.answer = peerAnswer(said.value, ground);
    } catch (error) {
      const reason = `backend ${this.name} failed for it: ${(error as Error).message}`;
      memory.answer = { path: "none", items: [], state: "pending", reason };
    }
    memory.answeredQuestion = question;
  }

  /** Reads what the plugin said of the node; what is wrong with it is the plugin's problem until it says something better. */
  #read<T>(what: string, said: Said<unknown>, check: (value: unknown) => T): { readonly value: T } | null {
    try {
      if ("error" in said) throw new Error(`its ${what.split(" ")[0]}() failed: ${said.error}`);
      const value = check(said.value);
      this.#wrong.delete(what);
      return { value };
    } catch (error) {
      const { message } = error as Error;
      if (this.#wrong.get(what) !== message) this.#request.log("error", `backend ${this.name}: ${message}`);
      this.#wrong.set(what, message);
      return null;
    }
  }

  #lose(reason: string): void {
    if (this.#closed || !this.#loaded) return; // whoever loads it the first time is told
    if (this.#lost === null) {
      this.#request.log("error", `backend ${this.name}: ${reason}; it is started anew, and what it said last counts`);
    }
    this.#lost = reason;
    const pause = Math.min(PAUSE.first * 2 ** this.#failures++, PAUSE.longest);
    const timer = setTimeout(() => void this.#restart(), pause) as unknown as { unref?(): void };
    timer.unref?.();
    this.#changed();
  }

  async #restart(): Promise<void> {
    if (this.#closed) return;
    this.#process = this.#start();
    try {
      const before = [this.type, ...this.links];
      await this.load();
      if (JSON.stringify([this.type, ...this.links]) !== JSON.stringify(before)) {
        throw new Error("its file has changed: restart the agent");
      }
    } catch (error) {
      this.#process.end();
      if (error instanceof WorkerLostError && this.#lost === error.message) return; // #lose() has seen to it
      return this.#lose((error as Error).message);
    }
    this.#lost = null;
    this.#wrong.delete("answer");
    this.incarnation++;
    this.#changed();
    if (!isEmpty(this.#next)) this.#askSoon();
  }

  #changed(): void {
    this.edition++;
    this.#request.changed();
  }

  #effectsOf({ effects }: Loaded): BoundEffects {
    const has = (call: keyof Effects) => effects.includes(call);
    const bare =
      (call: keyof Effects) => (context: EffectContext, node: { readonly name: string; readonly sides: readonly BareSide[] }) =>
        this.#effect(call, context, node, null);
    return {
      ...(has("start") && { start: bare("start") }),
      ...(has("ready") && { ready: async (context, node) => void await this.#effect("ready", context, node, null) }),
      ...(has("peers") && {
        peers: async (context, changes, node) => failuresOf(await this.#effect("peers", context, node, changes)),
      }),
      ...(has("health") && { health: async (context, node) => healthOf(await this.#effect("health", context, node, null)) }),
      ...(has("stop") && { stop: async (context, node) => void await this.#effect("stop", context, node, null) }),
    };
  }

  #effect(
    call: keyof Effects,
    context: EffectContext,
    { name, sides }: { readonly name: string; readonly sides: readonly BareSide[] },
    changes: PeerChanges | null,
  ): Promise<unknown> {
    const question = { call, node: { name, sides: sides.map(plain) }, tables: this.#tables(), changes };
    const { signal } = context;
    return this.#process.call("effect", question, { signal, log: (level, message) => context.log(level, message.slice(0, 2_000)) });
  }
}

function plain(side: BareSide): PlainSide {
  const { onLink: _, macFor: __, ...rest } = side;
  return rest;
}

function isEmpty({ mtu, publish, node, peers }: Questions): boolean {
  return mtu === null && publish.size === 0 && node.size === 0 && peers.size === 0;
}

function failuresOf(value: unknown): PeerFailures {
  if (value === undefined || value === null) return new Map();
  if (value instanceof Map) return new Map([...value].map(([key, reason]) => [String(key), String(reason)]));
  throw new Error("it answers neither nothing nor a Map of reasons by key");
}

function healthOf(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return value;
  throw new Error("it answers neither null nor a text");
}
