/**
 * subnet.env, as the agent keeps it: read once when it starts, and written when it shall say something else.
 *
 * @module
 */

import { parseSubnetEnv, previousSubnets, renderSubnetEnv, type SubnetEnv } from "../config/subnet_env.ts";
import { type Cidr, familyOf, lengthOf } from "../model/ip.ts";
import type { Ownership } from "../model/kernel.ts";
import type { Log, SubnetFile } from "./ports.ts";

/** What the last run left in the file. */
export interface Former {
  /** The subnets to ask for again. */
  readonly subnets: readonly Cidr[];
  /** The networks whose items may still be in the kernel. */
  readonly networks: Ownership["networks"];
}

/** The keeper of the file. */
export class EnvFile {
  readonly #file: SubnetFile;
  readonly #path: string;
  readonly #log: Log;
  #text: string | null = null;
  #problem: string | null = "subnet.env has not been written yet";

  /** The path is for messages. */
  constructor(file: SubnetFile, path: string, log: Log) {
    this.#file = file;
    this.#path = path;
    this.#log = log;
  }

  /** Why the file does not say what it should; `null` if it does. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Reads what the last run left. */
  async read(): Promise<Former> {
    this.#text = await this.#file.read();
    if (this.#text === null) return { subnets: [], networks: [] };
    return { subnets: previousSubnets(this.#text), networks: this.#networks(this.#text) };
  }

  /** Says why the file can not be written yet. */
  wait(reason: string): void {
    this.#problem = reason;
  }

  /**
   * Writes the file unless it says all that already.
   *
   * @returns Whether it is written; the reason is logged and kept if not.
   */
  async write(env: SubnetEnv): Promise<boolean> {
    const text = renderSubnetEnv(env);
    try {
      if (text !== this.#text) await this.#file.write(text);
      this.#text = text;
      this.#problem = null;
      return true;
    } catch (error) {
      this.#text = null; // it may be written all the same
      this.#problem = (error as Error).message;
      this.#log("error", this.#problem);
      return false;
    }
  }

  #networks(text: string): Ownership["networks"] {
    try {
      const { networks, subnets } = parseSubnetEnv(text, this.#path);
      return networks.flatMap((network) => {
        const subnet = subnets.find((subnet) => familyOf(subnet) === familyOf(network));
        return subnet === undefined ? [] : [{ network, subnet, length: lengthOf(subnet) }];
      });
    } catch (error) {
      this.#log("warning", `The old ${this.#path} is not used: ${(error as Error).message}`);
      return [];
    }
  }
}
