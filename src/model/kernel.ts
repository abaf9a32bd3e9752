/**
 * What the core asks of the kernel: the port that `src/kernel` implements over netlink, and the tests in memory.
 *
 * @module
 */

import type { Cidr, Family, Ip, Mac } from "./ip.ts";
import type { Change, Item, Kind } from "./item.ts";

/** A network device. */
export interface LinkFact {
  readonly name: string;
  readonly index: number;
  /** `vxlan`, `bridge`, `veth` and so on; empty for hardware. */
  readonly kind: string;
  readonly mac: Mac | null;
  /** Bytes. */
  readonly mtu: number;
  readonly up: boolean;
  /** The device has a carrier, so packets can leave. */
  readonly carrier: boolean;
  readonly loopback: boolean;
}

/** An address of this node. */
export interface AddressFact {
  readonly link: string;
  readonly ip: Ip;
  readonly length: number;
  /** 0 global, 253 link, 254 host. */
  readonly scope: number;
  readonly temporary: boolean;
  readonly deprecated: boolean;
  readonly permanent: boolean;
}

/** What the agent must know of the node besides its own items. */
export interface Facts {
  readonly links: readonly LinkFact[];
  readonly addresses: readonly AddressFact[];
}

/** The kernel's answer to where packets for an address go. */
export interface Lookup {
  /** The device on whose segment the address is; `null` if a gateway leads there, or nothing, or only a tunnel. */
  readonly onLink: string | null;
  /** The device that packets leave over, whichever way; `null` if there is no route. */
  readonly link: string | null;
  /** The source address that the kernel would choose. */
  readonly src: Ip | null;
}

/** How the agent knows an item of the kernel's for its own (DESIGN.md, Ownership). */
export interface Ownership {
  /** Names of the devices that the backend makes. */
  readonly links: readonly string[];
  /**
   * The pod networks, and the prefix length that their subnets have; `null` where it may be any longer than the network's. Of a network
   * that a former agent left also this node's subnet in it.
   */
  readonly networks: readonly { readonly network: Cidr; readonly length: number | null; readonly subnet?: Cidr }[];
  /** Ids of nexthops that are planned now. */
  readonly nexthops: ReadonlySet<number>;
  /** Devices whose reverse-path filter matters. */
  readonly reversePath: readonly string[];
  /** Routes without our mark that look like a former flanneld's are ours too. */
  readonly adopts: boolean;
}

/** What a look at the kernel showed. */
export interface Observation {
  /** The items that are ours, by their keys. */
  readonly items: ReadonlyMap<string, Item>;
  /** Keys under which the kernel holds something that is not ours, with a description of it. */
  readonly foreign: ReadonlyMap<string, string>;
  /** `false` if the tables changed all the while: what is missing here may exist, and nothing may be dropped. */
  readonly complete: boolean;
}

/** Why a change was not made. */
export interface Refusal {
  readonly error: string;
  /** The item is held by somebody else: trying again helps only after they let go. */
  readonly foreign: boolean;
}

/** What an event may have changed: a kind of item, the facts, or where packets to other nodes leave. */
export type Dirty = Kind | "facts" | "routing";

/** The kernel. */
export interface Kernel {
  /** Routes can go through nexthop objects (Linux 5.3). */
  readonly nexthopObjects: boolean;
  /** Reads the node's devices and addresses. */
  facts(): Facts;
  /** The device of the first default route, in the kernel's order; `null` if there is none, or it is a multipath one. */
  defaultRoute(family: Family): string | null;
  /** Asks where packets for each address go. Devices named in `own` never count as on-link. */
  lookup(ips: readonly Ip[], own: readonly string[]): ReadonlyMap<Ip, Lookup>;
  /** Reads the items of some kinds that are ours. */
  observe(kinds: ReadonlySet<Kind>, own: Ownership): Observation;
  /**
   * Makes changes, puts by rising rank and then drops by falling rank, but each IPv6 nexthop beside the route through it; a failing one
   * does not stop the others.
   *
   * @returns What was not done; all else was.
   */
  apply(changes: readonly Change[]): Promise<ReadonlyMap<Change, Refusal>>;
  /** Calls back after every burst of changes that we did not make ourselves. */
  watch(own: () => Pick<Ownership, "links" | "networks" | "reversePath">, changed: (dirty: ReadonlySet<Dirty>) => void): Disposable;
}

/** One transaction that changed the kernel's nf_tables, as NFNLGRP_NFTABLES tells of it. */
export interface RulesetChange {
  /** Chains of IPv4's and IPv6's tables that it touched. `chain` is `null` where a whole table was made, changed or deleted. */
  readonly touched: readonly { readonly family: string; readonly table: string; readonly chain: string | null }[];
  /** Who did it, if the kernel said: `"iptables (4711)"`. */
  readonly by: string | null;
}
