/**
 * Holds this node's lease: takes it, renews it in time, publishes changes, and takes another when it is lost.
 *
 * A store that fails is asked again with growing, jittered pauses; meanwhile nothing else changes.
 *
 * @module
 */

import { type Cidr, contains, lengthOf } from "../model/ip.ts";
import { type Lease, LeaseLostError, type LeaseRequest, type LeaseStore } from "../model/lease.ts";
import { Patience } from "./patience.ts";
import type { Chance, Clock, Log } from "./ports.ts";

/** What the holder needs. */
export interface OwnLeaseOptions {
  readonly store: LeaseStore;
  readonly clock: Clock;
  readonly log: Log;
  readonly chance: Chance;
  /** Renew so long before the lease expires, in milliseconds. */
  readonly renewMargin: number;
  /** The lease is there, or has changed. */
  readonly changed: () => void;
}

/** The holder of this node's lease. */
export class OwnLease {
  readonly #options: OwnLeaseOptions;
  #lease: Lease | null = null;
  #problem: string | null = null;
  #wanted: LeaseRequest | null = null;
  #previous: readonly Cidr[] = [];
  #lost: string | null = null;
  /** What the store was told last. */
  #published = "";
  #wake: () => void = () => {};

  constructor(options: OwnLeaseOptions) {
    this.#options = options;
  }

  /** The lease; `null` before there is one. It may have expired while the store could not be asked. */
  get lease(): Lease | null {
    return this.#lease;
  }

  /** Why the lease is not this node's any more, while there is no other yet; `null` if it is. */
  get lost(): string | null {
    return this.#lost;
  }

  /** What went wrong last; `null` if nothing did. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Says which subnets to ask for again, before anything is asked for. */
  prefer(previous: readonly Cidr[]): void {
    this.#previous = previous;
  }

  /** Says what the lease shall be asked with from now on. */
  want(request: Omit<LeaseRequest, "previous">): void {
    this.#wanted = { ...request, previous: this.#previous };
    this.#wake();
  }

  /** Says that the store does not show the lease any more. */
  lose(reason: string): void {
    this.#lost = reason;
    this.#wake();
  }

  /** Holds the lease until the signal ends it. */
  async run(signal: AbortSignal): Promise<void> {
    const patience = new Patience({ ...this.#options, note: (problem) => this.#problem = problem }, signal);
    while (!signal.aborted) {
      const pause = this.#pause();
      if (pause > 0) {
        await this.#sleep(pause, signal);
        continue;
      }
      try {
        await this.#step(signal);
        patience.renew();
        this.#problem = null;
      } catch (error) {
        await patience.bear(error);
      }
      this.#options.changed();
    }
  }

  /** Milliseconds until there is something to do. */
  #pause(): number {
    if (this.#wanted === null) return Infinity;
    if (this.#lease === null || this.#lost !== null || essence(this.#wanted) !== this.#published) return 0;
    if (this.#lease.expiresAt === null) return Infinity;
    return this.#lease.expiresAt - this.#options.renewMargin - this.#options.clock.now();
  }

  async #step(signal: AbortSignal): Promise<void> {
    const { store, log } = this.#options;
    const wanted = this.#wanted!;
    if (this.#lease !== null && this.#lost === null && fits(this.#lease, wanted)) {
      try {
        this.#lease = await store.renew(withWanted(this.#lease, wanted), signal);
        this.#published = essence(wanted);
        return;
      } catch (error) {
        if (!(error instanceof LeaseLostError)) throw error;
        this.#lost = error.message;
      }
    }
    if (this.#lost !== null) log("warning", `The lease is lost: ${this.#lost}`);
    const before = this.#lease;
    this.#lease = await store.acquire(wanted, signal);
    this.#lost = null;
    this.#published = essence(wanted);
    this.#previous = this.#lease.endpoints.map(({ subnet }) => subnet);
    this.#wanted = { ...this.#wanted!, previous: this.#previous };
    log("info", `${before === null ? "The lease is" : "The new lease is"} ${this.#previous.join(" and ")}`);
  }

  #sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        this.#wake = () => {};
        cancel();
        signal.removeEventListener("abort", done);
        resolve();
      };
      const cancel = this.#options.clock.after(Math.min(milliseconds, 2 ** 31 - 1), done);
      this.#wake = done;
      signal.addEventListener("abort", done);
    });
  }
}

/** Whether a lease can be kept with what is wanted now: its subnets are still inside the ranges of the network. */
export function fits(lease: Lease, { network }: Pick<LeaseRequest, "network">): boolean {
  return lease.endpoints.length === network.ranges.length &&
    network.ranges.every(({ network, allocation }) =>
      lease.endpoints.some(({ subnet }) =>
        contains(network, subnet) && (allocation === null || lengthOf(subnet) === allocation.length)
      )
    );
}

/** All that a request says but the previous subnets, to compare by. */
function essence({ network, backendType, endpoints }: LeaseRequest): string {
  return JSON.stringify([network.ranges, backendType, endpoints]);
}

function withWanted(lease: Lease, { backendType, endpoints }: LeaseRequest): Lease {
  return { ...lease, backendType, endpoints: lease.endpoints.map(({ subnet }, i) => ({ ...endpoints[i]!, subnet })) };
}
