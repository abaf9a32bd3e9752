/**
 * The report, put together from the state of the agent: conditions, problems and figures. Pure.
 *
 * @module
 */

import { type Family, familyOf, type Ip } from "../model/ip.ts";
import { describe, type Item } from "../model/item.ts";
import { endpointOf, type Lease, type LeaseStore } from "../model/lease.ts";
import type { Conditions, Problem, Report, ReversePathReport } from "../model/report.ts";
import type { Rejected } from "../reconcile/fold.ts";
import type { Plan } from "../reconcile/plan.ts";
import type { External } from "./external.ts";
import { type EffectStanding, kernelStanding, reportPeers, type Standing } from "./report.ts";
import type { Setup } from "./setup.ts";

const EXPIRED = "the lease has expired and could not be renewed";
/** Problems with single items that are named at the most. */
const NAMED = 10;

/** What a report is made of. */
export interface State {
  readonly version: string;
  readonly node: string | null;
  readonly now: number;
  readonly store: Pick<LeaseStore, "kind" | "health"> & { readonly note: string | null };
  readonly setup: Setup | null;
  readonly external: External | null;
  readonly publicIps: readonly Ip[];
  readonly lease: Lease | null;
  /** The MTU for pods, in bytes. */
  readonly mtu: number | null;
  readonly plan: Plan;
  readonly rejected: readonly Rejected[];
  readonly standing: Standing;
  readonly repairs: number;
  readonly lastSync: number | null;
  /** A full list of leases has been read. */
  readonly fullList: boolean;
  readonly effects: EffectStanding;
  /** What goes wrong now; `null` where nothing does. */
  readonly problems: {
    readonly config: string | null;
    /** What is wrong with the backend as a whole. */
    readonly backend: string | null;
    readonly external: string | null;
    /** Why the lease could not be renewed, or a new one taken. */
    readonly lease: string | null;
    /** Why the lease is not this node's any more. */
    readonly lost: string | null;
    readonly subnetEnv: string | null;
    readonly traffic: string | null;
    readonly kernel: string | null;
  };
}

/** What the agent says about itself. */
export function reportOf(state: State): Report {
  const { version, node, store, setup, external, publicIps, lease, plan, standing } = state;
  const { inSync, missing } = kernelStanding(plan, standing);
  const endpoint = (family: Family) => lease === null ? undefined : endpointOf(lease, family);
  const network = (family: Family) => setup?.network.ranges.find((range) => familyOf(range.network) === family)?.network ?? null;
  const publicIp = (family: Family) => endpoint(family)?.publicIp ?? publicIps.find((ip) => familyOf(ip) === family) ?? null;
  return {
    version,
    node,
    conditions: conditionsOf(state),
    backend: setup?.backend.name ?? null,
    network: { ipv4: network(4), ipv6: network(6) },
    store: { kind: store.kind, ...store.health(), note: store.note },
    lease: {
      subnet: endpoint(4)?.subnet ?? null,
      ipv6Subnet: endpoint(6)?.subnet ?? null,
      publicIP: publicIp(4),
      publicIPv6: publicIp(6),
      expiresAt: lease?.expiresAt ?? null,
    },
    link: {
      name: external?.link.name ?? null,
      address: external?.addresses.get(4) ?? external?.addresses.get(6) ?? null,
      mtu: external?.link.mtu ?? null,
    },
    mtu: state.mtu,
    peers: reportPeers(plan, state.rejected, standing, state.effects),
    kernel: { items: inSync, pending: missing.length, repairs: state.repairs, lastSync: state.lastSync },
    reversePath: reversePaths(plan, standing),
    problems: problemsOf(state),
  };
}

/** How the devices filter that packets of peers come in over. */
function reversePaths({ items }: Plan, { observed }: Standing): ReversePathReport[] {
  return [...items].flatMap(([key, item]) => {
    if (item.kind !== "reverse-path") return [];
    const found = observed.get(key);
    const mode = found === undefined ? "strict" : found.kind === "reverse-path" && found.off ? "off" : "loose";
    return [{ link: item.link, mode }];
  });
}

/** Why the agent is not ready, by condition. */
export function conditionsOf(state: State): Conditions {
  const { setup, lease, now, problems, lastSync, fullList, plan, standing, store, effects } = state;
  const { missing } = kernelStanding(plan, standing);
  const expired = lease !== null && lease.expiresAt !== null && lease.expiresAt <= now;
  const { lastError } = store.health();
  const waits = (what: string) => lastError === null ? what : `${what}: ${lastError}`;
  const unread = setup === null ? waits("the network configuration has not been read yet") : null;
  const none = problems.config ?? unread ?? problems.external ?? problems.backend ?? problems.lease ??
    waits("no lease has been taken yet");
  const outOfSync = !fullList
    ? waits("the list of leases has not been read yet")
    : missing.length > 0
    ? `${missing.length} items are missing in the kernel: ${missing[0]}`
    : lastSync === null
    ? problems.backend ?? "the kernel has not been in sync yet"
    : null;
  return {
    lease: lease === null ? none : problems.lost !== null ? `the lease is lost: ${problems.lost}` : expired ? EXPIRED : null,
    subnetEnv: problems.subnetEnv,
    traffic: problems.traffic,
    kernel: problems.kernel ?? outOfSync ?? effects.unready,
  };
}

function problemsOf({ setup, lease, problems, standing }: State): Problem[] {
  const named = [
    ["The network configuration is not used", setup === null ? null : problems.config],
    [`The backend ${setup?.backend.name} does not work as it should`, problems.backend],
    ["The device that leads to the other nodes is missing", problems.external],
    ["The lease could not be renewed", problems.lease],
    ["The traffic rules are not in place", lease === null ? null : problems.traffic],
    ["subnet.env could not be written", lease === null ? null : problems.subnetEnv],
  ] as const;
  const failures = [...standing.failures.values()].slice(0, NAMED);
  return [
    ...named.flatMap(([what, why]) => why === null ? [] : [{ what, why, remedy: null }]),
    ...failures.map(({ item, reason }) => ({ what: `${describe(item)} is not in place`, why: reason, remedy: remedyFor(item) })),
  ];
}

function remedyFor(item: Item): string | null {
  return item.kind === "reverse-path" ? `sysctl -w net.ipv4.conf.${item.link}.rp_filter=2` : null;
}
