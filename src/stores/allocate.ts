/**
 * Chooses subnets for a node, by flannel's rules: pure.
 *
 * Source: flannel, `pkg/subnet/etcd/local_manager.go` (tryAcquireLease, allocateSubnet).
 *
 * @module
 */

import { type Cidr, cidrOf, contains, type Family, familyOf, ipNumber, ipOf, lengthOf, networkOf, overlaps } from "../model/ip.ts";
import type { Allocation, Lease, LeaseRequest, Range } from "../model/lease.ts";
import { isLeaseOf } from "./lease_value.ts";

/** Free subnets among which chance decides; so two nodes that choose at once seldom choose the same. */
const CANDIDATES = 100;

/** What a node shall have. */
export interface Choice {
  /** One per family of the network, IPv4 first. */
  readonly subnets: readonly Cidr[];
  /** The node's own lease, which is to be written over; `null` if a new one is to be made. */
  readonly own: Lease | null;
  /** A lease of the node's that does not fit the network any more and is to be deleted. */
  readonly unfit: Lease | null;
}

/**
 * Chooses.
 *
 * @param leases All leases that there are.
 * @param random A number in [0, 1) at each call.
 * @throws {Error} If no subnet is free.
 */
export function chooseSubnets(leases: readonly Lease[], request: LeaseRequest, random: () => number): Choice {
  const { network: { ranges }, endpoints, previous } = request;
  const mine = leases.find((lease) => isLeaseOf(lease, endpoints.map(({ publicIp }) => publicIp)));
  if (mine !== undefined && fits(mine.endpoints.map(({ subnet }) => subnet), ranges)) {
    return { subnets: mine.endpoints.map(({ subnet }) => subnet), own: mine, unfit: null };
  }
  const unfit = mine ?? null;
  const others = leases.filter((lease) => lease !== mine).flatMap((lease) => lease.endpoints.map(({ subnet }) => subnet));
  const before = ranges.flatMap(({ network }) => previous.filter((subnet) => familyOf(subnet) === familyOf(network)));
  const free = before.every((subnet) => !others.some((other) => overlaps(subnet, other)));
  if (fits(before, ranges) && free) return { subnets: before, own: null, unfit };
  return { subnets: ranges.map((range) => pickFree(range, others, random)), own: null, unfit };
}

/** Whether subnets are what the ranges ask for, one each. */
function fits(subnets: readonly Cidr[], ranges: readonly Range[]): boolean {
  return subnets.length === ranges.length && ranges.every(({ network, allocation }, i) => {
    const subnet = subnets[i]!;
    if (allocation === null || !contains(network, subnet) || lengthOf(subnet) !== allocation.length) return false;
    const at = ipNumber(networkOf(subnet));
    return at >= ipNumber(allocation.min) && at <= ipNumber(allocation.max);
  });
}

function pickFree({ network, allocation }: Range, taken: readonly Cidr[], random: () => number): Cidr {
  if (allocation === null) throw new TypeError("This network's subnets are not cut by the store");
  const free = freeSubnets(familyOf(network), allocation, taken);
  if (free.length === 0) {
    throw new Error(
      `Cannot take a lease: all /${allocation.length} subnets of ${network} from ${allocation.min} to ${allocation.max} are in use`,
    );
  }
  return free[Math.floor(random() * free.length)]!;
}

/** The first free subnets; taken ranges are sorted once, and the walk never turns back. */
function freeSubnets(family: Family, { length, min, max }: Allocation, taken: readonly Cidr[]): Cidr[] {
  const bits = family === 4 ? 32 : 128;
  const sizeOf = (length: number) => 1n << BigInt(bits - length);
  const busy = taken.filter((subnet) => familyOf(subnet) === family)
    .map((subnet) => ({ first: ipNumber(networkOf(subnet)), end: ipNumber(networkOf(subnet)) + sizeOf(lengthOf(subnet)) }))
    .sort((a, b) => a.first < b.first ? -1 : a.first > b.first ? 1 : 0);
  const size = sizeOf(length);
  const free: Cidr[] = [];
  let next = 0;
  let busyUntil = 0n;
  for (let at = ipNumber(min); at <= ipNumber(max) && free.length < CANDIDATES;) {
    while (next < busy.length && busy[next]!.first < at + size) {
      if (busy[next]!.end > busyUntil) busyUntil = busy[next]!.end;
      next++;
    }
    if (busyUntil > at) at += (busyUntil - at + size - 1n) / size * size;
    else {
      free.push(cidrOf(ipOf(at, family), length));
      at += size;
    }
  }
  return free;
}
