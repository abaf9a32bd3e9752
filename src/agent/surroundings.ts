/**
 * What the agent knows of the node it runs on: its devices, the one that leads to the other nodes, and which peers are on-link.
 *
 * @module
 */

import type { Settings } from "../config/settings.ts";
import { type Family, familyOf, type Ip, isLinkLocal } from "../model/ip.ts";
import { CompactMap } from "../model/compact_map.ts";
import type { Facts, Kernel, Lookup } from "../model/kernel.ts";
import type { Lease, Network } from "../model/lease.ts";
import { type Edition, since, UNSEEN } from "../reconcile/lists.ts";
import { chooseExternal, type External } from "./external.ts";
import { familiesOf } from "./node.ts";
import { settleWays, type Way } from "./ways.ts";

/** The node, as the kernel described it last. */
export class Surroundings {
  readonly #kernel: Kernel;
  readonly #settings: Settings;
  #facts: Facts = { links: [], addresses: [] };
  #external: External | null = null;
  #problem: string | null = null;
  #assigned: readonly Ip[] | null = null;
  /** The kernel's answers for the peers' addresses, as of the last look at the facts; all that are the same are one. */
  readonly #lookups = new CompactMap<Ip, Pick<Lookup, "onLink">>();
  #ways: ReadonlyMap<Ip, Way> = new Map();
  #segments: readonly string[] = [];
  #unsettled = true;
  /** The edition of the peers that it was asked about last. */
  #seen = UNSEEN;

  constructor(kernel: Kernel, settings: Settings) {
    this.#kernel = kernel;
    this.#settings = settings;
  }

  /** Devices and addresses. */
  get facts(): Facts {
    return this.#facts;
  }

  /** The device that leads to the other nodes; it stays while there is no better one. */
  get external(): External | null {
    return this.#external;
  }

  /** Why that device could not be chosen at the last look; `null` if it could. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Whether it is known which public addresses the store sets. */
  get isAssigned(): boolean {
    return this.#assigned !== null;
  }

  /** Takes over the public addresses that the store sets; they stand in for those of the flags, also in the choice of the device. */
  assign(ips: readonly Ip[]): void {
    this.#assigned = ips;
  }

  /** What is believed of the peers' addresses. */
  get ways(): ReadonlyMap<Ip, Way> {
    return this.#ways;
  }

  /** Devices over which peers are on-link, the external one first. */
  get segments(): readonly string[] {
    return this.#segments;
  }

  /**
   * Looks again.
   *
   * @param own Our devices, which lead nowhere else.
   * @param routing Packets may leave elsewhere than before; else only a change in what is seen here makes the kernel be asked anew.
   */
  look(network: Network, own: readonly string[], routing = true): void {
    const kernel = this.#kernel;
    const before = this.#facts;
    this.#facts = kernel.facts();
    if (!routing && this.#problem === null && outgoing(this.#facts) === outgoing(before)) return;
    this.#lookups.clear();
    this.#unsettled = true;
    const chosen = chooseExternal({
      families: familiesOf(network),
      choices: this.#settings.interfaces,
      publicIps: ([4, 6] as const).flatMap((family) => this.#askedIp(family) ?? []),
      facts: this.#facts,
      defaultRoute: (family) => kernel.defaultRoute(family),
      lookup: (ip) => kernel.lookup([ip], own).get(ip),
    });
    // A device that is gone may come back; until then everything stays as it was.
    if ("reason" in chosen) this.#problem = `Cannot choose the device that leads to the other nodes: ${chosen.reason}`;
    else [this.#external, this.#problem] = [chosen, null];
  }

  /** The addresses that this node publishes, one per family, IPv4 first. */
  publicIps(network: Network): Ip[] {
    return familiesOf(network).flatMap((family) => this.#askedIp(family) ?? this.#external?.addresses.get(family) ?? []);
  }

  #askedIp(family: Family): Ip | null {
    const { publicIp, publicIpv6 } = this.#settings;
    return this.#assigned?.find((ip) => familyOf(ip) === family) ?? (family === 4 ? publicIp : publicIpv6);
  }

  /** The addresses on devices that are not ours, but for those of one link. */
  addresses(own: readonly string[]): Ip[] {
    return this.#facts.addresses.filter(({ link, ip }) => !own.includes(link) && !isLinkLocal(ip)).map(({ ip }) => ip);
  }

  /**
   * Believes what the kernel says of the peers' addresses; it is asked only for new ones, and for all after a look at the facts.
   *
   * @returns When that may change next, in milliseconds of the caller's clock; `null` if all is settled.
   */
  settle(peers: Edition<Lease>, own: readonly string[], now: number): number | null {
    const candidates = this.#unsettled ? peers.all() : since(peers, this.#seen, () => []).fresh;
    const fresh = new Set<Ip>();
    for (const { endpoints } of candidates) {
      for (const { publicIp } of endpoints) if (!this.#lookups.has(publicIp)) fresh.add(publicIp);
    }
    const lookups = fresh.size === 0 ? [] : this.#kernel.lookup([...fresh], own);
    this.#seen = peers.version; // not before they are answered for
    if (fresh.size === 0 && !this.#unsettled) return null;
    const answers = new Map<string | null, Pick<Lookup, "onLink">>();
    for (const [ip, { onLink }] of lookups) {
      const answer = answers.get(onLink) ?? { onLink };
      answers.set(onLink, answer);
      this.#lookups.set(ip, answer);
    }
    const { ways, settlesAt } = settleWays(this.#ways, this.#lookups, this.#facts.links, now);
    this.#ways = ways;
    this.#unsettled = settlesAt !== null;
    const links = new Set<string | null>();
    for (const { onLink } of this.#lookups.values()) links.add(onLink);
    for (const { link } of ways.values()) links.add(link);
    const segments = [...links].filter((link) => link !== null).sort();
    this.#segments = [...new Set([...(this.#external === null ? [] : [this.#external.link.name]), ...segments])];
    return settlesAt;
  }
}

/** All that packets may leave by: the kernel drops routes of a device that goes down without a word. */
function outgoing({ links, addresses }: Facts): string {
  const lasting = addresses.filter(({ ip }) => !isLinkLocal(ip));
  const inUse = new Set(lasting.map(({ link }) => link));
  return JSON.stringify([lasting, links.filter(({ name }) => inUse.has(name))]);
}
