/**
 * Calls a backend's effects: one at a time, each within its limit, again after a growing pause when it fails.
 *
 * It is told what the node and its peers are now, and calls what that needs: `start` before anything is published, `ready` when the
 * node's items are in place, `peers` for what has changed, `health` every now and then, `stop` at the end. A failure is state.
 *
 * @module
 */

import type { BareSide, NodeSide } from "../model/backend.ts";
import type { BackendPort } from "../model/backend_port.ts";
import { EFFECT_LIMITS, type EffectContext, type EffectPeer, HEALTH_EVERY, PEERS_AT_ONCE } from "../model/effects.ts";
import type { Plan } from "../reconcile/plan.ts";
import { type Call, failureAfter, keyOf, Progress } from "./effect_progress.ts";
import { rest } from "./patience.ts";
import type { Clock, Log } from "./ports.ts";

/** What calling needs. */
export interface EffectsOptions {
  /** The node's name; known before anything is called. */
  readonly node: () => string | null;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when state or problems have changed. */
  readonly changed: () => void;
}

/** Calls the effects of the backend in force. */
export class EffectCalls {
  readonly #o: EffectsOptions;
  #now: Progress | null = null;
  /** Those that the agent has left, to be stopped. */
  readonly #left: Progress[] = [];
  #wake: () => void = () => {};
  /** Somebody has said something new since the last look. */
  #news = false;

  constructor(options: EffectsOptions) {
    this.#o = options;
  }

  /** What `start` resolved with for the backend in force; `null` before it has. */
  get state(): { readonly value: unknown } | null {
    const started = this.#now?.started ?? null;
    return started === null ? null : { value: started.state };
  }

  /** What is wrong; `null` if nothing is. */
  get problem(): string | null {
    const [call, failure] = [...this.#now?.failures ?? []][0] ?? [];
    if (failure !== undefined) return `its ${call} failed: ${failure.reason}`;
    return this.#now?.health ?? null;
  }

  /** Why the node is not ready; `null` if it is as far as effects are concerned. */
  get unready(): string | null {
    const now = this.#now;
    if (now === null || now.backend.effects.ready === undefined) return null;
    if (now.readyFor !== "" && now.readyFor === keyOf(now.sides)) return null;
    return now.failures.get("ready")?.reason ?? "its effects are not ready yet";
  }

  /** What a peer still needs besides its items; `null` if nothing. */
  missing(key: string): { readonly failed: boolean; readonly reason: string } | null {
    const target = this.#now?.wanted.get(key);
    if (this.#now === null || target === undefined) return null;
    const failure = this.#now.peerFailures.get(key);
    if (failure !== undefined) return { failed: true, reason: failure.reason };
    if (this.#now.done.get(key)?.essence === target.essence) return null;
    return { failed: false, reason: "its effects are under way" };
  }

  /** Says which backend is in force, and what the node is before it has a lease. */
  prepare(backend: BackendPort, sides: readonly BareSide[]): void {
    if (this.#now?.backend !== backend || this.#now.incarnation !== backend.incarnation) {
      if (this.#now !== null) this.#left.push(this.#now);
      this.#now = new Progress(backend, this.#now);
    }
    this.#now!.bare = sides;
    this.#tell();
  }

  /**
   * Says what the node is now that its own items are in place, and which peers are planned.
   *
   * @param full A full list of leases has been read.
   */
  follow(sides: readonly NodeSide[], plan: Pick<Plan, "peers">, full: boolean): void {
    const now = this.#now;
    if (now === null) return;
    now.sides = sides;
    if (now.backend.effects.peers !== undefined && plan.peers !== now.planned) {
      now.planned = plan.peers;
      now.want(now.planned);
    }
    now.full = full;
    this.#tell();
  }

  /** Calls what is needed until the signal ends it; then `stop`. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const at = this.#o.clock.now();
      this.#news = false;
      if (await this.#step(signal, at)) this.#o.changed();
      else await this.#rest(at, signal);
    }
    if (this.#now !== null) this.#left.push(this.#now);
    this.#now = null;
    while (this.#left.length > 0) await this.#stop(this.#left.shift()!);
  }

  #tell(): void {
    this.#news = true;
    this.#wake();
  }

  /** Makes the next call, if there is one to make now. */
  async #step(signal: AbortSignal, at: number): Promise<boolean> {
    const left = this.#left.shift();
    if (left !== undefined) {
      await this.#stop(left);
      return true;
    }
    const now = this.#now;
    if (now === null || now.bare.length === 0) return false;
    const { start, ready, health } = now.backend.effects;
    if (Object.keys(now.backend.effects).length === 0) return false;
    const bareKey = keyOf(now.bare);
    if (start !== undefined && now.started?.key !== bareKey) {
      return await this.#call(now, "start", signal, at, async (context) => {
        now.started = { key: bareKey, state: await start(context, this.#nodeOf(now.bare)) };
        now.readyFor = "";
      });
    }
    if (now.sides.length === 0) return false;
    const { sides } = now;
    const sidesKey = keyOf(sides);
    if (now.readyFor !== sidesKey) {
      return await this.#call(now, "ready", signal, at, async (context) => {
        await ready?.(context, this.#nodeOf(sides));
        now.readyFor = sidesKey;
        now.healthAt = at + HEALTH_EVERY;
        now.done.clear(); // the node is another
        now.told = false;
      });
    }
    if (await this.#peers(now, signal, at)) return true;
    if (health === undefined || at < now.healthAt) return false;
    now.healthAt = at + HEALTH_EVERY;
    return await this.#call(now, "health", signal, at, async (context) => {
      now.health = await health(context, this.#nodeOf(sides));
    });
  }

  async #peers(now: Progress, signal: AbortSignal, at: number): Promise<boolean> {
    const { peers } = now.backend.effects;
    if (peers === undefined) return false;
    const drop = [...now.done.values()].filter(({ peer }) => !now.wanted.has(peer.key)).slice(0, PEERS_AT_ONCE);
    const due = [...now.wanted.values()].filter(({ peer: { key }, essence }) =>
      now.done.get(key)?.essence !== essence && (now.peerFailures.get(key)?.retryAt ?? 0) <= at
    );
    const put = due.slice(0, PEERS_AT_ONCE - drop.length);
    if (put.length + drop.length === 0 && (now.told || !now.full)) return false;
    const { full } = now;
    const all = new Map<string, EffectPeer>(now.waiting.map((key) => [key, { key, sides: [] }]));
    for (const [key, { peer }] of now.wanted) all.set(key, peer);
    return await this.#call(now, "peers", signal, at, async (context) => {
      const changes = { put: put.map(({ peer }) => peer), drop: drop.map(({ peer }) => peer), all };
      const failures = await peers(context, changes, this.#nodeOf(now.sides)) ?? new Map<string, string>();
      const after = this.#o.clock.now();
      now.told ||= full;
      drop.forEach(({ peer }) => now.done.delete(peer.key));
      for (const target of put) {
        const { key } = target.peer;
        const reason = failures.get(key);
        if (reason !== undefined) {
          now.peerFailures.set(key, failureAfter(now.peerFailures.get(key), reason, after));
        } else {
          now.peerFailures.delete(key);
          now.done.set(key, target);
        }
      }
    });
  }

