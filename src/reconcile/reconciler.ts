/**
 * Brings the kernel to the plan, and keeps it there.
 *
 * Owns what the kernel was last seen to hold, and what failed. It looks only at kinds that an event marked dirty; its own writes need
 * no second look unless they failed. A failing item stays pending and is tried again with growing pauses; one that somebody keeps
 * changing is put back at once a few times, then with pauses too. Nothing is dropped before the first full list of leases.
 *
 * @module
 */

import { type Change, describe, type Item, type Kind, KINDS, same } from "../model/item.ts";
import type { Dirty, Kernel, Ownership, Refusal } from "../model/kernel.ts";
import { diff, type KeyedChange } from "./diff.ts";
import { Fights, pauseAfter } from "./fights.ts";
import { kindOf, Ledger } from "./ledger.ts";
import type { Plan } from "./plan.ts";
import { retained } from "./retain.ts";

/** An item that is not in the kernel as planned. */
export interface Failure {
  readonly item: Item;
  readonly reason: string;
  readonly attempts: number;
  /** When it is tried again, in milliseconds of the caller's clock. */
  readonly retryAt: number;
}

/** What a reconciliation came to. */
export interface Result {
  /** Changes made, in order. */
  readonly changed: readonly Change[];
  /** What failed for the first time, one line each. */
  readonly failed: readonly string[];
  /** When to come again, for what failed and for what may go by then; `null` if there is neither. */
  readonly retryAt: number | null;
}

/** What should be there, and how it is known again. */
export interface Goal {
  readonly plan: Pick<Plan, "items" | "waiting" | "version" | "touched">;
  readonly own: Ownership;
  /** A full list of leases has been read: what is not planned is stale. */
  readonly dropStale: boolean;
}

/**
 * What may still be needed stays so much longer, in milliseconds. A packet that was routed before a route changed asks for neighbour and
 * FDB entry after it; and other nodes go on sending to our device until they have followed a change that our lease told them of.
 */
const LINGER: Readonly<Partial<Record<Kind, number>>> = { link: 5000, address: 5000, fdb: 1000, neighbour: 1000 };

/** Looks and changes in one reconciliation at the most: a fight is not settled by going round. */
const PASSES = 4;
/** Tables that changed while they were read are read again after so long, if no event comes first, in milliseconds. */
const LOOK_AGAIN = 1000;

/** Keeps one kernel to its plan. */
export class Reconciler {
  readonly #kernel: Kernel;
  readonly #ledger = new Ledger();
  readonly #dirty = new Set<Kind>(KINDS);
  /** Kinds of which somebody has changed something: what failed may work now. */
  readonly #stirred = new Set<Kind>();
  readonly #foreign = new Map<string, string>();
  readonly #failures = new Map<string, Failure>();
  readonly #fights = new Fights();
  /** When something that is not needed any more may go, by key. */
  readonly #lingering = new Map<string, number>();
  /** Keys of what was in place until somebody changed it: to put that again is a repair. */
  readonly #harmed = new Set<string>();
  #complete = true;
  #version = -1;
  #ownKey = "";

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Items that somebody else changed or deleted and that were put back. */
  get repairs(): number {
    return this.#fights.total;
  }

  /** What failed, by key. */
  get failures(): ReadonlyMap<string, Failure> {
    return this.#failures;
  }

  /** What others hold, by key, with a description. */
  get foreign(): ReadonlyMap<string, string> {
    return this.#foreign;
  }

  /** What the kernel was last seen to hold of ours, by key. */
  get observed(): ReadonlyMap<string, Item> {
    return this.#ledger.found;
  }

  /** The keys under which the kernel does not hold what the goal says. */
  get differing(): ReadonlySet<string> {
    return this.#ledger.differing;
  }

