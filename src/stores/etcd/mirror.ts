/**
 * Keeps the network configuration and the leases in step with a cluster: read once, then watched, and read again after every gap.
 *
 * ```
 *   start, another or older state ──► list ──┐
 *   the history was compacted ───────► list ─┴─► watch ──► ended, failed, silent ──► is the state one to go on from? ──► watch
 *                                                                                                          └─► no: list
 * ```
 *
 * One connection carries the watches of both. While it is silent, small reads prove that its member is there and has a leader; after
 * two that fail it is given up, and the next member is asked. Whether a state is one to go on from is told by the lease that was
 * written last: it must still be as it was. Source: etcd, `Documentation/learning/api_guarantees.md`.
 *
 * @module
 */

import { Backoff } from "../backoff.ts";
import type { Health } from "../health.ts";
import { pause } from "../wait.ts";
import type { EtcdClient } from "./client.ts";
import { EtcdError } from "./error.ts";
import { below, CompactedError, type Kv, type WatchMessage } from "./kv.ts";
import type { LeaseTable } from "./lease_table.ts";

/** What a mirror is made of. */
export interface MirrorOptions {
  readonly client: Pick<EtcdClient, "origin" | "leave">;
  readonly kv: Pick<Kv, "get" | "look" | "list" | "watch">;
  readonly configKey: string;
  readonly leasePrefix: string;
  readonly table: LeaseTable;
  readonly health: Health;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Configuration, table or health have changed. */
  readonly changed: () => void;
  /** What the operator should know. */
  readonly log: (level: "warning" | "info", message: string) => void;
}

/** The network configuration. */
export interface MirroredConfig {
  /** The last that there was; `null` if there never was one. */
  readonly text: string | null;
  /** There is none now. */
  readonly missing: boolean;
}

/** A cluster that is back is found within so many milliseconds, and the time that its silence takes to be noticed. */
const LONGEST_PAUSE = 1500;
/** After so long without news, in milliseconds, the member is asked whether it is there. */
const PROBE_AFTER = 4000;
/** So long after a probe without an answer, in milliseconds, comes the second. */
const SECOND_PROBE_AFTER = 1000;
/** So long leases are kept that an older state does not have, in milliseconds: their owners write them again. */
const GRACE = 10_000;

/** Follows one cluster. */
export class Mirror {
  readonly #o: MirrorOptions;
  readonly #backoff: Backoff;
  #config: MirroredConfig | null = null;
  #cluster: string | null = null;
  /** The newest revision that was heard of. */
  #newest = 0;
  /** From where the watches go on; `null` if a list is needed. */
  #next: { config: number; leases: number } | null = null;
  /** Up to which revision the table was complete when it was last. */
  #known = 0;
  #failing = false;
  #lastNews = 0;
  #grace: ReturnType<typeof setTimeout> | undefined;

  constructor(options: MirrorOptions) {
    this.#o = options;
    this.#backoff = new Backoff(options.random, LONGEST_PAUSE);
  }

  /** The configuration; `null` before it was read. */
  get config(): MirroredConfig | null {
    return this.#config;
  }

  /** Whether the table is as new as it can be. */
  get isCurrent(): boolean {
    return this.#next !== null && !this.#failing;
  }

  /** Up to which revision the table is complete. */
  get revision(): number {
    return this.#known;
  }

