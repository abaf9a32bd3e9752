/**
 * Keeps a table of nodes in step with an API server: a complete list, then a watch, and again after every gap.
 *
 * ```
 *   start, or an older state ──► list of whole nodes ──┐
 *                                                      ├──► watch of metadata ──► ended or failed: watch again
 *   410, or a long silence ────► list of metadata ─────┘
 * ```
 *
 * A list is streamed where the server can do that, else read in pages. Afterwards only metadata is watched: a heartbeat of a node of
 * 20 KB is 1 KB instead of 13, and costs the server the same (bench/kubernetes.ts). Never ends but by its signal. Source: Kubernetes
 * API concepts ("Efficient detection of changes", "Streaming lists"), flannel.md 4.4.
 *
 * @module
 */

import { Backoff } from "../backoff.ts";
import type { Health } from "../health.ts";
import { pause } from "../wait.ts";
import { ApiError } from "./api_error.ts";
import type { NodeApi, NodeEvent } from "./node_api.ts";
import type { NodeTable } from "./node_table.ts";

/** What a follower is made of. */
export interface FollowerOptions {
  readonly api: NodeApi;
  readonly health: Health;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** The table has changed. */
  readonly changed: () => void;
  /** Milliseconds of a clock that only goes forward; default the runtime's. */
  readonly now?: () => number;
}

/** A server that was gone for longer, in milliseconds, may have been restored from an older state: everything is compared. */
const LONG_SILENCE = 60_000;
/** A watch that is over sooner, in milliseconds, is not begun again at once. */
const SHORT_WATCH = 1000;
/** One that lasted for longer, in milliseconds, makes its failure the first. */
const LONG_WATCH = 10_000;
/** After so long without an event, in milliseconds, the server is asked whether it is there. */
const PROBE_AFTER = 4000;
/** So long after a probe without an answer, in milliseconds, comes the second. */
const SECOND_PROBE_AFTER = 1000;
/** Statuses of a server that would stream a list if it could just now, or if we were allowed to read. */
const NOT_A_REFUSAL: readonly number[] = [401, 403, 408, 410, 429, 502, 503, 504];

/** Follows the nodes of a cluster. */
export class Follower {
  readonly #table: NodeTable;
  readonly #options: FollowerOptions;
  readonly #now: () => number;
  readonly #backoff: Backoff;
  /** Up to where the table is complete; `null` if a list is needed. */
  #version: string | null = null;
  /** Whether the next list must hold whole nodes. */
  #whole = true;
  /** Whether the server streams lists; `null` while nobody asked. */
  #streams: boolean | null = null;
  #lastEvent = 0;
  /** When the first of the failures in a row was; `null` while there is none. */
  #failingSince: number | null = null;

  constructor(table: NodeTable, options: FollowerOptions) {
    this.#table = table;
    this.#options = options;
    this.#backoff = new Backoff(options.random);
    this.#now = options.now ?? (() => performance.now());
  }

  /** Follows until the signal is aborted, and then throws its reason. */
  async run(signal: AbortSignal): Promise<never> {
    for (;;) {
      const began = this.#now();
      const watching = this.#version !== null;
      try {
        await this.#round(signal);
        if (watching && this.#now() - began < SHORT_WATCH) await pause(SHORT_WATCH, signal);
      } catch (error) {
        signal.throwIfAborted();
        const expired = error instanceof ApiError && error.status === 410;
        if (expired) this.#version = null;
        else this.#bad(error);
        if (this.#now() - began > LONG_WATCH) this.#backoff.reset();
        await pause(this.#backoff.next(error), signal);
      }
    }
  }

  /** One list, or one watch. */
  async #round(signal: AbortSignal): Promise<void> {
    if (this.#version !== null) await this.#compare(this.#version, signal);
    if (this.#version !== null) return await this.#watch(this.#version, signal);
    this.#streams ??= await this.#options.api.streamsLists(signal);
    this.#table.beginList();
    this.#listed(this.#streams ? await this.#stream(signal) : await this.#pages(signal));
  }

  /** After a silence: whether the server's state is still one that ours can go on from. */
  async #compare(version: string, signal: AbortSignal): Promise<void> {
    if (this.#failingSince === null) return;
    const failing = this.#now() - this.#failingSince;
    const older = isOlder(await this.#options.api.currentVersion(signal), version);
    this.#good();
    if (older) this.#whole = true;
    if (older || failing > LONG_SILENCE) this.#version = null;
  }

  #pages(signal: AbortSignal): Promise<string> {
    return this.#options.api.list({ whole: this.#whole }, (node) => this.#table.put(node), signal);
  }

  /** Reads the list as the beginning of a watch; in pages, if the server does not want that. */
  async #stream(signal: AbortSignal): Promise<string> {
    const { api, random } = this.#options;
    let begun = false;
    try {
      for await (const { type, node } of api.watch({ whole: this.#whole }, null, random(), signal)) {
        begun = true;
        if (node.endsInitialEvents) return node.version;
        if (type === "put") this.#table.put(node);
        else if (type === "gone") this.#table.remove(node.name);
      }
      throw new Error("The API server ended the list of nodes in the middle");
    } catch (error) {
      const refused = error instanceof ApiError && !NOT_A_REFUSAL.includes(error.status);
      if (refused || begun) this.#streams = false;
      if (!refused) throw error;
      return await this.#pages(signal);
    }
  }

  #listed(version: string): void {
    this.#table.endList();
    this.#version = version;
    this.#whole = false;
    this.#backoff.reset();
    this.#good();
    this.#options.changed();
  }

  #good(): void {
    this.#failingSince = null;
    this.#options.health.good();
  }

  #bad(error: unknown): void {
    this.#failingSince ??= this.#now();
    this.#options.health.bad(error);
  }

  async #watch(version: string, signal: AbortSignal): Promise<void> {
    const { api, random } = this.#options;
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    this.#lastEvent = this.#now();
    const guard = this.#guard(over, both);
    try {
      for await (const event of api.watch({ whole: false }, version, random(), both)) this.#take(event);
    } finally {
      over.abort();
      await guard;
    }
  }

  #take({ type, node }: NodeEvent): void {
    this.#lastEvent = this.#now();
    this.#version = node.version;
    this.#good();
    if (type === "put") this.#table.put(node);
    else if (type === "gone") this.#table.remove(node.name);
    if (this.#table.hasNews || this.#table.unresolved.size > 0) this.#options.changed();
  }

  /** Asks the server whether it is there while the watch is silent; after two questions without an answer, the watch is over. */
  async #guard(watch: AbortController, signal: AbortSignal): Promise<void> {
    const { api, health, random } = this.#options;
    try {
      for (let missed = 0;;) {
        await pause(missed > 0 ? SECOND_PROBE_AFTER : PROBE_AFTER * (1 + random() / 2), signal);
        if (missed === 0 && this.#now() - this.#lastEvent < PROBE_AFTER) continue;
        try {
          await api.probe(signal);
          missed = 0;
          health.good();
        } catch (error) {
          signal.throwIfAborted();
          if (++missed === 2) watch.abort(error);
        }
      }
    } catch {
      // the watch is over
    }
  }
}

/** Whether a state of the server comes before another; only versions that are numbers can be told apart. */
function isOlder(version: string, than: string): boolean {
  return /^\d+$/.test(version) && /^\d+$/.test(than) && BigInt(version) < BigInt(than);
}
