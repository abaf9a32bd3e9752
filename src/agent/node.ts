/**
 * This node, as backends see it: one side per family, made of settings, facts and the lease.
 *
 * @module
 */

import type { Backend, BareSide, NodeSide, OpenSide } from "../model/backend.ts";
import { contains, type Family, familyOf, type Ip, type Mac } from "../model/ip.ts";
import type { Endpoint, Lease, Network } from "../model/lease.ts";
import { endpointOf } from "../model/lease.ts";
import type { Facts, Ownership } from "../model/kernel.ts";
import { rangesOf } from "./configuration.ts";
import type { External } from "./external.ts";
import type { Way } from "./ways.ts";

/** What a side is made of, besides the family. */
export interface NodeInput {
  readonly network: Network;
  readonly backend: Backend;
  readonly options: unknown;
  readonly external: External;
  /** What this node publishes, one per family. */
  readonly publicIps: readonly Ip[];
  /** What the backend's effects have started with. */
  readonly state: unknown;
  /** Devices over which peers are on-link, the external one among them. */
  readonly segments: readonly string[];
  /** What is believed of addresses; read at every question. */
  readonly ways: () => ReadonlyMap<Ip, Way>;
  readonly macs: Macs;
}

/** The MAC addresses of our devices; once chosen, one stays while the agent runs. */
export class Macs {
  readonly #chosen = new Map<string, Mac>();
  readonly #random: () => Mac;
  #facts: Facts = { links: [], addresses: [] };
  #before: Lease | null = null;

  constructor(random: () => Mac) {
    this.#random = random;
  }

  /** Tells which devices there are, and what lease this node had before. */
  know(facts: Facts, before: Lease | null): void {
    this.#facts = facts;
    this.#before = before ?? this.#before;
  }

  /** See {@linkcode NodeSide.macFor}. */
  macFor(family: Family, link: string, before?: (data: unknown) => string | undefined): Mac {
    const chosen = this.#chosen.get(link) ?? this.#existing(link) ?? this.#earlier(family, before) ?? this.#random();
    this.#chosen.set(link, chosen);
    return chosen;
  }

  #existing(link: string): Mac | undefined {
    return this.#facts.links.find(({ name, kind }) => name === link && kind === "vxlan")?.mac ?? undefined;
  }

  #earlier(family: Family, before?: (data: unknown) => string | undefined): Mac | undefined {
    const endpoint = this.#before === null ? undefined : endpointOf(this.#before, family);
    return endpoint === undefined ? undefined : before?.(endpoint.data) as Mac | undefined;
  }
}

/** The families of a network, IPv4 first. */
export function familiesOf(network: Network): Family[] {
  return network.ranges.map(({ network }) => familyOf(network));
}

/** The MTU for pods. */
export function podMtu({ network, backend, options, external }: NodeInput): number {
  return backend.mtu(external.link.mtu, familiesOf(network), options);
}

/** This node's sides as effects see them before they start. */
function bareSides(input: NodeInput): BareSide[] {
  const { network, external, publicIps, segments, ways, macs } = input;
  return network.ranges.map((range) => {
    const family = familyOf(range.network);
    const address = external.addresses.get(family)!;
    return {
      family,
      network: range.network,
      link: external.link.name,
      segments,
      address,
      publicIp: publicIps.find((ip) => familyOf(ip) === family) ?? address,
      mtu: podMtu(input),
      onLink: (ip) => ways().get(ip)?.link ?? null,
      macFor: (link, before) => macs.macFor(family, link, before),
    };
  });
}

/** This node's sides before it has a subnet. */
function openSides(input: NodeInput): OpenSide[] {
  return bareSides(input).map((side) => ({ ...side, state: input.state }));
}

/** This node's sides with the subnets of its lease. */
export function sidesOf(input: NodeInput, lease: Lease): NodeSide[] {
  return openSides(input).flatMap((side) => {
    const endpoint = endpointOf(lease, side.family);
    return endpoint === undefined ? [] : [{ ...side, subnet: endpoint.subnet }];
  });
}

/** What this node publishes. */
export function published(input: NodeInput): Omit<Endpoint, "subnet">[] {
  return openSides(input).map((side) => ({ publicIp: side.publicIp, data: input.backend.publish(side, input.options) }));
}

/** Names of devices that backends make, ours or flannel's. */
export const DEVICE = /^((flannel(-v6)?|fl[46])\.\d+|flannel\.ipip|flannel-wg(-v6)?)$/;

/**
 * How items are known for this node's: on the devices of the backend, and on flannel devices that hold an address of our networks,
 * which another backend, a former agent or flanneld left.
 */
export function ownershipOf(
  { network, backend, options, segments }: NodeInput,
  facts: Facts,
  nexthops: ReadonlySet<number>,
  former: Ownership["networks"],
): Ownership {
  const networks = [...rangesOf(network), ...former];
  const left = facts.addresses.filter(({ link, ip }) => DEVICE.test(link) && networks.some(({ network }) => contains(network, ip)));
  const links = [...new Set([...backend.links(options), ...left.map(({ link }) => link)])];
  return { links, networks, nexthops, reversePath: [...segments, ...links] };
}