  /** Makes a call, unless it failed and its pause is not over. */
  async #call(
    now: Progress,
    call: Call,
    signal: AbortSignal,
    at: number,
    effect: (context: EffectContext) => Promise<void>,
  ): Promise<boolean> {
    const before = now.failures.get(call);
    if (before !== undefined && before.retryAt > at) return false;
    try {
      await this.#within(now, call, signal, effect);
      now.failures.delete(call);
    } catch (error) {
      if (signal.aborted) return true;
      const reason = messageOf(error);
      if (before?.reason !== reason) this.#o.log("error", `backend ${now.backend.name}: its ${call} failed: ${reason}`);
      now.failures.set(call, failureAfter(before, reason, this.#o.clock.now()));
    }
    return true;
  }

  async #within(
    { backend: { name } }: Progress,
    call: Call,
    signal: AbortSignal | null,
    effect: (context: EffectContext) => Promise<void>,
  ): Promise<void> {
    const limit = EFFECT_LIMITS[call];
    const over = new AbortController();
    const cancel = this.#o.clock.after(limit, () => over.abort(new Error(`it did not end within ${limit / 1000} s`)));
    const all = signal === null ? over.signal : AbortSignal.any([signal, over.signal]);
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(all.reason);
    all.addEventListener("abort", abort);
    try {
      const context: EffectContext = {
        signal: all,
        log: (level, message) => this.#o.log(level, `backend ${name}: ${message}`),
      };
      await Promise.race([effect(context), aborted.promise]);
    } finally {
      cancel();
      all.removeEventListener("abort", abort);
    }
  }

  async #stop(left: Progress): Promise<void> {
    const { backend, bare, incarnation } = left;
    const { stop } = backend.effects;
    try {
      if (stop !== undefined && bare.length > 0 && incarnation === backend.incarnation) {
        await this.#within(left, "stop", null, (context) => stop(context, this.#nodeOf(bare)));
      }
    } catch (error) {
      this.#o.log("error", `backend ${backend.name}: its stop failed: ${messageOf(error)}`);
    } finally {
      if (this.#now?.backend !== backend) backend.close();
    }
  }

  #nodeOf<Side>(sides: readonly Side[]) {
    return { name: this.#o.node() ?? "", sides };
  }

  /** Waits until somebody says something new, or a pause is over. */
  async #rest(at: number, signal: AbortSignal): Promise<void> {
    if (this.#news) return;
    const now = this.#now;
    const times = [...now?.failures.values() ?? [], ...now?.peerFailures.values() ?? []].map(({ retryAt }) => retryAt);
    if (now?.backend.effects.health !== undefined && now.readyFor !== "") times.push(now.healthAt);
    const next = Math.min(...times.filter((time) => time > at));
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    await rest(this.#o.clock, Math.min(next - at, 2 ** 31 - 1), AbortSignal.any([signal, woken.signal]));
    this.#wake = () => {};
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
