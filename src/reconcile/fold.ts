/**
 * From the store's records to peers: what other nodes published, checked.
 *
 * Whatever comes from the store is hostile. A record that breaks a rule is rejected with its reason and harms no other; the answer
 * depends only on the records and this node's own state, never on their order.
 *
 * @module
 */

import { type Cidr, compareCidrs, contains, familyOf, type Ip, lengthOf, overlaps, unusableAsPeer } from "../model/ip.ts";
import type { Endpoint, Lease, LeaseRecord, Network } from "../model/lease.ts";

/** What the rules compare a lease with. */
export interface FoldContext {
  readonly network: Network;
  /** This node's own lease. */
  readonly own: Lease;
  /** All addresses of this node, but those on devices that the backend makes. */
  readonly addresses: readonly Ip[];
}

/** A record that is not followed. */
export interface Rejected {
  readonly key: string;
  /** What it says, where it could be read. */
  readonly lease: Lease | null;
  readonly reason: string;
}

/** What the store's records come to. */
export interface Fold {
  /** The other nodes, sorted by subnet; endpoints of families that this network does not have are left out. */
  readonly peers: readonly Lease[];
  readonly rejected: readonly Rejected[];
}

/** Sorts records into peers and rejected ones. */
export function fold(records: Iterable<LeaseRecord>, context: FoldContext): Fold {
  const rejected: Rejected[] = [];
  const good: Lease[] = [];
  for (const record of records) {
    if (record.key === context.own.key) continue;
    if ("reason" in record) {
      rejected.push({ key: record.key, lease: null, reason: record.reason });
      continue;
    }
    const checked = check(record.lease, context);
    if (typeof checked === "string") rejected.push({ key: record.key, lease: record.lease, reason: checked });
    else good.push(checked);
  }
  const peers = withoutOverlaps(good, rejected);
  return { peers, rejected };
}

/** The endpoints of our families, or what is wrong with them. */
function check(lease: Lease, context: FoldContext): Lease | string {
  const endpoints: Endpoint[] = [];
  for (const endpoint of lease.endpoints) {
    const range = context.network.ranges.find(({ network }) => familyOf(network) === familyOf(endpoint.subnet));
    if (range === undefined) continue;
    const wrong = wrongSubnet(endpoint.subnet, range.network, range.allocation?.length ?? null, context) ??
      wrongAddress(endpoint.publicIp, context);
    if (wrong !== null) return wrong;
    endpoints.push(endpoint);
  }
  if (endpoints.length === 0) return "it has no subnet in a family of this network";
  return endpoints.length === lease.endpoints.length ? lease : { ...lease, endpoints };
}

function wrongSubnet(subnet: Cidr, network: Cidr, length: number | null, { own, addresses }: FoldContext): string | null {
  if (!contains(network, subnet)) return `subnet ${subnet} is not inside the network ${network}`;
  if (length === null ? subnet === network : lengthOf(subnet) !== length) {
    return `subnet ${subnet} has not the prefix length ${length === null ? "of a part" : `/${length}`} of the network ${network}`;
  }
  const ours = own.endpoints.find((endpoint) => overlaps(endpoint.subnet, subnet));
  if (ours !== undefined) return `subnet ${subnet} overlaps this node's own ${ours.subnet}`;
  const address = addresses.find((ip) => contains(subnet, ip));
  return address === undefined ? null : `subnet ${subnet} holds this node's address ${address}`;
}

function wrongAddress(ip: Ip, { network, own, addresses }: FoldContext): string | null {
  const unusable = unusableAsPeer(ip);
  if (unusable !== null) return `public IP ${ip} ${unusable}`;
  const around = network.ranges.find((range) => contains(range.network, ip));
  if (around !== undefined) return `public IP ${ip} is inside the pod network ${around.network}`;
  if (addresses.includes(ip) || own.endpoints.some(({ publicIp }) => publicIp === ip)) {
    return `public IP ${ip} is this node's own: two nodes publish one address`;
  }
  return null;
}

/**
 * Sorted, each prefix stands right before those inside it, so one pass finds every overlap. The narrower of two is kept: a wide one
 * would take the traffic of all inside it. Of two equal ones the first by key is kept.
 */
function withoutOverlaps(leases: readonly Lease[], rejected: Rejected[]): Lease[] {
  const entries = leases.flatMap((lease) => lease.endpoints.map(({ subnet }) => ({ lease, subnet })));
  entries.sort((a, b) => compareCidrs(a.subnet, b.subnet) || (a.lease.key < b.lease.key ? -1 : 1));
  const losers = new Map<Lease, string>();
  let around: typeof entries[number] | null = null;
  for (const entry of entries) {
    if (around === null || !overlaps(around.subnet, entry.subnet)) {
      around = entry;
      continue;
    }
    const [loser, winner]: [typeof entry, typeof entry] = around.subnet === entry.subnet ? [entry, around] : [around, entry];
    losers.set(loser.lease, `subnet ${loser.subnet} overlaps ${winner.subnet} of ${winner.lease.key}`);
    around = winner;
  }
  for (const [lease, reason] of losers) rejected.push({ key: lease.key, lease, reason });
  return leases.filter((lease) => !losers.has(lease)).sort((a, b) => compareCidrs(a.endpoints[0]!.subnet, b.endpoints[0]!.subnet));
}
