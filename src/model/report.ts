/**
 * The report: all that the agent says about itself, as one value.
 *
 * The agent makes a report when somebody asks; the status API, its page, the metrics and the command line only show it. Nothing here
 * has a clock or an effect. Names written with `publicIP` are those of the HTTP contract, which follows flannel's spelling.
 *
 * @module
 */

import { type Cidr, type Family, familyOf, type Ip } from "./ip.ts";

/** Where a peer stands, from best to worst. */
export const PEER_STATES = ["in-sync", "pending", "failed", "rejected"] as const;
/**
 * Where a peer stands: the kernel holds what it needs (`in-sync`), it can not be reached now for a reason of its own (`pending`), the
 * kernel refused one of its items (`failed`), or its lease broke a rule and nothing of it is used (`rejected`).
 */
export type PeerState = typeof PEER_STATES[number];

/** A peer in one address family. */
export interface PeerSide {
  readonly subnet: Cidr;
  readonly publicIp: Ip;
  /** The way packets take: `direct`, `vxlan`, a backend's name, or `none`. */
  readonly path: string;
  readonly state: PeerState;
  /** Why the state is not `in-sync`; `null` if it is. */
  readonly reason: string | null;
}

/** Another node, as its lease describes it. */
export interface PeerReport {
  /** The store's name of the lease. */
  readonly key: string;
  /** `null` if the lease could not be read. */
  readonly backendType: string | null;
  /** One per family; empty if the lease could not be read. */
  readonly sides: readonly PeerSide[];
  /** Why the lease could not be read; `null` if it could. */
  readonly unreadable: string | null;
}

/** What must hold for the node to be ready. Each is `null` when it holds, else says why it does not. */
export interface Conditions {
  /** A lease is held and has not expired. */
  readonly lease: string | null;
  /** subnet.env is written. */
  readonly subnetEnv: string | null;
  /** The masquerade and forward rules are in place, where they were asked for. */
  readonly traffic: string | null;
  /** The kernel was in sync with a full list of leases and still is, peers that wait for a reason of their own left out. */
  readonly kernel: string | null;
}

/** Something an operator should know of. */
export interface Problem {
  /** What is wrong, in one line. */
  readonly what: string;
  /** What the kernel, server or file said. */
  readonly why: string;
  /** What to do, a command if there is one; `null` if it passes by itself. */
  readonly remedy: string | null;
}

/** How the kernel filters by reverse path on a device, the maximum of its own setting and that for all devices. */
export interface ReversePathReport {
  readonly link: string;
  readonly mode: "off" | "strict" | "loose";
}

/** All that the agent says about itself. What is not known yet is `null`. */
export interface Report {
  readonly version: string;
  /** The node's name. */
  readonly node: string | null;
  readonly conditions: Conditions;
  /** The backend's name. */
  readonly backend: string | null;
  readonly network: { readonly ipv4: Cidr | null; readonly ipv6: Cidr | null };
  readonly store: {
    /** `embedded`, `etcd` or `kubernetes`. */
    readonly kind: string;
    readonly connected: boolean;
    readonly lastError: string | null;
    /** What the operator should know of this kind of store. */
    readonly note: string | null;
  };
  /** The node's own lease; the public addresses are known before it is held. */
  readonly lease: {
    readonly subnet: Cidr | null;
    readonly ipv6Subnet: Cidr | null;
    readonly publicIP: Ip | null;
    readonly publicIPv6: Ip | null;
    /** Milliseconds since the epoch; `null` also if it never expires. */
    readonly expiresAt: number | null;
  };
  /** The device that leads to the other nodes. */
  readonly link: { readonly name: string | null; readonly address: Ip | null; readonly mtu: number | null };
  /** The MTU for pods, in bytes. */
  readonly mtu: number | null;
  readonly peers: readonly PeerReport[];
  readonly kernel: {
    /** Items that are in the kernel as planned. */
    readonly items: number;
    /** Items that are not, and are tried again. */
    readonly pending: number;
    /** Items that somebody else changed or deleted and that were put back. */
    readonly repairs: number;
    /** When the kernel was last seen to hold all that was planned: milliseconds since the epoch. */
    readonly lastSync: number | null;
  };
  readonly reversePath: readonly ReversePathReport[];
  readonly problems: readonly Problem[];
}

/** A peer with its families in one row, as `/v1/peers` shows it. */
export interface PeerRow {
  readonly subnet: Cidr | null;
  readonly ipv6Subnet: Cidr | null;
  readonly publicIP: Ip | null;
  readonly publicIPv6: Ip | null;
  readonly backendType: string | null;
  readonly path: string;
  readonly state: PeerState;
  readonly reason: string | null;
}