  /** Follows until the signal is aborted, and then throws its reason. */
  async run(signal: AbortSignal): Promise<never> {
    try {
      for (;;) {
        try {
          if (this.#failing) await this.#compare(signal);
          if (this.#next === null) await this.#list(signal);
          await this.#watch(signal);
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof CompactedError) this.#next = null;
          else this.#bad(error as Error);
          await pause(this.#backoff.next(error), signal);
        }
      }
    } finally {
      clearTimeout(this.#grace);
    }
  }

  /** After a failure: whether the cluster's state is still one that ours can go on from. */
  async #compare(signal: AbortSignal): Promise<void> {
    const { kv, table, configKey } = this.#o;
    const newest = table.newest();
    const { cluster, revision, found } = await kv.look(newest?.key ?? configKey, signal);
    const goesOn = cluster === this.#cluster && revision >= this.#newest && newest !== null &&
      found?.modRevision === newest.modRevision;
    if (!goesOn) this.#next = null;
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { kv, table, configKey, leasePrefix, changed } = this.#o;
    const config = await kv.get(configKey, signal);
    this.#configure(config.found?.value ?? null);
    changed();
    table.begin();
    const header = await kv.list(below(leasePrefix), (it) => table.listed(it), signal);
    const replaced = this.#cluster !== null && (header.cluster !== this.#cluster || header.revision < this.#newest);
    const known = this.#known;
    this.#cluster = header.cluster;
    this.#newest = header.revision;
    this.#known = header.revision;
    this.#next = { config: config.revision + 1, leases: header.revision + 1 };
    if (table.end(known, replaced)) this.#lostHistory();
    this.#good();
    changed();
  }

  #lostHistory(): void {
    const { log, table, changed } = this.#o;
    log(
      "warning",
      "etcd has lost a part of its history, as if an older state had been restored; leases are compared and written anew",
    );
    clearTimeout(this.#grace);
    this.#grace = setTimeout(() => {
      table.dropHeld();
      changed();
    }, GRACE);
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, kv, configKey, leasePrefix } = this.#o;
    const over = new AbortController();
    const both = AbortSignal.any([signal, over.signal]);
    const { origin } = client;
    this.#lastNews = performance.now();
    const guard = this.#guard(origin, over, both);
    const { config, leases } = this.#next!;
    const ranges = [{ range: { from: configKey, to: null }, from: config }, { range: below(leasePrefix), from: leases }];
    try {
      for await (const message of kv.watch(origin, ranges, both)) this.#take(message);
    } catch (error) {
      if (!(error instanceof CompactedError)) client.leave(origin);
      throw error;
    } finally {
      over.abort();
      await guard;
    }
  }

  #take(message: WatchMessage): void {
    const { table, configKey, changed } = this.#o;
    if (message.cluster !== this.#cluster) throw new Error("Another cluster of etcd answers than before");
    this.#lastNews = performance.now();
    this.#newest = Math.max(this.#newest, message.revision);
    if (message.of === 0) {
      for (const { value } of message.puts.slice(-1)) this.#configure(value);
      for (const { key } of message.removed) if (key === configKey) this.#configure(null);
      if (message.next !== null) this.#next!.config = message.next;
    } else {
      message.puts.forEach((it) => table.put(it));
      message.removed.forEach(({ key, modRevision }) => table.remove(key, modRevision));
      if (message.next !== null) {
        this.#next!.leases = message.next;
        this.#known = message.next - 1;
      }
    }
    this.#backoff.reset();
    this.#good();
    changed();
  }

  /** A configuration that was deleted stays in force. */
  #configure(text: string | null): void {
    this.#config = { text: text ?? this.#config?.text ?? null, missing: text === null };
  }

  #good(): void {
    if (this.#failing) this.#o.log("info", "etcd answers again");
    this.#failing = false;
    this.#o.health.good();
  }

  #bad(error: Error): void {
    if (!this.#failing) this.#o.log("warning", error.message);
    this.#failing = true;
    this.#o.health.bad(error);
    this.#o.changed();
  }

  /** Asks a member whether it is there while its watch is silent; after two questions without an answer, the watch is over. */
  async #guard(origin: string, watch: AbortController, signal: AbortSignal): Promise<void> {
    const { kv, configKey, health, random } = this.#o;
    try {
      for (let missed = 0;;) {
        await pause(missed > 0 ? SECOND_PROBE_AFTER : PROBE_AFTER * (1 + random() / 2), signal);
        if (missed === 0 && performance.now() - this.#lastNews < PROBE_AFTER) continue;
        try {
          await kv.look(configKey, signal, origin);
          missed = 0;
          health.good();
        } catch (error) {
          signal.throwIfAborted();
          if (error instanceof EtcdError && !error.isOfMember) missed = 0; // it answers
          else if (++missed === 2) watch.abort(error);
        }
      }
    } catch {
      // the watch is over
    }
  }
}
