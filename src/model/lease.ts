/**
 * Leases, and the store that holds them.
 *
 * A lease gives a node one subnet per address family. This file says what a lease and the network it belongs to are, and what the
 * agent asks of a lease store; the formats on the wire are the stores' own affair. Source: flannel, `pkg/lease` and `pkg/subnet`.
 *
 * @module
 */

import { type Cidr, type Family, familyOf, type Ip } from "./ip.ts";

/** The part of a network in one address family. */
export interface Range {
  /** All pod subnets lie in it. */
  readonly network: Cidr;
  /** How subnets are cut from the network; `null` where somebody else does it (Kubernetes assigns `podCIDR`). */
  readonly allocation: Allocation | null;
}

/** How a store cuts subnets from a network. */
export interface Allocation {
  /** Prefix length of every subnet. */
  readonly length: number;
  /** Network address of the first subnet that may be given out. */
  readonly min: Ip;
  /** Network address of the last subnet that may be given out. */
  readonly max: Ip;
}

/** The network configuration (flannel's net-conf.json), checked and with defaults filled in. */
export interface Network {
  /** One range per enabled family, IPv4 first; never empty. */
  readonly ranges: readonly Range[];
  /** `Backend.Type` in lower case. */
  readonly backendType: string;
  /** The `Backend` object as it was written, for the backend's own schema. */
  readonly backendOptions: Readonly<Record<string, unknown>>;
  /** Masquerade and forward rules are made with nftables instead of iptables. */
  readonly nftables: boolean;
}

/** What a lease says about its node in one family. */
export interface Endpoint {
  readonly subnet: Cidr;
  /** The address other nodes send to. */
  readonly publicIp: Ip;
  /** What the node's backend published for this family (`BackendData` or `BackendV6Data`); `null` if nothing. */
  readonly data: unknown;
}

/** A subnet held by a node until it expires. */
export interface Lease {
  /** The store's own name of the lease, unique in the store. */
  readonly key: string;
  /** The type of the node's backend; empty for a backend that publishes none. */
  readonly backendType: string;
  /** One per family, IPv4 first; never empty. */
  readonly endpoints: readonly Endpoint[];
  /** Milliseconds since the epoch; `null` if the lease does not expire, or is another node's and the store does not say. */
  readonly expiresAt: number | null;
}

/** The endpoint of a lease in a family, if it has one. */
export function endpointOf(lease: Lease, family: Family): Endpoint | undefined {
  return lease.endpoints.find((endpoint) => familyOf(endpoint.subnet) === family);
}

/** An entry of the store: a lease, or why it could not be read as one. */
export type LeaseRecord =
  | { readonly key: string; readonly lease: Lease }
  | { readonly key: string; readonly reason: string };

/**
 * News of the leases in a store. The first event of a watch is a snapshot, and so is the first after any gap: what it does not name
 * is gone.
 */
export type LeaseEvent =
  | { readonly type: "snapshot"; readonly records: readonly LeaseRecord[] }
  | { readonly type: "changes"; readonly changed: readonly LeaseRecord[]; readonly removed: readonly string[] };

/** What a node asks a lease with. */
export interface LeaseRequest {
  readonly network: Network;
  readonly backendType: string;
  /** One per family of the network, IPv4 first. */
  readonly endpoints: readonly Omit<Endpoint, "subnet">[];
  /** The subnets this node had before, as its subnet.env says; taken again if they are free. */
  readonly previous: readonly Cidr[];
}

/** A lease that is no longer this node's: it expired, was deleted, or somebody else's write replaced it. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";
}

/** Where leases are kept. Every call may be cut short by its signal, and then rejects with the signal's reason. */
export interface LeaseStore extends AsyncDisposable {
  /** `embedded`, `etcd` or `kubernetes`. */
  readonly kind: string;
  /** Whether the store answered last time, and what it said when it did not. */
  health(): { readonly connected: boolean; readonly lastError: string | null };
  /** The text of the network configuration: at once if there is one, else when there is, and again whenever it changes. */
  networkConfig(signal: AbortSignal): AsyncIterable<string>;
  /**
   * The public addresses that whoever looks after the store set for this node, in place of `--public-ip` and `--public-ipv6`; waits
   * until the store answers. Absent where a store has no such thing.
   *
   * @throws {Error} If it will never know, because it can not tell which node this is.
   */
  configuredPublicIps?(signal: AbortSignal): Promise<readonly Ip[]>;
  /** The lease that this node held before, found by its public address (etcd, embedded) or its name (Kubernetes); `null` if none. */
  previousLease(publicIps: readonly Ip[], signal: AbortSignal): Promise<Lease | null>;
  /**
   * Takes a lease: this node's own one if it is still there, else its previous subnets, else free ones.
   *
   * @throws {Error} If no subnet is free.
   */
  acquire(request: LeaseRequest, signal: AbortSignal): Promise<Lease>;
  /**
   * Extends a lease, and writes its attributes anew.
   *
   * @throws {LeaseLostError} If the lease is not this node's any more.
   */
  renew(lease: Lease, signal: AbortSignal): Promise<Lease>;
  /**
   * Gives a lease back, so that its subnet is free.
   *
   * @throws {LeaseLostError} If the lease is not this node's any more.
   */
  release(lease: Lease, signal: AbortSignal): Promise<void>;
  /** All leases, this node's own among them: first a snapshot, then batches of changes. Ends only by its signal. */
  watch(signal: AbortSignal): AsyncIterable<LeaseEvent>;
}
