/**
 * Leases of a dual-stack network, by number, for tests.
 *
 * @module
 */

import { type Cidr, cidrOf, type Ip, ipOf, type Mac, macFromBytes, parseCidr, parseIp } from "../src/model/ip.ts";
import type { Endpoint, Lease, LeaseRecord, Network } from "../src/model/lease.ts";

/** A network that stores cut: `/24` of `10.244.0.0/16`, and `/64` of `fd00:10:244::/48`. */
export const NETWORK: Network = {
  ranges: [
    {
      network: parseCidr("10.244.0.0/16"),
      allocation: { length: 24, min: parseIp("10.244.1.0"), max: parseIp("10.244.255.0") },
    },
    {
      network: parseCidr("fd00:10:244::/48"),
      allocation: { length: 64, min: parseIp("fd00:10:244:1::"), max: parseIp("fd00:10:244:ffff::") },
    },
  ],
  backendType: "vxlan",
  backendOptions: {},
  nftables: false,
};

/** Networks that somebody else cuts, as Kubernetes does. */
export const ASSIGNED: Network = { ...NETWORK, ranges: NETWORK.ranges.map(({ network }) => ({ network, allocation: null })) };

/** What is unusual about a lease. */
export interface Oddities {
  readonly key?: string;
  readonly backendType?: string;
  readonly families?: readonly (4 | 6)[];
  readonly subnet?: Cidr;
  readonly subnet6?: Cidr;
  readonly publicIp?: Ip;
  readonly publicIp6?: Ip;
  readonly data?: unknown;
  readonly expiresAt?: number | null;
}

/** The VTEP of a node. */
export function vtepOf(n: number): Mac {
  return macFromBytes(Uint8Array.of(2, 0, 0, 0, n >> 8, n & 0xff));
}

/** The lease of a node: `10.244.N.0/24` and `fd00:10:244:N::/64` at `192.0.2.N` and `2001:db8::N`; from 250 on, N goes on counting. */
export function leaseOf(n: number, odd: Oddities = {}): Lease {
  const data = "data" in odd ? odd.data : { VNI: 1, VtepMAC: vtepOf(n) };
  const endpoints: Record<4 | 6, Endpoint> = {
    4: {
      subnet: odd.subnet ?? cidrOf(ipOf(0x0af40000n + (BigInt(n) << 8n), 4), 24),
      publicIp: odd.publicIp ?? ipOf(0xc0000200n + BigInt(n), 4),
      data,
    },
    6: {
      subnet: odd.subnet6 ?? cidrOf(ipOf((0xfd000010024400000000n << 48n) + (BigInt(n) << 64n), 6), 64),
      publicIp: odd.publicIp6 ?? ipOf((0x20010db8n << 96n) + BigInt(n), 6),
      data,
    },
  };
  return {
    key: odd.key ?? `node-${n}`,
    backendType: odd.backendType ?? "vxlan",
    endpoints: (odd.families ?? [4, 6]).map((family) => endpoints[family]),
    expiresAt: odd.expiresAt ?? null,
  };
}

/** A store's record of a lease. */
export function recordOf(n: number, odd: Oddities = {}): LeaseRecord {
  const lease = leaseOf(n, odd);
  return { key: lease.key, lease };
}
