/**
 * What tests of stores that keep leases under flannel's keys have in common: what a node asks for, and entries that are no leases.
 *
 * @module
 */

import { parseCidr, parseIp } from "../../src/model/ip.ts";
import type { LeaseRequest, Range } from "../../src/model/lease.ts";

/** A network that the store cuts. */
export const V4: Range = {
  network: parseCidr("10.5.0.0/16"),
  allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.255.0") },
};

/** What the node with a public address asks for in that network. */
export function requestOf(publicIp: string, data: unknown = null): LeaseRequest {
  return {
    network: { ranges: [V4], backendType: "vxlan", backendOptions: {}, nftables: false },
    backendType: "vxlan",
    endpoints: [{ publicIp: parseIp(publicIp), data }],
    previous: [],
  };
}

/** A value that can be read. */
export const GOOD = '{"PublicIP":"192.168.64.200"}';

/** Entries that are no leases: in their keys or in their values. */
export const BROKEN: readonly (readonly [key: string, value: string])[] = [
  ["nonsense", GOOD],
  ["10.5.200.0-24\n", GOOD],
  ["10.5.201.7-24", GOOD],
  ["10.5.202.0-24&fd00:5::-64", GOOD],
  ["10.5.203.0-24", ""],
  ["10.5.204.0-24", "{"],
  ["10.5.205.0-24", "null"],
  ["10.5.206.0-24", '{"PublicIP":"\\u0000"}'],
  ["10.5.207.0-24", `{"PublicIP":"10.0.0.1","BackendData":${"[".repeat(5000)}${"]".repeat(5000)}}`],
];