/** How many peers there are of each sort. */
export interface PeerCounts {
  readonly total: number;
  /** In sync, and reached without encapsulation in a family at least; always there, as is `vxlan`. */
  readonly direct: number;
  readonly vxlan: number;
  /** In sync, by each way that backends name, these two among them. */
  readonly paths: Readonly<Record<string, number>>;
  /** Pending or failed. */
  readonly pending: number;
  readonly rejected: number;
}

/**
 * Why the node is not ready: every condition that does not hold, in the order in which a starting agent meets them.
 *
 * @returns The reasons joined by `; `, or `null` if the node is ready.
 *
 * @example Usage
 * ```ts
 * import { reasonNotReady } from "./report.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(reasonNotReady({ lease: null, subnetEnv: null, traffic: null, kernel: null }), null);
 * assert.equal(reasonNotReady({ lease: "no subnet is free", subnetEnv: null, traffic: null, kernel: null }), "no subnet is free");
 * ```
 */
export function reasonNotReady(conditions: Conditions): string | null {
  const { lease, subnetEnv, traffic, kernel } = conditions;
  const reasons = [lease, subnetEnv, traffic, kernel].filter((reason) => reason !== null);
  return reasons.length === 0 ? null : reasons.join("; ");
}

/** The state of a peer: the worst of its families. */
export function stateOf(peer: PeerReport): PeerState {
  if (peer.unreadable !== null) return "rejected";
  const worst = Math.max(0, ...peer.sides.map((side) => PEER_STATES.indexOf(side.state)));
  return PEER_STATES[worst]!;
}

/**
 * Combines the families of a peer to one row. Families that go different ways show both, IPv4 first: `direct+vxlan`.
 *
 * @example A peer whose IPv6 side is refused
 * ```ts
 * import { type PeerSide, rowOf } from "./report.ts";
 * import { parseCidr, parseIp } from "./ip.ts";
 * import assert from "node:assert/strict";
 *
 * const sides: PeerSide[] = [
 *   { subnet: parseCidr("10.244.2.0/24"), publicIp: parseIp("192.0.2.2"), path: "direct", state: "in-sync", reason: null },
 *   { subnet: parseCidr("fd00:2::/64"), publicIp: parseIp("::1"), path: "none", state: "rejected", reason: "loopback address" },
 * ];
 * const row = rowOf({ key: "2", backendType: "vxlan", sides, unreadable: null });
 * assert.deepEqual([row.path, row.state, row.reason], ["direct", "rejected", "IPv6: loopback address"]);
 * ```
 */
export function rowOf(peer: PeerReport): PeerRow {
  const v4 = sideOf(peer, 4);
  const v6 = sideOf(peer, 6);
  return {
    subnet: v4?.subnet ?? null,
    ipv6Subnet: v6?.subnet ?? null,
    publicIP: v4?.publicIp ?? null,
    publicIPv6: v6?.publicIp ?? null,
    backendType: peer.backendType,
    path: pathOf([v4, v6]),
    state: stateOf(peer),
    reason: peer.unreadable === null ? reasonOf(v4, v6) : `lease ${JSON.stringify(peer.key)}: ${peer.unreadable}`,
  };
}

/** Counts peers by state and way. A peer whose families go different ways counts for both. */
export function countPeers(peers: readonly PeerReport[]): PeerCounts {
  let [pending, rejected] = [0, 0];
  const paths = new Map<string, number>();
  for (const peer of peers) {
    const state = stateOf(peer);
    if (state === "rejected") rejected++;
    else if (state !== "in-sync") pending++;
    else for (const path of new Set(peer.sides.map(({ path }) => path))) paths.set(path, (paths.get(path) ?? 0) + 1);
  }
  const count = (path: string) => paths.get(path) ?? 0;
  const ways = Object.fromEntries([...paths].sort(([a], [b]) => a < b ? -1 : 1));
  return { total: peers.length, direct: count("direct"), vxlan: count("vxlan"), paths: ways, pending, rejected };
}

function sideOf(peer: PeerReport, family: Family): PeerSide | undefined {
  return peer.sides.find((side) => familyOf(side.subnet) === family);
}

function pathOf(sides: readonly (PeerSide | undefined)[]): string {
  const paths = sides.flatMap((side) => side === undefined || side.path === "none" ? [] : [side.path]);
  return paths.length === 0 ? "none" : [...new Set(paths)].join("+");
}

/** A reason that both families share is given once; where they differ, each is named. */
function reasonOf(v4: PeerSide | undefined, v6: PeerSide | undefined): string | null {
  if (v4 === undefined || v6 === undefined) return v4?.reason ?? v6?.reason ?? null;
  if (v4.reason === v6.reason) return v4.reason;
  return [v4.reason === null ? [] : `IPv4: ${v4.reason}`, v6.reason === null ? [] : `IPv6: ${v6.reason}`].flat().join("; ");
}
