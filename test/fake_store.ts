/**
 * A lease store in memory that many nodes share, with a clock and chance of the test's choosing.
 *
 * It keeps the contract of lease stores, chooses subnets as the real ones do, and fails when it is told to: calls that are refused or
 * hang, watches that break, changes that arrive late and squashed.
 *
 * @module
 */

import { rest } from "../src/agent/patience.ts";
import type { Clock } from "../src/agent/ports.ts";
import type { Ip } from "../src/model/ip.ts";
import {
  type Lease,
  type LeaseEvent,
  LeaseLostError,
  type LeaseRecord,
  type LeaseRequest,
  type LeaseStore,
} from "../src/model/lease.ts";
import { chooseSubnets, isLeaseOf } from "../src/stores/allocate.ts";
import { leaseKey } from "../src/stores/lease_value.ts";

/** How long a lease lasts, in milliseconds. */
export const LIFETIME = 24 * 3_600_000;

interface Entry {
  readonly record: LeaseRecord;
  /** The node that holds it; `null` for what nobody does. */
  readonly owner: string | null;
}

/** Someone who is told of changes. */
interface Listener {
  readonly changed: Set<string>;
  wake: () => void;
  broken: Error | null;
}

/** What all nodes share. */
export class FakeCluster {
  readonly entries = new Map<string, Entry>();
  readonly listeners = new Set<Listener>();
  readonly clock: Clock;
  readonly random: () => number;
  config: string | null = null;

  constructor(clock: Clock, random: () => number) {
    this.clock = clock;
    this.random = random;
  }

  /** Opens the store as a node. */
  open(node: string, kind = "etcd"): FakeStore {
    return new FakeStore(this, node, kind);
  }

  /** Writes the network configuration. */
  configure(text: string): void {
    this.config = text;
    this.tell(null);
  }

  /** Writes a record, whoever holds the one that is there. */
  put(record: LeaseRecord, owner: string | null): void {
    this.entries.set(record.key, { record, owner });
    if ("lease" in record && record.lease.expiresAt !== null) this.#endLater(record.key, record.lease.expiresAt);
    this.tell(record.key);
  }

  /** Deletes a record, as an administrator might. */
  remove(key: string): void {
    if (this.entries.delete(key)) this.tell(key);
  }

  /** All leases. */
  leases(): Lease[] {
    return [...this.entries.values()].flatMap(({ record }) => "lease" in record ? [record.lease] : []);
  }

  /** Tells everybody that something has changed; `null` stands for the configuration. */
  tell(key: string | null): void {
    for (const listener of this.listeners) {
      if (key !== null) listener.changed.add(key);
      listener.wake();
    }
  }

  #endLater(key: string, expiresAt: number): void {
    this.clock.after(Math.min(expiresAt - this.clock.now(), 2 ** 31 - 1), () => {
      const record = this.entries.get(key)?.record;
      if (record === undefined || !("lease" in record) || record.lease.expiresAt === null) return;
      if (record.lease.expiresAt <= this.clock.now()) this.remove(key);
    });
  }
}

/** The store as one node has it open. */
export class FakeStore implements LeaseStore {
  readonly kind: string;
  /** Calls that were answered, by name. */
  readonly calls: Record<string, number> = {};
  /** Milliseconds that pass before a call is answered. */
  latency: () => number = () => 0;
  /** Milliseconds that pass before changes are told; those that come meanwhile are told with them. */
  delay: () => number = () => 0;
  readonly #cluster: FakeCluster;
  readonly #node: string;
  readonly #listeners = new Set<Listener>();
  #down: string | null = null;
  #lastError: string | null = null;
  /** Set while calls hang; they go on when it is called. */
  #hanging: { readonly over: Promise<void>; readonly end: () => void } | null = null;

  constructor(cluster: FakeCluster, node: string, kind: string) {
    this.#cluster = cluster;
    this.#node = node;
    this.kind = kind;
  }

  /** Makes every call fail with a message, and breaks the watches; `null` ends that. */
  fail(message: string | null): void {
    this.#down = message;
    if (message !== null) this.breakWatches(message);
  }

  /** Makes calls wait and watches silent, until it is told otherwise. */
  hang(hanging: boolean): void {
    if (hanging && this.#hanging === null) {
      let end = () => {};
      const over = new Promise<void>((resolve) => end = resolve);
      this.#hanging = { over, end };
    } else if (!hanging) {
      this.#hanging?.end();
      this.#hanging = null;
    }
  }

  /** Breaks the streams that are open; what changes before they are opened again is told by a snapshot. */
  breakWatches(message: string): void {
    for (const listener of this.#listeners) {
      listener.broken = new Error(message);
      listener.wake();
    }
  }

