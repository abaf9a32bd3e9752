/**
 * This node, as backends see it: one side per family, made of settings, facts and the lease.
 *
 * @module
 */

import type { BareSide, NodeSide, OpenSide } from "../model/backend.ts";
import type { BackendPort, MacTable } from "../model/backend_port.ts";
import { type Cidr, contains, type Family, familyOf, type Ip, type Mac } from "../model/ip.ts";
import type { Endpoint, Lease, Network } from "../model/lease.ts";
import { endpointOf } from "../model/lease.ts";
import type { Facts, Ownership } from "../model/kernel.ts";
import { rangesOf } from "./configuration.ts";
import type { External } from "./external.ts";
import type { Way } from "./ways.ts";

/** What a side is made of, besides the family. */
export interface NodeInput {
  readonly network: Network;
  readonly backend: BackendPort;
  readonly external: External;
  /** The MTU for pods, in bytes. */
  readonly mtu: number;
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
export class Macs implements MacTable {
  readonly #chosen = new Map<string, Mac>();
  readonly #drawn = new Map<string, Mac>();
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
    const { chosen, drawn } = this.of(link);
    const mac = chosen ?? before?.(this.earlier(family)) as Mac | undefined ?? drawn;
    this.#chosen.set(link, mac);
    return mac;
  }

  of(link: string): { readonly chosen: Mac | null; readonly drawn: Mac } {
    const drawn = this.#drawn.get(link) ?? this.#random();
    this.#drawn.set(link, drawn);
    return { chosen: this.#chosen.get(link) ?? this.#existing(link) ?? null, drawn };
  }

  earlier(family: Family): unknown {
    return this.#before === null ? undefined : endpointOf(this.#before, family)?.data;
  }

  choose(link: string, mac: Mac): void {
    if (!this.#chosen.has(link)) this.#chosen.set(link, mac);
  }

  #existing(link: string): Mac | undefined {
    return this.#facts.links.find(({ name, kind }) => name === link && kind !== "")?.mac ?? undefined;
  }
}

/** The families of a network, IPv4 first. */
export function familiesOf(network: Network): Family[] {
  return network.ranges.map(({ network }) => familyOf(network));
}

/** This node's sides as effects see them before they start. */
export function bareSides({ network, external, mtu, publicIps, segments, ways, macs }: Omit<NodeInput, "state">): BareSide[] {
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
      mtu,
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

/** What this node publishes; `null` while the backend has not said it. */
export function published(input: NodeInput): Omit<Endpoint, "subnet">[] | null {
  const endpoints = openSides(input).map((side) => {
    const answer = input.backend.publish(side);
    return answer === null ? null : { publicIp: side.publicIp, data: answer.data };
  });
  return endpoints.includes(null) ? null : endpoints as Omit<Endpoint, "subnet">[];
}

/** What else of the kernel's concerns this node. */
export interface Traces {
  readonly facts: Facts;
  readonly nexthops: ReadonlySet<number>;
  /** Networks of which items may still be there. */
  readonly former: Ownership["networks"];
  /** The names of devices that backends make. */
  readonly devices: readonly RegExp[];
  /** Devices of backends that were in force before, in this run. */
  readonly made: Iterable<string>;
}

/** How items are known for this node's: on the devices of the backend, and on those that another backend, agent or flanneld left. */
export function ownershipOf(
  { network, backend, segments }: NodeInput,
  { facts, nexthops, former, devices, made }: Traces,
): Ownership {
  const networks = [...rangesOf(network), ...former];
  const names = backend.devices === null ? devices : [...devices, backend.devices];
  const links = [...new Set([...backend.links, ...made, ...leftDevices(facts, names, networks.map(({ network }) => network))])];
  return { links, networks, nexthops, reversePath: [...segments, ...links], adopts: backend.adopts };
}

/** Devices of backends that hold an address of some networks. */
export function leftDevices({ addresses }: Facts, devices: readonly RegExp[], networks: readonly Cidr[]): string[] {
  const left = addresses.filter(({ link, ip }) =>
    devices.some((name) => name.test(link)) && networks.some((network) => contains(network, ip))
  );
  return [...new Set(left.map(({ link }) => link))];
}
