/**
 * Leases as flannel writes them: a key made of the subnets, and a JSON value that says where the node is.
 *
 * Owns the two formats, in both directions; the stores decide where a key stands and how long a lease lives. What is read was written by
 * other nodes and is judged entry by entry: one that can not be read becomes a record with the reason. Whether a lease fits the network
 * is for others to judge. Source: flannel, `pkg/subnet/subnet.go` and `pkg/lease/lease.go`, v0.18 to v0.28.
 *
 * @module
 */

import * as v from "valibot";
import { quote } from "../config/errors.ts";
import { splitObject } from "../config/json_object.ts";
import { foldKeys } from "../model/fold_keys.ts";
import { type Cidr, cidrOf, type Family, familyOf, type Ip, networkOf, tryParseIp } from "../model/ip.ts";
import type { Lease, LeaseRecord } from "../model/lease.ts";

/** The longest value that is read, in UTF-16 code units; flannel's own are below 400. */
export const LONGEST_VALUE = 1 << 16;

/** The longest key: two addresses in their longest form, two lengths and what stands between. */
const LONGEST_KEY = 64;
/** A shorter text can not hold values inside each other to a depth that harms its readers. */
const SHALLOW = 200;
/** Stands for the IPv4 subnet in the key of a lease that has none. */
const NO_IPV4 = "0.0.0.0-0";

const ip4 = address(4);
const VALUE = v.object({
  PublicIP: v.optional(ip4, "0.0.0.0"),
  PublicIPv6: v.nullish(address(6)),
  BackendType: v.nullish(v.pipe(v.string("expected a string"), v.maxLength(100, "expected at most 100 characters")), ""),
  BackendData: v.optional(v.unknown(), null),
  BackendV6Data: v.optional(v.unknown(), null),
});
const NAMES = Object.keys(VALUE.entries) as (keyof typeof VALUE.entries)[];

type Value = v.InferOutput<typeof VALUE>;

/**
 * The key of a lease.
 *
 * @param subnets At most one per family, and at least one.
 *
 * @example Usage
 * ```ts
 * import { leaseKey } from "./lease_value.ts";
 * import { parseCidr } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(leaseKey([parseCidr("10.5.52.0/24")]), "10.5.52.0-24");
 * assert.equal(leaseKey([parseCidr("10.5.52.0/24"), parseCidr("fd00:5::/64")]), "10.5.52.0-24&fd00:5::-64");
 * assert.equal(leaseKey([parseCidr("fd00:5::/64")]), "0.0.0.0-0&fd00:5::-64");
 * ```
 */
export function leaseKey(subnets: readonly Cidr[]): string {
  const [v4 = NO_IPV4, v6] = ([4, 6] as const).map((family) => subnets.find((it) => familyOf(it) === family)?.replace("/", "-"));
  return v6 === undefined ? v4 : `${v4}&${v6}`;
}

/**
 * The subnets that a key names, IPv4 first.
 *
 * @throws {SyntaxError} If it is not written as flannel writes keys, so that no two keys name the same subnets.
 */
export function parseLeaseKey(key: string): readonly Cidr[] {
  const match = key.length > LONGEST_KEY ? null : /^([\d.]+)-(\d{1,2})(?:&([\da-f:]+)-(\d{1,3}))?$/.exec(key);
  if (match === null) throw new SyntaxError(`the key ${quote(key)} is not a subnet such as 10.5.52.0-24`);
  const [, v4, length4, v6, length6] = match;
  const subnets: Cidr[] = [];
  if (`${v4}-${length4}` !== NO_IPV4) subnets.push(keySubnet(v4!, Number(length4), 4));
  if (v6 !== undefined) subnets.push(keySubnet(v6, Number(length6), 6));
  if (subnets.length === 0) throw new SyntaxError(`the key ${quote(key)} names no subnet`);
  return subnets;
}