  /** Notes that somebody has changed something of some kinds: they are looked at again, and what failed is tried again. */
  mark(kinds: Iterable<Dirty>): void {
    for (const kind of kinds) {
      if (kind === "facts" || kind === "routing") continue;
      this.#dirty.add(kind);
      this.#stirred.add(kind);
    }
  }

  /** Looks at what is dirty; the caller may plan with what was seen. */
  observe(own: Ownership): void {
    const key = JSON.stringify([own.links, own.networks, own.reversePath, own.adopts]);
    if (key !== this.#ownKey) this.#soil(KINDS); // something else is ours now
    this.#ownKey = key;
    for (const key of this.#foreign.keys()) {
      if (own.nexthops.has(Number(/^nexthop (\d+)$/.exec(key)?.[1]))) this.#soil(["nexthop"]);
    }
    this.#look(own).forEach((key) => this.#harmed.add(key));
  }

  /**
   * What would be changed now.
   *
   * @param now Milliseconds of the caller's clock.
   */
  changes(goal: Goal, now: number): KeyedChange[] {
    this.#want(goal.plan);
    this.#forget();
    const stirred = new Set(this.#stirred);
    this.#stirred.clear();
    let kept: ReadonlySet<string> | null = null;
    const keys = [...this.#ledger.differing].filter((key) => (this.#lingering.get(key) ?? 0) <= now);
    return diff(goal.plan.items, this.#ledger.found, keys).filter((change) => {
      if (change.op === "put") return this.#mayPut(change, now, stirred.has(change.item.kind));
      kept ??= retained(this.#ledger.found, goal.plan.waiting);
      return !kept.has(change.key) && this.#mayDrop(change, goal, now);
    });
  }

  /**
   * Makes the kernel hold the goal, as far as it lets us.
   *
   * @param now Milliseconds of the caller's clock.
   */
  async reconcile(goal: Goal, now: number): Promise<Result> {
    const changed: Change[] = [];
    const known = new Set(this.#failures.keys());
    this.observe(goal.own);
    for (let pass = 1; pass <= PASSES; pass++) {
      const changes = this.changes(goal, now);
      if (changes.length > 0) await this.#apply(changes, now, changed);
      if (this.#dirty.size === 0 || pass === PASSES) break;
      this.#look(goal.own);
    }
    const failed = [...this.#failures].flatMap(([key, { reason }]) => known.has(key) ? [] : [reason]);
    return { changed, failed, retryAt: this.#retryAt(now) };
  }

  async #apply(changes: readonly KeyedChange[], now: number, changed: Change[]): Promise<void> {
    const refusals = await this.#kernel.apply(changes).catch((error) => {
      this.#soil(KINDS); // who knows what was done
      throw error;
    });
    for (const change of changes) {
      const refusal = refusals.get(change);
      if (refusal !== undefined) this.#noteRefusal(change, refusal, now);
      else {
        this.#noteDone(change, now);
        changed.push(change);
      }
    }
  }

  #soil(kinds: Iterable<Kind>): void {
    for (const kind of kinds) this.#dirty.add(kind);
  }

  /** Looks at what is dirty; tells what was in place before, and is no more. */
  #look(own: Ownership): readonly string[] {
    if (this.#dirty.size === 0) return [];
    const kinds = new Set(this.#dirty);
    const { items, foreign, complete } = this.#kernel.observe(kinds, kinds.has("nexthop") ? this.#withNexthops(own) : own);
    for (const key of this.#foreign.keys()) if (kinds.has(kindOf(key))) this.#foreign.delete(key);
    for (const [key, holder] of foreign) this.#foreign.set(key, holder);
    this.#complete = complete;
    if (complete) this.#dirty.clear();
    return this.#ledger.look(kinds, items);
  }

  /** A nexthop that was ours stays so until it is dropped, although its peer and its route are gone. */
  #withNexthops(own: Ownership): Ownership {
    const nexthops = new Set(own.nexthops);
    for (const item of this.#ledger.found.values()) if (item.kind === "nexthop") nexthops.add(item.id);
    return { ...own, nexthops };
  }

  #want({ items, version, touched }: Goal["plan"]): void {
    if (version === this.#version && items === this.#ledger.wanted) return;
    const known = version === this.#version + 1 && items === this.#ledger.wanted ? touched : null;
    this.#ledger.want(items, known);
    if (known === null) this.#harmed.clear();
    else known.forEach((key) => this.#harmed.delete(key));
    for (const key of known ?? this.#lingering.keys()) if (items.has(key)) this.#lingering.delete(key);
    this.#version = version;
  }

  /** Forgets what has settled itself. */
  #forget(): void {
    const { differing } = this.#ledger;
    for (const key of this.#failures.keys()) if (!differing.has(key)) this.#failures.delete(key);
    for (const key of this.#harmed) if (!differing.has(key)) this.#harmed.delete(key);
    for (const key of this.#lingering.keys()) if (!differing.has(key)) this.#lingering.delete(key);
  }

  #mayDrop({ key, item }: KeyedChange, { dropStale }: Goal, now: number): boolean {
    if (!dropStale || !this.#complete) return false;
    const linger = LINGER[item.kind];
    if (linger !== undefined && !this.#lingering.has(key)) {
      this.#lingering.set(key, now + linger);
      return false;
    }
    return (this.#failures.get(key)?.retryAt ?? 0) <= now;
  }

  #mayPut(change: KeyedChange, now: number, stirred: boolean): boolean {
    if (this.#failures.size + this.#foreign.size + this.#harmed.size === 0) return true;
    const { key, item } = change;
    const failure = this.#failures.get(key);
    if (!stirred && failure !== undefined && failure.retryAt > now && same(failure.item, item)) return false;
    const holder = this.#foreign.get(key);
    if (holder !== undefined) {
      this.#fail(key, item, holder, now);
      return false;
    }
    const until = this.#harmed.has(key) ? this.#fights.pausedUntil(key) : 0;
    if (until <= now) return true;
    const found = "old" in change && change.old !== null ? `changed it to "${describe(change.old)}"` : "deleted it";
    const reason = `somebody keeps undoing ${describe(item)} and has just ${found}`;
    this.#failures.set(key, { item, reason, attempts: 1, retryAt: until });
    return false;
  }

  #noteRefusal({ key, item }: KeyedChange, { error, foreign }: Refusal, now: number): void {
    const first = !this.#failures.has(key);
    this.#fail(key, item, error, now);
    if (first && !foreign) this.#soil([item.kind]); // something is not as it was thought to be
  }

  #noteDone({ op, key, item }: KeyedChange, now: number): void {
    this.#failures.delete(key);
    if (op === "drop") this.#ledger.drop(key);
    else {
      this.#ledger.put(key, item);
      if (this.#harmed.delete(key)) this.#fights.repaired(key, now);
    }
    if (item.kind === "link") this.#soil(KINDS); // a device takes with it what is on it
  }

  #fail(key: string, item: Item, reason: string, now: number): void {
    const before = this.#failures.get(key);
    const attempts = before !== undefined && same(before.item, item) ? before.attempts + 1 : 1;
    this.#failures.set(key, { item, reason, attempts, retryAt: now + pauseAfter(attempts) });
  }

  #retryAt(now: number): number | null {
    let at = this.#dirty.size > 0 ? now + LOOK_AGAIN : Infinity;
    for (const { retryAt } of this.#failures.values()) at = Math.min(at, retryAt);
    const due = new Map<Kind, number>(); // what lingers goes all at once, after the last of its kind; what stays then is a failure
    for (const [key, when] of this.#lingering) {
      const kind = kindOf(key);
      due.set(kind, Math.max(due.get(kind) ?? -Infinity, when));
    }
    for (const when of due.values()) if (when > now) at = Math.min(at, when);
    return at === Infinity ? null : at;
  }
}
