/**
 * Keeps the traffic rules in place.
 *
 * Owns when to look, when to write and when to wait: it looks whenever the kernel tells of a change that may be one of our rules, and
 * else at the resync period; it writes only what differs, reads that back, and removes former rules once ours are in place. Whoever
 * keeps changing our rules is answered more and more slowly. It never removes rules when the agent stops.
 *
 * ```
 *            keep()                    read: all right
 *   idle ───────────► looking ◄──────────────────────────► waiting for a change, or the period
 *                      │   ▲                                      │
 *              differs │   │ read back                 changed    │
 *                      ▼   │            (at once; later if often) │
 *                     writing ◄──────────── looking ◄─────────────┘
 * ```
 *
 * @module
 */

import type { RulesetChange } from "../model/kernel.ts";
import { perform, type Run, type Step } from "./command.ts";
import { everythingOfOurs, type Firewall, firewallFor } from "./firewall.ts";
import type { Intent, PodRange } from "./rules.ts";

/** Time, as the manager needs it. */
export interface TrafficClock {
  /** Milliseconds from some fixed moment; never runs backwards. */
  now(): number;
  /** Calls back once, later; the returned function prevents that. */
  after(milliseconds: number, callback: () => void): () => void;
}

/**
 * Subscribes to changes of the kernel's nf_tables (NFNLGRP_NFTABLES). `null` means that changes may have been missed.
 *
 * @returns Ends the subscription.
 */
export type OnRulesetChange = (callback: (change: RulesetChange | null) => void) => () => void;

/** What the manager works with. */
export interface TrafficPorts {
  readonly run: Run;
  readonly clock: TrafficClock;
  /** `null` where the kernel does not tell. */
  readonly onRulesetChange: OnRulesetChange | null;
  /** Called after every change of the state. */
  readonly onState: (state: TrafficState) => void;
}

/** How the rules are. */
export interface TrafficState {
  /** Where they are held; `null` before that is known, and where no rules are wanted. */
  readonly held: Firewall["name"] | null;
  /** All wanted rules were there when last looked. */
  readonly inPlace: boolean;
  /** Rules of another mode and of a former flanneld are gone. */
  readonly clean: boolean;
  /** What is wrong now; `null` if nothing is. */
  readonly lastError: string | null;
  /** How often rules that had been in place were found changed, and were put right. */
  readonly repairs: number;
  /** What was done the last time, and who had made it necessary if that is known. */
  readonly lastRepair: string | null;
}

/** Where the kernel tells of changes, everything is read as seldom as this, in resync periods, but once a day. */
const TOLD_PERIODS = 60;
const DAY = 24 * 60 * 60 * 1000;
/** So many writes within {@linkcode FIGHT_WINDOW} are made at once; before each further one passes twice as long. */
const FREE_WRITES = 20;
const FIGHT_WINDOW = 60_000;
const FIRST_WAIT = 500;
/** We look no more often than this, since a look costs some milliseconds; less often while somebody fights us. */
const LOOK_SPACING = 100;
const FIGHT_SPACING = 1_000;
const FIRST_RETRY = 1_000;
const LONGEST_RETRY = 30_000;

/** One intent on its way into the kernel. */
interface Job {
  readonly intent: Intent;
  firewall: Firewall | null;
  /** The rules were in place once: what differs from then on was changed by somebody. */
  settled: boolean;
  clean: boolean;
}

/**
 * Keeps the rules of the latest intent in place until it is closed.
 *
 * @example Usage
 * ```ts ignore
 * const manager = new TrafficManager({ run, clock, onRulesetChange: null, onState: (state) => console.log(state.inPlace) });
 * manager.keep(intentOf(settings, ranges));
 * ```
 */
export class TrafficManager {
  readonly #ports: TrafficPorts;
  readonly #unsubscribe: () => void;
  #job: Job | null = null;
  #state: TrafficState = { held: null, inPlace: false, clean: false, lastError: null, repairs: 0, lastRepair: null };
  #running: Promise<void> | null = null;
  #again = false;
  #closed = false;
  #cancelTimer = () => {};
  #failures = 0;
  #lookedAt = -Infinity;
  /** When rules were written, as far back as {@linkcode FIGHT_WINDOW}. */
  #writes: number[] = [];
  #changedBy: string | null = null;

  /** Does nothing before {@linkcode TrafficManager.keep}. */
  constructor(ports: TrafficPorts) {
    this.#ports = ports;
    this.#unsubscribe = ports.onRulesetChange?.((change) => this.#heard(change)) ?? (() => {});
  }

  /** How the rules are. */
  get state(): TrafficState {
    return this.#state;
  }

  /** Puts rules in place and keeps them there, instead of those of any earlier intent. */
  keep(intent: Intent): void {
    const before = this.#job?.intent;
    // What we kept until now must not be taken for another agent's.
    const former = before === undefined ? intent.former : [...intent.former, ...before.ranges, ...before.former];
    this.#job = { intent: { ...intent, former: distinct(former) }, firewall: null, settled: false, clean: false };
    this.#failures = 0;
    this.#writes = [];
    this.#lookedAt = -Infinity;
    this.#set({ held: null, inPlace: false, clean: false, lastError: null });
    this.#look();
  }

