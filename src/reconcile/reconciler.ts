/**
 * Brings the kernel to the plan, and keeps it there.
 *
 * Owns what the kernel was last seen to hold, and what failed. It looks only at kinds that an event marked dirty; its own writes need
 * no second look unless they failed. A failing item stays pending and is tried again with growing pauses; one that somebody keeps
 * changing is put back at once a few times, then with pauses too. Nothing is dropped before the first full list of leases.
 *
 * @module
 */

import type { Cidr } from "../model/ip.ts";
import { type Change, describe, type Item, keyOf, type Kind, KINDS, same } from "../model/item.ts";
import type { Dirty, Kernel, Observation, Outcome, Ownership } from "../model/kernel.ts";
import { diff } from "./diff.ts";
import { Fights, pauseAfter } from "./fights.ts";
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
  /** Items that are in the kernel as planned. */
  readonly inSync: number;
  /** Changes made, one line each. */
  readonly changed: readonly string[];
  /** What failed for the first time, one line each. */
  readonly failed: readonly string[];
  /** When to come again, for what failed and for what may go by then; `null` if there is neither. */
  readonly retryAt: number | null;
}

/** What should be there, and how it is known again. */
export interface Goal {
  readonly items: ReadonlyMap<string, Item>;
  readonly own: Ownership;
  /** Subnets of peers for which nothing is planned now, but whose working path stays. */
  readonly waiting: readonly Cidr[];
  /** A full list of leases has been read: what is not planned is stale. */
  readonly dropStale: boolean;
}

/**
 * What packets under way may still need stays so much longer, in milliseconds: a packet that was routed before a route changed asks for
 * neighbour and FDB entry after it.
 */
const LINGER = 1000;
const LINGERING: ReadonlySet<Kind> = new Set<Kind>(["link", "address", "fdb", "neighbour"]);

/** Looks and changes in one reconciliation at the most: a fight is not settled by going round. */
const PASSES = 4;

