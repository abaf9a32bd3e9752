/**
 * The body of `/v1/status`: a report in the words of the HTTP contract. Field names are fixed; fields may be added.
 *
 * @module
 */

import { countPeers, type PeerCounts, type Problem, reasonNotReady, type Report, type ReversePathReport } from "../model/report.ts";

/** The JSON of `/v1/status`. What is not known is `null`; the shape is always the same. */
export interface StatusBody {
  readonly version: string;
  readonly node: string | null;
  readonly ready: boolean;
  readonly reason: string | null;
  readonly backend: string | null;
  readonly network: Report["network"];
  readonly store: Report["store"];
  readonly lease: Omit<Report["lease"], "expiresAt"> & { readonly expiresAt: string | null };
  readonly link: Report["link"];
  readonly mtu: number | null;
  readonly peers: PeerCounts;
  readonly kernel: Omit<Report["kernel"], "lastSync"> & { readonly lastSync: string | null };
  readonly reversePath: readonly ReversePathReport[];
  readonly problems: readonly Problem[];
}

/** Renders a report as the body of `/v1/status`. */
export function statusBody(report: Report): StatusBody {
  const { version, node, backend, network, store, lease, link, mtu, kernel, reversePath, problems } = report;
  const reason = reasonNotReady(report.conditions);
  return {
    version,
    node,
    ready: reason === null,
    reason,
    backend,
    network,
    store,
    lease: { ...lease, expiresAt: renderTime(lease.expiresAt) },
    link,
    mtu,
    peers: countPeers(report.peers),
    kernel: { ...kernel, lastSync: renderTime(kernel.lastSync) },
    reversePath,
    problems,
  };
}

/** RFC 3339 in UTC to the second; `null` also for what no calendar can name (a store may answer any number). */
function renderTime(ms: number | null): string | null {
  const time = new Date(ms ?? NaN);
  return Number.isNaN(time.getTime()) ? null : time.toISOString().replace(/\.\d+Z$/, "Z");
}
