/**
 * When the agent looks at the kernel again: at what an event names, from time to time at what no event tells of, and seldom at all.
 *
 * @module
 */

import { type Kind, KINDS, SILENT } from "../model/item.ts";
import type { Dirty } from "../model/kernel.ts";
import type { Alarm } from "./alarm.ts";
import type { Clock } from "./ports.ts";

/** Facts are read again at most so often, in milliseconds: every new pod is an event. */
const FACTS_PAUSE = 100;
/** An audit of everything catches what nobody told us; in milliseconds. */
const AUDIT = 5 * 60_000;
/** What the kernel tells nothing of is looked at so often, in milliseconds. */
const SILENCE = 10_000;

const ALL: readonly Dirty[] = ["facts", "routing", ...KINDS];

/** Keeps in mind what is to be looked at again, and wakes the agent for it. */
export class Lookout {
  readonly #alarm: Alarm;
  readonly #clock: Clock;
  readonly #mark: (kinds: Iterable<Dirty>) => void;
  #factsReadAt = -Infinity;
  #factsDue = true;
  #routingDue = true;
  /** It is known when to look at what the kernel tells nothing of. */
  #minded = false;

  /** `mark` is told what somebody may have changed. */
  constructor(alarm: Alarm, clock: Clock, mark: (kinds: Iterable<Dirty>) => void) {
    this.#alarm = alarm;
    this.#clock = clock;
    this.#mark = mark;
  }

  /** Facts are to be read again. */
  get factsDue(): boolean {
    return this.#factsDue;
  }

  /** Notes that facts are being read; says whether packets to other nodes may leave elsewhere than at the last time. */
  factsRead(): boolean {
    const routing = this.#routingDue;
    this.#factsDue = this.#routingDue = false;
    this.#factsReadAt = this.#clock.now();
    return routing;
  }

  /** Asks for the facts at once: what they are read for is another. */
  askForFacts(): void {
    this.#factsDue = this.#routingDue = true;
    this.#alarm.poke();
  }

  /** Something in the kernel may have changed. */
  heard(dirty: ReadonlySet<Dirty>): void {
    this.#mark(dirty);
    if (dirty.has("routing")) this.#routingDue = true;
    if (!dirty.has("facts") || dirty.size > 1) this.#alarm.poke();
    if (!dirty.has("facts")) return;
    const wait = this.#factsReadAt + FACTS_PAUSE - this.#clock.now();
    this.#alarm.set("facts", Math.max(0, wait), () => this.#factsDue = true);
  }

  /** Looks at everything some minutes after the last call. */
  audit(): void {
    this.#alarm.set("audit", AUDIT, () => this.heard(new Set(ALL)));
  }

  /** Looks soon at what the kernel tells nothing of, unless it is going to already. */
  mind(): void {
    if (this.#minded) return;
    this.#minded = true;
    this.#alarm.set("silence", SILENCE, () => {
      this.#minded = false;
      this.heard(new Set<Kind>(SILENT));
    });
  }
}
