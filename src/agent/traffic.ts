/**
 * Tells the traffic rules' keeper what the rules are about: this node's ranges, by its lease and the network.
 *
 * @module
 */

import type { Settings } from "../config/settings.ts";
import type { NodeSide } from "../model/backend.ts";
import { contains } from "../model/ip.ts";
import type { Ownership } from "../model/kernel.ts";
import { intentOf, type PodRange } from "../traffic/rules.ts";
import type { AgentOptions } from "./options.ts";

/** Keeps the rules of the latest ranges. */
export class TrafficAim {
  readonly #traffic: AgentOptions["traffic"];
  readonly #settings: Settings;
  #kept = "";

  constructor({ traffic, settings }: Pick<AgentOptions, "traffic" | "settings">) {
    this.#traffic = traffic;
    this.#settings = settings;
  }

  /**
   * Asks for the rules of these ranges, if they are not asked for already.
   *
   * @param nftables Whether nftables holds them, else iptables.
   * @param former The networks of the last run, with this node's subnets in them: rules about those are stale.
   */
  keep(sides: readonly NodeSide[], nftables: boolean, former: Ownership["networks"]): void {
    const { ipMasq, ipMasqFullyRandom, forwardRules, rulesResyncSeconds } = this.#settings;
    const ranges = sides.map(({ network, subnet }) => ({ network, subnet }));
    const settings = {
      masquerade: ipMasq,
      forward: forwardRules,
      fullyRandom: ipMasqFullyRandom,
      mode: nftables ? "nftables" : "iptables",
      resync: rulesResyncSeconds,
    } as const;
    const kept = JSON.stringify([ranges, settings]);
    if (kept === this.#kept) return;
    this.#kept = kept;
    this.#traffic.keep(intentOf(settings, ranges, former.flatMap(leftRange)));
  }

  /** Why the rules are not in place; `null` if they are. */
  get problem(): string | null {
    const { inPlace, lastError } = this.#traffic.state;
    return lastError ?? (inPlace ? null : "the traffic rules are not in place yet");
  }
}

function leftRange({ network, subnet }: Ownership["networks"][number]): PodRange[] {
  return subnet !== undefined && contains(network, subnet) ? [{ network, subnet }] : [];
}
