/**
 * How an agent begins: it comes to hold a lease and to follow those of others, and publishes nothing before its kernel holds it.
 *
 * ```text
 * looking ──► holding ────► following      no lease of an earlier run
 *        └──► resuming ──► following       the store still has one: others are followed first, and the kernel put right
 * ```
 *
 * @module
 */

import type { Lease } from "../model/lease.ts";
import type { LeaseNews } from "./lease_news.ts";
import type { Macs } from "./node.ts";
import type { AgentOptions } from "./options.ts";
import type { OwnLease } from "./own_lease.ts";
import { persist } from "./patience.ts";
import type { Setup } from "./setup.ts";
import type { Surroundings } from "./surroundings.ts";

/** What beginning needs. */
export type BeginningOptions = Pick<AgentOptions, "store" | "clock" | "chance" | "log"> & {
  readonly surroundings: Surroundings;
  readonly macs: Macs;
  readonly ownLease: OwnLease;
  readonly leases: LeaseNews;
};

/** The beginning of one run. */
export class Beginning {
  readonly #o: BeginningOptions;
  #stage: "looking" | "resuming" | "holding" | "following" = "looking";
  #resumed: Lease | null = null;

  constructor(options: BeginningOptions) {
    this.#o = options;
  }

  /** It is not known yet what this node published before. */
  get isLooking(): boolean {
    return this.#stage === "looking";
  }

  /** The lease that the store still has for this node, as long as nothing else may be published; `null` before and after. */
  get resumed(): Lease | null {
    return this.#resumed;
  }

  /** The lease of before is still this node's, so what goes to it arrives here. */
  get holdsResumed(): boolean {
    return this.#resumed !== null && this.#holds(this.#resumed);
  }

  /** What this node is now may be published. */
  get publishes(): boolean {
    return this.#stage === "holding" || this.#stage === "following";
  }

  /**
   * Goes on to the next stage, if all is there for it: to hold a lease, once it is known what to publish, then to follow those of others.
   *
   * @param tasks What is begun is added here.
   * @returns Whether this node has to say what it publishes.
   */
  async goOn(setup: Setup, signal: AbortSignal, tasks: Promise<void>[]): Promise<boolean> {
    const { store, surroundings, macs, ownLease, leases } = this.#o;
    if (surroundings.external === null) return false;
    if (this.#stage === "looking") {
      const publicIps = surroundings.publicIps(setup.network);
      const previous = await persist(() => store.previousLease(publicIps, signal), this.#o, signal);
      macs.know(surroundings.facts, previous);
      tasks.push(ownLease.run(signal));
      if (previous === null || !this.#holds(previous)) {
        this.#stage = "holding";
      } else {
        this.#stage = "resuming";
        this.#resumed = previous;
        tasks.push(leases.follow(signal));
      }
      return true;
    }
    if (this.#stage === "holding" && ownLease.lease !== null) { // every list of leases has our own now
      this.#stage = "following";
      tasks.push(leases.follow(signal));
    }
    return false;
  }

  /** The kernel has been put right as far as it can be: publishes from now on. */
  endResuming(): void {
    this.#stage = "following";
    this.#resumed = null;
  }

  #holds({ expiresAt }: Lease): boolean {
    return expiresAt === null || expiresAt > this.#o.clock.now();
  }
}