  /** Stops looking, and waits for a change under way. The rules stay. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#cancelTimer();
    this.#unsubscribe();
    await this.#running;
  }

  #heard(change: RulesetChange | null): void {
    const firewall = this.#job?.firewall ?? null;
    if (firewall === null || (change !== null && !firewall.concerns(change))) return;
    this.#changedBy = change?.by ?? null;
    this.#look();
  }

  /** Looks as soon as may be: now, or once more after the pass that is under way. */
  #look(): void {
    if (this.#closed || this.#job === null) return;
    if (this.#running !== null) {
      this.#again = true;
      return;
    }
    const wait = this.#lookedAt + (this.#pause() > 0 ? FIGHT_SPACING : LOOK_SPACING) - this.#ports.clock.now();
    if (wait > 0) return this.#wakeIn(wait);
    this.#cancelTimer();
    this.#lookedAt = this.#ports.clock.now();
    this.#again = false;
    this.#running = this.#pass(this.#job).finally(() => {
      this.#running = null;
      if (this.#again) this.#look();
      else if (!this.#closed) this.#wakeIn(this.#period());
    });
  }

  #wakeIn(milliseconds: number): void {
    this.#cancelTimer();
    if (milliseconds < Infinity) this.#cancelTimer = this.#ports.clock.after(milliseconds, () => this.#look());
  }

  /** Milliseconds until the next look that nothing but time asks for. */
  #period(): number {
    const job = this.#job;
    const resync = Math.max(1, job?.intent.resync ?? 1) * 1000;
    if (this.#failures > 0) return this.#pause() || Math.min(FIRST_RETRY * 2 ** (this.#failures - 1), LONGEST_RETRY);
    if (job === null || job.firewall === null) return Infinity;
    return job.firewall.tells && this.#ports.onRulesetChange !== null ? Math.min(resync * TOLD_PERIODS, DAY) : resync;
  }

  /** Milliseconds until rules may be written again. */
  #pause(): number {
    const now = this.#ports.clock.now();
    this.#writes = this.#writes.filter((at) => at > now - FIGHT_WINDOW);
    const excess = this.#writes.length - FREE_WRITES;
    return excess < 0 ? 0 : Math.max(0, this.#writes.at(-1)! + FIRST_WAIT * 2 ** excess - now);
  }

  async #pass(job: Job): Promise<void> {
    try {
      if (wantsRules(job.intent)) await this.#ensure(job);
      if (!job.clean) await this.#clean(job);
      this.#failures = 0;
      this.#setFor(job, { inPlace: true, clean: true, lastError: null });
    } catch (error) {
      this.#failures++;
      this.#setFor(job, { lastError: error instanceof Error ? error.message : String(error) });
    }
  }

  async #ensure(job: Job): Promise<void> {
    const firewall = job.firewall ??= await firewallFor(this.#ports.run, job.intent);
    const by = this.#changedBy; // our own writing will be told of as well
    const steps = await firewall.steps();
    if (steps.length > 0) {
      this.#setFor(job, { held: firewall.name, inPlace: false });
      await this.#write(firewall, steps, by === null ? "" : ` (last by ${by})`);
      if (job.settled) {
        const lastRepair = namesOf(steps) + (by === null ? "" : `, after a change by ${by}`);
        this.#setFor(job, { repairs: this.#state.repairs + 1, lastRepair });
      }
    }
    this.#changedBy = null;
    job.settled = true;
    this.#setFor(job, { held: firewall.name });
  }

  async #write(firewall: Firewall, steps: readonly Step[], by: string): Promise<void> {
    const pause = this.#pause();
    if (pause > 0) {
      throw new Error(
        `Traffic rules in ${firewall.name} were put in place ${this.#writes.length} times within a minute and changed each time${by}: ` +
          `find out who does that; next repair in ${(pause / 1000).toFixed(1)} s`,
      );
    }
    await perform(this.#ports.run, steps);
    this.#writes.push(this.#ports.clock.now());
    const left = await firewall.steps();
    if (left.length === 0) return;
    throw new Error(`Traffic rules in ${firewall.name} are not as they were written just before${by}: could not ${namesOf(left)}`);
  }

  async #clean(job: Job): Promise<void> {
    this.#setFor(job, { inPlace: true });
    const { run } = this.#ports;
    const { ranges, former } = job.intent;
    await perform(run, await (job.firewall?.leftovers() ?? everythingOfOurs(run, [...ranges, ...former])));
    job.clean = true;
  }

  /** Changes the state, unless another intent has come meanwhile. */
  #setFor(job: Job, part: Partial<TrafficState>): void {
    if (job === this.#job) this.#set(part);
  }

  #set(part: Partial<TrafficState>): void {
    const before = this.#state;
    const after = { ...before, ...part };
    if ((Object.keys(after) as (keyof TrafficState)[]).every((key) => before[key] === after[key])) return;
    this.#state = after;
    this.#ports.onState(after);
  }
}

function wantsRules(intent: Intent): boolean {
  return intent.families.some(({ masquerade, forward }) => masquerade.length + forward.length > 0);
}

function namesOf(steps: readonly Step[]): string {
  return steps.map(({ what }) => what).join(" and ");
}

function distinct(ranges: readonly PodRange[]): PodRange[] {
  return [...new Map(ranges.map((range) => [`${range.network} ${range.subnet}`, range])).values()];
}
