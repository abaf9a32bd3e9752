/**
 * Follows the leases of a store in the background, for tests that wait for something to happen.
 *
 * @module
 */

import assert from "node:assert/strict";
import type { Lease, LeaseEvent, LeaseStore } from "../../src/model/lease.ts";

/** What a watch has told so far. */
export interface FollowedLeases extends AsyncDisposable {
  readonly events: readonly LeaseEvent[];
  /** What there is now, leases and other entries. */
  readonly keys: ReadonlySet<string>;
  readonly leases: ReadonlyMap<string, Lease>;
  /** Why entries are no leases. */
  readonly reasons: ReadonlyMap<string, string>;
  /** Waits until it is so; for some seconds. */
  until(what: string, isSo: (it: FollowedLeases) => boolean): Promise<void>;
}

const PATIENCE = 15_000;

/** Starts to follow. Dispose of it to stop; that fails if the watch has failed. */
export function followLeases(store: LeaseStore): FollowedLeases {
  const controller = new AbortController();
  const stop = new Error("the test is over");
  const followed = new Followed(async () => {
    controller.abort(stop);
    await reading;
  });
  const reading = (async () => {
    try {
      for await (const event of store.watch(controller.signal)) followed.add(event);
    } catch (error) {
      if (error !== stop) followed.failed(error as Error);
    }
  })();
  return followed;
}

class Followed implements FollowedLeases {
  readonly events: LeaseEvent[] = [];
  readonly leases = new Map<string, Lease>();
  readonly reasons = new Map<string, string>();
  readonly #end: () => Promise<void>;
  #failure: Error | null = null;
  #heard: () => void = () => {};

  constructor(end: () => Promise<void>) {
    this.#end = end;
  }

  get keys(): ReadonlySet<string> {
    return new Set([...this.leases.keys(), ...this.reasons.keys()]);
  }

  add(event: LeaseEvent): void {
    this.events.push(event);
    if (event.type === "snapshot") {
      this.leases.clear();
      this.reasons.clear();
    }
    const gone = event.type === "changes" ? event.removed : [];
    for (const record of event.type === "snapshot" ? event.records : event.changed) {
      this.#forget(record.key);
      if ("lease" in record) this.leases.set(record.key, record.lease);
      else this.reasons.set(record.key, record.reason);
    }
    gone.forEach((key) => this.#forget(key));
    this.#heard();
  }

  failed(error: Error): void {
    this.#failure = error;
    this.#heard();
  }

  async until(what: string, isSo: (it: FollowedLeases) => boolean): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    while (!isSo(this)) {
      if (this.#failure !== null) throw this.#failure;
      const left = deadline - performance.now();
      if (left <= 0) assert.fail(`waited in vain for ${what}; heard ${JSON.stringify(this.events)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#heard = () => (clearTimeout(timer), resolve());
      });
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
    if (this.#failure !== null) throw this.#failure;
  }

  #forget(key: string): void {
    this.leases.delete(key);
    this.reasons.delete(key);
  }
}
