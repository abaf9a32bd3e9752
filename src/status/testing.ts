/**
 * A report for the tests of this folder: the one that the HTTP contract shows.
 *
 * @module
 */

import { parseCidr, parseIp } from "../model/ip.ts";
import type { PeerReport, Report } from "../model/report.ts";

function peerOf(n: number, path: string): PeerReport {
  const side = { subnet: parseCidr(`10.244.${n}.0/24`), publicIp: parseIp(`192.168.10.${n}`) };
  return { key: `${n}`, backendType: "vxlan", sides: [{ ...side, path, state: "in-sync", reason: null }], unreadable: null };
}

/** The contract's node `a1`: ready, with one direct peer and one over vxlan. */
export const A1: Report = {
  version: "0.1.0",
  node: "a1",
  conditions: { lease: null, subnetEnv: null, traffic: null, kernel: null },
  backend: "directrouting",
  network: { ipv4: parseCidr("10.244.0.0/16"), ipv6: null },
  store: { kind: "etcd", connected: true, lastError: null, note: null },
  lease: {
    subnet: parseCidr("10.244.1.0/24"),
    ipv6Subnet: null,
    publicIP: parseIp("192.168.10.1"),
    publicIPv6: null,
    expiresAt: Date.UTC(2026, 0, 1),
  },
  link: { name: "eth0", address: parseIp("192.168.10.1"), mtu: 1500 },
  mtu: 1450,
  peers: [peerOf(2, "direct"), peerOf(3, "vxlan")],
  kernel: { items: 5, pending: 0, repairs: 0, lastSync: Date.UTC(2026, 0, 1) },
  reversePath: [{ link: "eth0", mode: "loose" }],
  problems: [],
};

/** The same node before it holds a lease. */
export const STARTING: Report = {
  ...A1,
  conditions: {
    lease: "no lease yet: etcd does not answer",
    subnetEnv: "subnet.env is not written",
    traffic: "traffic rules are not in place",
    kernel: "the leases have not been read",
  },
  backend: null,
  network: { ipv4: null, ipv6: null },
  store: { ...A1.store, connected: false, lastError: "connect ECONNREFUSED 127.0.0.1:2379" },
  lease: { ...A1.lease, subnet: null, expiresAt: null },
  mtu: null,
  peers: [],
  kernel: { items: 0, pending: 0, repairs: 0, lastSync: null },
  reversePath: [],
};