function keySubnet(text: string, length: number, family: Family): Cidr {
  const ip = tryParseIp(text);
  const longest = family === 4 ? 31 : 127; // what flannel reads
  if (ip === null || familyOf(ip) !== family || length < 1 || length > longest) {
    throw new SyntaxError(`its key says ${quote(`${text}-${length}`)}, which is no IPv${family} subnet of length 1 to ${longest}`);
  }
  const subnet = cidrOf(ip, length);
  if (networkOf(subnet) !== text) throw new SyntaxError(`its key says ${quote(`${text}-${length}`)} instead of ${subnet}`);
  return subnet;
}

/**
 * The value of a lease: one line of JSON with the members in flannel's order.
 *
 * @example Usage
 * ```ts
 * import { leaseValue } from "./lease_value.ts";
 * import { parseCidr, parseIp } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * const endpoint = { subnet: parseCidr("10.5.52.0/24"), publicIp: parseIp("192.168.64.3"), data: { VNI: 1 } };
 * assert.equal(
 *   leaseValue({ backendType: "vxlan", endpoints: [endpoint] }),
 *   '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}',
 * );
 * ```
 */
export function leaseValue(lease: Pick<Lease, "backendType" | "endpoints">): string {
  const [v4, v6] = ([4, 6] as const).map((family) => lease.endpoints.find(({ subnet }) => familyOf(subnet) === family));
  return JSON.stringify({
    PublicIP: v4?.publicIp ?? "0.0.0.0",
    PublicIPv6: v6?.publicIp ?? null,
    BackendType: lease.backendType || undefined,
    BackendData: v4?.data ?? undefined,
    BackendV6Data: v6?.data ?? undefined,
  });
}

/** An entry of a store as a record, whatever it holds. */
export function leaseRecord(key: string, value: string, expiresAt: number | null): LeaseRecord {
  try {
    const subnets = parseLeaseKey(key);
    const { BackendType: backendType, ...says } = parseValue(value);
    const endpoints = subnets.map((subnet) =>
      familyOf(subnet) === 4
        ? { subnet, publicIp: says.PublicIP, data: says.BackendData }
        : { subnet, publicIp: says.PublicIPv6 ?? missing(subnet), data: says.BackendV6Data }
    );
    return { key, lease: { key, backendType, endpoints, expiresAt } };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { key, reason: error.message };
  }
}

function missing(subnet: Cidr): never {
  throw new SyntaxError(`its value has no PublicIPv6, although its key has the subnet ${subnet}`);
}

function parseValue(text: string): Value {
  if (text.length > LONGEST_VALUE) throw new SyntaxError(`its value is longer than ${LONGEST_VALUE} characters`);
  const { value } = foldKeys(parseObject(text), NAMES);
  const checked = v.safeParse(VALUE, value, { abortEarly: true });
  if (checked.success) return checked.output;
  const [issue] = checked.issues;
  throw new SyntaxError(
    `${v.getDotPath(issue)} in its value: ${issue.message}, found ${quote(JSON.stringify(issue.input) ?? "nothing")}`,
  );
}

/** The object that a text holds. Members deep inside each other would exhaust the stack of whoever prints or compares them. */
function parseObject(text: string): Record<string, unknown> {
  let value: unknown = null;
  try {
    value = JSON.parse(text);
  } catch { // said better below, and alike in all runtimes
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  try {
    if (!isObject || text.length > SHALLOW) splitObject(text);
  } catch (error) {
    throw new SyntaxError(`its value is not the JSON of a lease: ${(error as Error).message}`);
  }
  return value as Record<string, unknown>;
}

function address(family: Family) {
  const said = `expected an IPv${family} address`;
  return v.pipe(
    v.string(said),
    v.check((text) => {
      const ip = tryParseIp(text);
      return ip !== null && familyOf(ip) === family;
    }, said),
    v.transform((text) => tryParseIp(text) as Ip),
  );
}
