/**
 * A lease as text: flannel's key and JSON value.
 *
 * Owns both ways of the format. What it reads was written by anybody: it answers with a lease or with one line that says what is wrong,
 * and never throws. Source: flannel, `pkg/subnet/subnet.go` (MakeSubnetKey, ParseSubnetKey), `pkg/lease/lease.go` (LeaseAttrs).
 *
 * @module
 */

import * as v from "valibot";
import { type Cidr, type Family, familyOf, type Ip, lengthOf, networkOf, parseCidr, tryParseIp } from "../model/ip.ts";
import { type Endpoint, endpointOf, type Lease, type LeaseRecord } from "../model/lease.ts";

/** Longer values are refused unread. */
const LONGEST = 64 * 1024;

/**
 * The name of a lease's key: `10.244.1.0-24`, with IPv6 `10.244.1.0-24&fd00:1::-64`, with IPv6 alone `0.0.0.0-0&fd00:1::-64`.
 *
 * @param subnets At most one per family.
 */
export function leaseKey(subnets: readonly Cidr[]): string {
  const part = (family: Family) => {
    const subnet = subnets.find((subnet) => familyOf(subnet) === family);
    return subnet === undefined ? null : `${networkOf(subnet)}-${lengthOf(subnet)}`;
  };
  const [v4, v6] = [part(4), part(6)];
  return `${v4 ?? "0.0.0.0-0"}${v6 === null ? "" : `&${v6}`}`;
}

/**
 * The value of a lease, byte for byte as flannel writes it: no spaces, this order of fields, an IPv6 address always there, what is
 * empty left out.
 *
 * @example Usage
 * ```ts
 * import { leaseValue } from "./lease_value.ts";
 * import { parseCidr, parseIp } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * const endpoints = [{ subnet: parseCidr("10.5.1.0/24"), publicIp: parseIp("192.0.2.1"), data: null }];
 * assert.equal(leaseValue({ backendType: "host-gw", endpoints }), '{"PublicIP":"192.0.2.1","PublicIPv6":null,"BackendType":"host-gw"}');
 * ```
 */
export function leaseValue({ backendType, endpoints }: Pick<Lease, "backendType" | "endpoints">): string {
  const [v4, v6] = ([4, 6] as const).map((family) => endpoints.find(({ subnet }) => familyOf(subnet) === family));
  return JSON.stringify({
    PublicIP: v4?.publicIp ?? "0.0.0.0",
    PublicIPv6: v6?.publicIp ?? null,
    ...(backendType !== "" && { BackendType: backendType }),
    ...(v4 !== undefined && v4.data !== null && { BackendData: v4.data }),
    ...(v6 !== undefined && v6.data !== null && { BackendV6Data: v6.data }),
  });
}

const VALUE = v.object({
  PublicIP: v.optional(v.string("PublicIP is not text"), "0.0.0.0"),
  PublicIPv6: v.nullish(v.string("PublicIPv6 is not text")),
  BackendType: v.optional(v.string("BackendType is not text"), ""),
  BackendData: v.optional(v.unknown(), null),
  BackendV6Data: v.optional(v.unknown(), null),
}, "the value is not a JSON object");

/**
 * Reads a lease.
 *
 * @param key The key's last part.
 * @param value The value.
 * @param expiresAt When it expires, in milliseconds since the epoch; `null` for never.
 */
export function readLease(key: string, value: string, expiresAt: number | null): LeaseRecord {
  const subnets = readKey(key);
  if (subnets === null) return { key, reason: `the key is not a subnet such as 10.244.1.0-24` };
  if (value.length > LONGEST) return { key, reason: `the value has ${value.length} characters, more than ${LONGEST}` };
  const parsed = v.safeParse(v.pipe(v.string(), v.parseJson(undefined, "the value is not JSON"), VALUE), value, {
    abortEarly: true,
  });
  if (!parsed.success) return { key, reason: parsed.issues[0].message };
  const { PublicIP, PublicIPv6, BackendType, BackendData, BackendV6Data } = parsed.output;
  const endpoints: Endpoint[] = [];
  for (const subnet of subnets) {
    const isV4 = familyOf(subnet) === 4;
    const text = isV4 ? PublicIP : PublicIPv6 ?? "";
    const publicIp = tryParseIp(text);
    if (publicIp === null || familyOf(publicIp) !== familyOf(subnet)) {
      return { key, reason: `${isV4 ? "PublicIP" : "PublicIPv6"} "${text.slice(0, 64)}" is not an IPv${familyOf(subnet)} address` };
    }
    endpoints.push({ subnet, publicIp, data: isV4 ? BackendData : BackendV6Data });
  }
  return { key, lease: { key, backendType: BackendType, endpoints, expiresAt } };
}

/** The subnets that a key names; `null` if it names none. */
function readKey(key: string): Cidr[] | null {
  const match = /^(\d+(?:\.\d+){3})-(\d{1,2})(?:&([0-9a-f:.]+)-(\d{1,3}))?$/.exec(key);
  if (match === null) return null;
  const [, v4, length4, v6, length6] = match;
  try {
    const first = length4 === "0" ? [] : [parseCidr(`${v4}/${length4}`)];
    const second = v6 === undefined ? [] : [parseCidr(`${v6}/${length6}`)];
    const subnets = [...first, ...second];
    return subnets.length === 0 ? null : subnets;
  } catch {
    return null;
  }
}

/** Whether a lease is that of the node with these public addresses: IPv4 counts where there is one, as in flannel. */
export function isLeaseOf(lease: Lease, publicIps: readonly Ip[]): boolean {
  const own = publicIps.find((ip) => familyOf(ip) === 4) ?? publicIps[0];
  return own !== undefined && endpointOf(lease, familyOf(own))?.publicIp === own;
}