/** Keeps one kernel to its plan. */
export class Reconciler {
  readonly #kernel: Kernel;
  readonly #dirty = new Set<Kind>(KINDS);
  readonly #observed = new Map<string, Item>();
  readonly #foreign = new Map<string, string>();
  readonly #failures = new Map<string, Failure>();
  readonly #fights = new Fights();
  /** Since when something is not needed any more, by key. */
  readonly #unneeded = new Map<string, number>();
  /** What was in sync after the last reconciliation: to put that again is a repair. */
  #settled: ReadonlyMap<string, Item> = new Map();
  #complete = true;

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
    return this.#observed;
  }

  /** Notes that some kinds must be looked at again. */
  mark(kinds: Iterable<Dirty>): void {
    for (const kind of kinds) if (kind !== "facts") this.#dirty.add(kind);
  }

  /** Looks at what is dirty; the caller may plan with what was seen. */
  observe(own: Ownership): void {
    if (this.#dirty.size === 0) return;
    const kinds = new Set(this.#dirty);
    this.#dirty.clear();
    this.#remember(kinds, this.#kernel.observe(kinds, own));
  }

  /**
   * What would be changed now.
   *
   * @param now Milliseconds of the caller's clock.
   */
  changes(goal: Goal, now: number): Change[] {
    this.#forgetFailures(goal);
    for (const key of this.#unneeded.keys()) if (goal.items.has(key) || !this.#observed.has(key)) this.#unneeded.delete(key);
    const kept = retained(this.#observed, goal.waiting);
    return diff(goal.items, this.#observed).filter((change) =>
      change.op === "put" ? this.#mayPut(change, now) : !kept.has(keyOf(change.item)) && this.#mayDrop(change, goal, now)
    );
  }

  /**
   * Makes the kernel hold the goal, as far as it lets us.
   *
   * @param now Milliseconds of the caller's clock.
   */
  async reconcile(goal: Goal, now: number): Promise<Result> {
    const changed: string[] = [];
    const known = new Set(this.#failures.keys());
    for (let pass = 0; pass < PASSES; pass++) {
      this.observe(goal.own);
      const changes = this.changes(goal, now);
      if (changes.length === 0) break;
      for (const outcome of await this.#kernel.apply(changes)) this.#note(outcome, now, changed);
      if (this.#dirty.size === 0) break;
    }
    return this.#result(goal, changed, known);
  }

  #remember(kinds: ReadonlySet<Kind>, { items, foreign, complete }: Observation): void {
    for (const table of [this.#observed, this.#foreign]) {
      for (const key of table.keys()) if (kinds.has(kindOf(key))) table.delete(key);
    }
    for (const [key, item] of items) this.#observed.set(key, item);
    for (const [key, holder] of foreign) this.#foreign.set(key, holder);
    this.#complete = complete;
    if (!complete) kinds.forEach((kind) => this.#dirty.add(kind));
  }

  #forgetFailures({ items }: Goal): void {
    for (const key of this.#failures.keys()) {
      const wanted = items.get(key);
      const found = this.#observed.get(key);
      const settled = wanted === undefined ? found === undefined : found !== undefined && same(wanted, found);
      if (settled) this.#failures.delete(key);
    }
  }

  #mayDrop({ item }: Change, { dropStale }: Goal, now: number): boolean {
    // A filter that was made loose stays so: others may need it by now.
    if (!dropStale || !this.#complete || item.kind === "reverse-path") return false;
    const key = keyOf(item);
    if (LINGERING.has(item.kind)) {
      if (!this.#unneeded.has(key)) this.#unneeded.set(key, now);
      if (now - this.#unneeded.get(key)! < LINGER) return false;
    }
    return (this.#failures.get(key)?.retryAt ?? 0) <= now;
  }

  #mayPut({ item, ...change }: Change, now: number): boolean {
    const key = keyOf(item);
    const failure = this.#failures.get(key);
    if (failure !== undefined && failure.retryAt > now && same(failure.item, item)) return false;
    const holder = this.#foreign.get(key);
    if (holder !== undefined) {
      this.#fail(item, holder, now);
      return false;
    }
    const until = this.#isRepair(item) ? this.#fights.pausedUntil(key) : 0;
    if (until <= now) return true;
    const found = "old" in change && change.old !== null ? `changed it to "${describe(change.old)}"` : "deleted it";
    const reason = `somebody keeps undoing ${describe(item)} and has just ${found}`;
    this.#failures.set(key, { item, reason, attempts: 1, retryAt: until });
    return false;
  }

  #isRepair(item: Item): boolean {
    const settled = this.#settled.get(keyOf(item));
    return settled !== undefined && same(settled, item);
  }

  #note({ change, error, foreign }: Outcome, now: number, changed: string[]): void {
    const { item } = change;
    const key = keyOf(item);
    if (error !== null) {
      const first = !this.#failures.has(key);
      this.#fail(item, error, now);
      if (first && !foreign) this.#dirty.add(item.kind); // something is not as it was thought to be
      return;
    }
    this.#failures.delete(key);
    if (change.op === "drop") {
      this.#observed.delete(key);
      changed.push(`deleted ${describe(item)}`);
    } else {
      if (this.#isRepair(item)) this.#fights.repaired(key, now);
      this.#observed.set(key, item);
      changed.push(`${change.old === null ? "added" : "replaced"} ${describe(item)}`);
    }
    if (item.kind === "link") this.mark(KINDS); // a device takes with it what is on it
  }

  #fail(item: Item, reason: string, now: number): void {
    const key = keyOf(item);
    const before = this.#failures.get(key);
    const attempts = before !== undefined && same(before.item, item) ? before.attempts + 1 : 1;
    this.#failures.set(key, { item, reason, attempts, retryAt: now + pauseAfter(attempts) });
  }

  #result({ items }: Goal, changed: readonly string[], known: ReadonlySet<string>): Result {
    const settled = new Map<string, Item>();
    for (const [key, item] of items) {
      const found = this.#observed.get(key);
      if (found !== undefined && same(item, found)) settled.set(key, item);
    }
    this.#settled = settled;
    const retries = [...[...this.#failures.values()].map(({ retryAt }) => retryAt), ...this.#lingering()];
    const failed = [...this.#failures].flatMap(([key, { reason }]) => known.has(key) ? [] : [reason]);
    return { inSync: settled.size, changed, failed, retryAt: retries.length === 0 ? null : Math.min(...retries) };
  }

  /** When what lingers may go: all at once, after the last. */
  #lingering(): number[] {
    return this.#unneeded.size === 0 ? [] : [Math.max(...this.#unneeded.values()) + LINGER];
  }
}

function kindOf(key: string): Kind {
  return key.slice(0, key.indexOf(" ")) as Kind;
}
