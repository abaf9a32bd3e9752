/**
 * The lease store on etcd: keys, values and lives of leases as flannel's agents have them, so that both share one cluster.
 *
 * One {@linkcode Mirror} follows the cluster from the first question on; what is asked for is looked up there. What is written is written
 * under conditions: nobody's lease is written over, and of two nodes that want one subnet one gets another. Source: flannel,
 * `pkg/subnet/etcd`.
 *
 * @module
 */

import { ConfigError } from "../../config/errors.ts";
import type { Ip } from "../../model/ip.ts";
import type { Lease, LeaseEvent, LeaseRequest, LeaseStore } from "../../model/lease.ts";
import { Health } from "../health.ts";
import { Bell } from "./bell.ts";
import { type ClientOptions, EtcdClient } from "./client.ts";
import { Kv } from "./kv.ts";
import { LeaseTable } from "./lease_table.ts";
import { LeaseWriter, ownEntries } from "./lease_writer.ts";
import { Mirror } from "./mirror.ts";
import { OwnWrites } from "./own_writes.ts";

/** How the store is made. */
export interface EtcdOptions extends ClientOptions {
  /** What all keys begin with, without a slash at the end. */
  readonly prefix: string;
  /** Nothing is written, and what is not there or does not answer is not waited for. */
  readonly readOnly?: boolean;
  /** What the operator should know, such as an outage or another host with our address. */
  readonly log: (level: "warning" | "info", message: string) => void;
}

/** The lease store on etcd. */
export class EtcdStore implements LeaseStore {
  readonly kind = "etcd";
  readonly #o: EtcdOptions;
  readonly #client: EtcdClient;
  readonly #configKey: string;
  readonly #health = new Health();
  readonly #changed = new Bell();
  readonly #table: LeaseTable;
  readonly #mirror: Mirror;
  readonly #writer: LeaseWriter;
  readonly #closed = new AbortController();
  #mirroring: Promise<void> | null = null;
  #broken: unknown = null;

  constructor(options: EtcdOptions) {
    this.#o = options;
    this.#client = new EtcdClient(options);
    const kv = new Kv(this.#client);
    const own = new OwnWrites();
    const leasePrefix = `${options.prefix}/subnets/`;
    this.#configKey = `${options.prefix}/config`;
    this.#table = new LeaseTable(leasePrefix, own, (twin) => {
      this.#health.problem("lease", twin);
      options.log("warning", twin);
    });
    this.#mirror = new Mirror({
      ...options,
      client: this.#client,
      kv,
      configKey: this.#configKey,
      leasePrefix,
      table: this.#table,
      health: this.#health,
      changed: () => this.#changed.ring(),
    });
    this.#writer = new LeaseWriter({
      ...options,
      kv,
      own,
      leasePrefix,
      table: this.#table,
      mirror: this.#mirror,
      health: this.#health,
    });
  }

  health() {
    return this.#health.state;
  }

  /** Bytes read so far, for measuring. */
  get bytesRead(): number {
    return this.#client.bytesRead;
  }

  async *networkConfig(signal: AbortSignal): AsyncGenerator<string> {
    const all = this.#begin(signal);
    let last: string | null = null;
    for (;;) {
      const { config } = this.#mirror;
      if (config !== null) this.#noteConfig(config.missing);
      if (config !== null && config.text !== null && config.text !== last) {
        last = config.text;
        yield last;
        all.throwIfAborted();
      } else await this.#news(all);
    }
  }

  async previousLease(publicIps: readonly Ip[], signal: AbortSignal): Promise<Lease | null> {
    const all = this.#begin(signal);
    while (!this.#table.complete) await this.#news(all);
    return ownEntries(this.#table, publicIps)[0]?.lease ?? null;
  }

  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    const all = this.#begin(signal);
    while (!this.#table.complete) await this.#news(all);
    return await this.#writer.acquire(request, all);
  }

  async renew(lease: Lease, signal: AbortSignal): Promise<Lease> {
    return await this.#writer.renew(lease, this.#until(signal));
  }

  async release(lease: Lease, signal: AbortSignal): Promise<void> {
    await this.#writer.release(lease, this.#until(signal));
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseEvent> {
    const all = this.#begin(signal);
    using news = this.#table.follow();
    for (;;) {
      const event = news.take();
      if (event === null) await this.#news(all);
      else {
        yield event;
        all.throwIfAborted();
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error("The lease store on etcd has been closed"));
    await this.#mirroring;
    this.#client.close();
  }

  /** Begins to follow the cluster, if nobody has. @returns What ends a question. */
  #begin(signal: AbortSignal): AbortSignal {
    this.#mirroring ??= this.#mirror.run(this.#closed.signal).catch((error) => {
      this.#broken = error;
      this.#changed.ring();
    });
    return this.#until(signal);
  }

  #until(signal: AbortSignal): AbortSignal {
    const all = AbortSignal.any([signal, this.#closed.signal]);
    all.throwIfAborted();
    return all;
  }

  #noteConfig(missing: boolean): void {
    const problem = missing
      ? `There is no network configuration at ${this.#configKey} in etcd; write one, such as {"Network":"10.244.0.0/16"}`
      : null;
    this.#health.problem("configuration", problem);
    if (problem !== null && this.#o.readOnly) throw new ConfigError(problem);
  }

  /** Waits for news. @throws {Error} If there can be none. */
  async #news(signal: AbortSignal): Promise<void> {
    if (this.#broken !== null) throw this.#broken;
    const { connected, lastError } = this.#health.state;
    if (this.#o.readOnly && !connected && lastError !== null) throw new Error(lastError);
    await this.#changed.next(signal);
  }
}