  health(): { readonly connected: boolean; readonly lastError: string | null } {
    return { connected: this.#down === null, lastError: this.#lastError };
  }

  async *networkConfig(signal: AbortSignal): AsyncGenerator<string> {
    let told: string | null = null;
    for await (const _ of this.#changes(signal)) {
      const { config } = this.#cluster;
      if (config !== null && config !== told) yield told = config;
    }
  }

  async previousLease(publicIps: readonly Ip[], signal: AbortSignal): Promise<Lease | null> {
    await this.#call("previousLease", signal);
    return this.#mine(publicIps)[0] ?? null;
  }

  async acquire({ network, backendType, endpoints, previous }: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    await this.#call("acquire", signal);
    const mine = this.#mine(endpoints.map(({ publicIp }) => publicIp));
    const others = this.#cluster.leases().filter(({ key }) => mine.every((lease) => lease.key !== key));
    const subnets = chooseSubnets({
      ranges: network.ranges,
      own: mine.map(subnetsOf),
      previous,
      taken: others.flatMap(subnetsOf),
      random: this.#cluster.random,
    });
    const key = leaseKey(subnets);
    mine.filter((lease) => lease.key !== key).forEach((lease) => this.#cluster.remove(lease.key));
    const kept = mine.find((lease) => lease.key === key);
    const ends = kept !== undefined && kept.expiresAt === null ? null : this.#cluster.clock.now() + LIFETIME;
    return this.#write({
      key,
      backendType,
      endpoints: endpoints.map((it, i) => ({ ...it, subnet: subnets[i]! })),
      expiresAt: ends,
    });
  }

  async renew(lease: Lease, signal: AbortSignal): Promise<Lease> {
    await this.#call("renew", signal);
    const { expiresAt } = this.#held(lease);
    return this.#write({ ...lease, expiresAt: expiresAt === null ? null : this.#cluster.clock.now() + LIFETIME });
  }

  async release(lease: Lease, signal: AbortSignal): Promise<void> {
    await this.#call("release", signal);
    this.#held(lease);
    this.#cluster.remove(lease.key);
  }

  async *watch(signal: AbortSignal): AsyncGenerator<LeaseEvent> {
    let first = true;
    for await (const keys of this.#changes(signal)) {
      const { entries } = this.#cluster;
      if (first) yield { type: "snapshot", records: [...entries.values()].map(({ record }) => record) };
      else if (keys.length > 0) {
        const changed = keys.flatMap((key) => entries.get(key)?.record ?? []);
        yield { type: "changes", changed, removed: keys.filter((key) => !entries.has(key)) };
      }
      first = false;
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.breakWatches("the store is closed");
    return Promise.resolve();
  }

  #mine(publicIps: readonly Ip[]): Lease[] {
    return [...this.#cluster.entries.values()].flatMap(({ record, owner }) =>
      "lease" in record && (owner === this.#node || isLeaseOf(record.lease, publicIps)) ? [record.lease] : []
    );
  }

  #held({ key }: Lease): Lease {
    const entry = this.#cluster.entries.get(key);
    if (entry === undefined || !("lease" in entry.record)) throw new LeaseLostError(`there is no lease ${key} any more`);
    if (entry.owner !== this.#node) throw new LeaseLostError(`the lease ${key} is another node's now`);
    return entry.record.lease;
  }

  #write(lease: Lease): Lease {
    this.#cluster.put({ key: lease.key, lease }, this.#node);
    return lease;
  }

  async #call(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const latency = this.latency();
    if (latency > 0) await rest(this.#cluster.clock, latency, signal);
    while (this.#hanging !== null && !signal.aborted) await Promise.race([this.#hanging.over, aborted(signal)]);
    signal.throwIfAborted();
    if (this.#down !== null) throw new Error(this.#lastError = this.#down);
    this.#lastError = null;
    this.calls[name] = (this.calls[name] ?? 0) + 1;
  }

  /** Yields once at the beginning, and then whenever something has changed, with the keys. */
  async *#changes(signal: AbortSignal): AsyncGenerator<readonly string[]> {
    await this.#call("watch", signal);
    const listener: Listener = { changed: new Set(), wake: () => {}, broken: null };
    let awake = true; // what is there is told first
    listener.wake = () => awake = true;
    this.#cluster.listeners.add(listener);
    this.#listeners.add(listener);
    try {
      while (!signal.aborted) {
        if (listener.broken !== null) throw listener.broken;
        const keys = [...listener.changed];
        listener.changed.clear();
        awake = false;
        yield keys;
        if (!awake && listener.broken === null) {
          await Promise.race([new Promise<void>((resolve) => listener.wake = resolve), aborted(signal)]);
          listener.wake = () => awake = true;
        }
        const delay = this.delay();
        if (delay > 0) await rest(this.#cluster.clock, delay, signal);
        while (this.#hanging !== null && !signal.aborted) await Promise.race([this.#hanging.over, aborted(signal)]);
      }
      signal.throwIfAborted();
    } finally {
      this.#cluster.listeners.delete(listener);
      this.#listeners.delete(listener);
    }
  }
}

function subnetsOf({ endpoints }: Lease) {
  return endpoints.map(({ subnet }) => subnet);
}

/** One promise per signal, however often it is asked for. */
const ends = new WeakMap<AbortSignal, Promise<void>>();

function aborted(signal: AbortSignal): Promise<void> {
  const known = ends.get(signal);
  if (known !== undefined) return known;
  const end = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
  ends.set(signal, end);
  return end;
}
