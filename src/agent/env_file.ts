/**
 * subnet.env, as the agent keeps it: read once when it starts, and written when it shall say something else.
 *
 * @module
 */

import type { Settings } from "../config/settings.ts";
import { parseSubnetEnv, previousSubnets, renderSubnetEnv, type SubnetEnv } from "../config/subnet_env.ts";
import type { NodeSide } from "../model/backend.ts";
import { type Cidr, familyOf, lengthOf } from "../model/ip.ts";
import { describe, type Item, keyOf, same } from "../model/item.ts";
import type { Ownership } from "../model/kernel.ts";
import type { Log, SubnetFile } from "./ports.ts";

/** What the last run left in the file. */
export interface Former {
  /** The subnets to ask for again. */
  readonly subnets: readonly Cidr[];
  /** The networks whose items may still be in the kernel. */
  readonly networks: Ownership["networks"];
}

/** What the file depends on besides the lease; its path is for messages. */
type EnvSettings = Pick<Settings, "subnetFile" | "ipMasq">;

/** The keeper of the file. */
export class EnvFile {
  readonly #file: SubnetFile;
  readonly #settings: EnvSettings;
  readonly #log: Log;
  #text: string | null = null;
  #problem: string | null = "subnet.env has not been written yet";

  constructor(file: SubnetFile, settings: EnvSettings, log: Log) {
    this.#file = file;
    this.#settings = settings;
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

  /**
   * Writes the file unless it says all that already, as soon as pods can use what it says.
   *
   * @param needed The items of the node, which pods need.
   * @param observed What the kernel holds, by key.
   * @returns `false` if the file could not be written; the reason is logged and kept.
   */
  async keep(
    sides: readonly Pick<NodeSide, "network" | "subnet" | "mtu">[],
    needed: readonly Item[],
    observed: ReadonlyMap<string, Item>,
  ): Promise<boolean> {
    const missing = needed.find((item) => item.kind !== "reverse-path" && !inPlace(item, observed));
    if (missing !== undefined) {
      this.#problem = `subnet.env waits for ${describe(missing)}`;
      return true;
    }
    return await this.#write({
      networks: sides.map(({ network }) => network),
      subnets: sides.map(({ subnet }) => subnet),
      mtu: sides[0]!.mtu,
      ipMasq: this.#settings.ipMasq,
    });
  }

  async #write(env: SubnetEnv): Promise<boolean> {
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
      const { networks, subnets } = parseSubnetEnv(text, this.#settings.subnetFile);
      return networks.flatMap((network) => {
        const subnet = subnets.find((subnet) => familyOf(subnet) === familyOf(network));
        return subnet === undefined ? [] : [{ network, subnet, length: lengthOf(subnet) }];
      });
    } catch (error) {
      this.#log("warning", `The old ${this.#settings.subnetFile} is not used: ${(error as Error).message}`);
      return [];
    }
  }
}

function inPlace(item: Item, observed: ReadonlyMap<string, Item>): boolean {
  const found = observed.get(keyOf(item));
  return found !== undefined && same(item, found);
}
