/**
 * The network configuration as the store tells it: followed, checked and kept until a better one comes.
 *
 * @module
 */

import type { Ownership } from "../model/kernel.ts";
import type { Network } from "../model/lease.ts";
import type { MacTable } from "../model/backend_port.ts";
import type { AgentOptions } from "./options.ts";
import { endless } from "./patience.ts";
import { type Setup, setupOf, StartError } from "./setup.ts";

/** What following the configuration needs. */
export type ConfigurationOptions = Pick<AgentOptions, "store" | "settings" | "backends" | "clock" | "chance" | "log"> & {
  readonly macs: MacTable;
};

/** The latest configuration that is right. */
export class Configuration {
  readonly #o: ConfigurationOptions;
  readonly #changed: () => void;
  readonly #answered: () => void;
  #setup: Setup | null = null;
  #problem: string | null = null;
  #fatal: StartError | null = null;
  #former: Ownership["networks"] = [];

  /** `changed` is called whenever there is something new to know, `answered` when the backend has answered or failed. */
  constructor(options: ConfigurationOptions, changed: () => void, answered: () => void) {
    this.#o = options;
    this.#changed = changed;
    this.#answered = answered;
  }

  /** What is in force; `null` before there is one. */
  get setup(): Setup | null {
    return this.#setup;
  }

  /** Why the latest configuration is not in force; `null` if it is. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Why the agent can not start at all. */
  get fatal(): StartError | null {
    return this.#fatal;
  }

  /** The networks that were in force before, in this run: their items may still be in the kernel. */
  get former(): Ownership["networks"] {
    return this.#former;
  }

  /** Follows the configuration until the signal ends it. */
  async follow(signal: AbortSignal): Promise<void> {
    const { store, clock, chance } = this.#o;
    // What ends the agent is told by whoever runs it.
    const log: AgentOptions["log"] = (level, message) => this.#fatal === null && this.#o.log(level, message);
    const note = (problem: string) => this.#refuse(problem);
    for await (const text of endless(() => store.networkConfig(signal), { clock, chance, log, note }, signal)) {
      try {
        const input = { ...this.#o, storeKind: store.kind, changed: this.#answered };
        this.#take(await setupOf(text, input, this.#setup));
      } catch (error) {
        const { message } = error as Error;
        this.#refuse(message);
        log("error", message);
      }
    }
  }

  #take(setup: Setup): void {
    if (this.#setup !== null) this.#former = [...this.#former, ...rangesOf(this.#setup.network)];
    this.#setup = setup;
    this.#problem = null;
    this.#changed();
  }

  /** A file that is wrong from the start stays wrong; in etcd it may be mended. */
  #refuse(problem: string): void {
    this.#problem = problem;
    if (this.#setup === null && this.#o.store.kind !== "etcd") this.#fatal = new StartError(problem);
    this.#changed();
  }
}

/** The ranges of a network, as ownership knows them. */
export function rangesOf(network: Network): Ownership["networks"] {
  return network.ranges.map((range) => ({ network: range.network, length: range.allocation?.length ?? null }));
}
