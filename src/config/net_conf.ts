/**
 * The network configuration: the text of net-conf.json, which Kubernetes and the embedded store keep in a file and etcd under a key.
 *
 * Read as flannel reads it (flannel, `pkg/subnet/config.go`; Go, `encoding/json`): keys count whatever their case, the last of several
 * wins, unknown ones are ignored, and so is `null` where Go ignores it. What flannel ignores silently is a warning here. Differences: no
 * `Backend` means vxlan, `IPv6Network` must be IPv6, a range from which no subnet can be taken is refused. What stands in `Backend` is
 * the backend's own affair.
 *
 * @module
 */

import * as v from "valibot";
import { foldKeys } from "../model/fold_keys.ts";
import { type Cidr, type Family, familyOf, type Ip, ipNumber, lengthOf, parseCidr, tryParseIp } from "../model/ip.ts";
import type { Network, Range } from "../model/lease.ts";
import { allocationOf, type Wish } from "./allocation.ts";
import { ConfigError, oneLine, quote } from "./errors.ts";
import { type Member, splitObject } from "./json_object.ts";
import { nearest } from "./nearest.ts";

/** Where a text comes from and what it is for. */
export interface NetConfOptions {
  /** The file's path or the key in etcd, for messages. */
  readonly source: string;
  /** Whether the lease store cuts the subnets itself. If not (Kubernetes), the keys that say how are not looked at. */
  readonly allocates: boolean;
}

/** What a network configuration says. */
export interface NetConf {
  readonly network: Network;
  /** What in the text does nothing, one line each. */
  readonly warnings: readonly string[];
}

/** Longer texts do not fit into a value of etcd or a ConfigMap. */
const LONGEST = 1 << 20;

const v4Address = field("an IPv4 address", (it) => addressOrNone(it, 4));
const v6Address = field("an IPv6 address", (it) => addressOrNone(it, 6));
const flag = field("true or false", (it) => typeof it === "boolean" ? it : undefined);
const length = field("a whole number such as 24", (it, text) => /^\d{1,9}$/.test(text) ? Number(it) || null : undefined);

/** The schema of the values' JSON texts, since Go tells `24` from `24.0`. An issue's message completes "expected". */
const NET_CONF = v.object({
  Network: v.optional(field("an IPv4 prefix such as 10.244.0.0/16", (it) => prefix(it, 4))),
  IPv6Network: v.optional(field("an IPv6 prefix such as fd00:10:244::/48", (it) => prefix(it, 6))),
  EnableIPv4: v.optional(flag, "true"),
  EnableIPv6: v.optional(flag, "false"),
  EnableNFTables: v.optional(flag, "false"),
  SubnetLen: v.optional(length, "0"),
  SubnetMin: v.optional(v4Address, '"0.0.0.0"'),
  SubnetMax: v.optional(v4Address, '"0.0.0.0"'),
  IPv6SubnetLen: v.optional(length, "0"),
  IPv6SubnetMin: v.optional(v6Address, '"::"'),
  IPv6SubnetMax: v.optional(v6Address, '"::"'),
  Backend: v.optional(field('an object with a "Type", such as {"Type": "vxlan"}', backend), '{"Type": "vxlan"}'),
});

type Conf = v.InferOutput<typeof NET_CONF>;
type Key = keyof typeof NET_CONF.entries;

const KEYS = Object.keys(NET_CONF.entries) as Key[];
/** Where Go does not ignore `null`. */
const NULL_COUNTS: readonly Key[] = ["Network", "IPv6Network", "SubnetMin", "SubnetMax", "Backend"];

/**
 * Reads a network configuration.
 *
 * @throws {ConfigError} If it can not be used. The message names source, key, value and what is expected there.
 *
 * @example Usage
 * ```ts
 * import { parseNetConf } from "./net_conf.ts";
 * import assert from "node:assert/strict";
 *
 * const text = '{"Network": "10.244.0.0/16", "Backend": {"Type": "host-gw"}}';
 * const { network } = parseNetConf(text, { source: "net-conf.json", allocates: true });
 * assert.equal(network.backendType, "host-gw");
 * assert.deepEqual(network.ranges[0]?.allocation, { length: 24, min: "10.244.1.0", max: "10.244.255.0" });
 * ```
 */
export function parseNetConf(text: string, { source, allocates }: NetConfOptions): NetConf {
  try {
    if (text.length > LONGEST) throw new SyntaxError(`it is longer than ${LONGEST} characters`);
    const { texts, unknown } = foldMembers(splitObject(text));
    const conf = check(texts);
    const written = KEYS.filter((key) => texts[key] !== undefined);
    return { network: toNetwork(conf, allocates), warnings: [...unknown.map(sayUnknown), ...sayIdle(written, conf, allocates)] };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new ConfigError(`Cannot use the network configuration ${quote(source)}: ${error.message}`);
  }
}

type Texts = { [K in Key]?: string };

/** The last text of each key; without those that are `null` where that is the same as absent. */
function foldMembers(members: readonly Member[]): { readonly texts: Texts; readonly unknown: readonly string[] } {
  const texts: Texts = {};
  const unknown: string[] = [];
  for (const { key: written, text } of members) {
    const [key] = Object.keys(foldKeys({ [written]: text }, KEYS).value) as Key[];
    if (key === undefined) unknown.push(written);
    else if (text !== "null" || NULL_COUNTS.includes(key)) texts[key] = text;
  }
  return { texts, unknown };
}

function check(texts: Texts): Conf {
  const result = v.safeParse(NET_CONF, texts, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const key = String(issue.path?.[0]?.key) as Key;
  // What stands in Backend may be secret, such as a key of WireGuard.
  const shown = key === "Backend" ? 'is null or has no usable "Type"' : `is ${oneLine(texts[key] ?? "missing")}`;
  throw new SyntaxError(`"${key}" ${shown}: expected ${issue.message}`);
}

function toNetwork(conf: Conf, allocates: boolean): Network {
  const ranges: Range[] = [];
  if (conf.EnableIPv4) {
    const wish = { length: conf.SubnetLen, min: conf.SubnetMin, max: conf.SubnetMax };
    ranges.push(toRange("", conf.Network, allocates ? wish : null));
  }
  if (conf.EnableIPv6) {
    const wish = { length: conf.IPv6SubnetLen, min: conf.IPv6SubnetMin, max: conf.IPv6SubnetMax };
    ranges.push(toRange("IPv6", conf.IPv6Network, allocates ? wish : null));
  }
  if (ranges.length === 0) throw new SyntaxError('"EnableIPv4" and "EnableIPv6" are false: expected true for one of them');
  return { ranges, ...conf.Backend, nftables: conf.EnableNFTables };
}

function toRange(keyPrefix: "" | "IPv6", network: Cidr | undefined, wish: Wish | null): Range {
  if (network === undefined || lengthOf(network) === 0) {
    const example = keyPrefix === "" ? "10.244.0.0/16" : "fd00:10:244::/48";
    throw new SyntaxError(`"${keyPrefix}Network" is ${network ?? "missing"}: expected a prefix such as ${example}`);
  }
  if (wish === null) return { network, allocation: null };
  const allocation = allocationOf(network, wish);
  if (!("about" in allocation)) return { network, allocation };
  throw new SyntaxError(`"${keyPrefix}${allocation.about}" is ${allocation.value}: expected ${allocation.expected}`);
}

function sayUnknown(written: string): string {
  const { name, unlikeness } = nearest(written.toLowerCase(), KEYS.map((key) => key.toLowerCase()));
  const meant = KEYS.find((key) => key.toLowerCase() === name);
  return `Key ${quote(written)} of the network configuration is not known${unlikeness <= 0.5 ? `; the nearest is "${meant}"` : ""}`;
}

/** Keys that do nothing because of others. */
function sayIdle(written: readonly Key[], conf: Conf, allocates: boolean): readonly string[] {
  return written.flatMap((key) => {
    const say = (why: string) => [`Key "${key}" of the network configuration does nothing: ${why}`];
    if (!allocates && key.includes("Subnet")) return say("the lease store does not cut the subnets itself");
    if (!conf.EnableIPv6 && key.startsWith("IPv6")) return say('"EnableIPv6" is not true');
    if (!conf.EnableIPv4 && /^(Network|Subnet)/.test(key)) return say('"EnableIPv4" is false');
    return [];
  });
}

/**
 * A value given as JSON text.
 *
 * @param expected What is expected, for messages.
 * @param read Makes the value; `undefined` if it is not what is expected.
 */
function field<T>(expected: string, read: (value: unknown, text: string) => T | undefined) {
  return v.pipe(
    v.string(),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      const value = read(JSON.parse(dataset.value), dataset.value);
      if (value !== undefined) return value;
      addIssue({ message: expected });
      return NEVER;
    }),
  );
}

function prefix(value: unknown, family: Family): Cidr | undefined {
  if (typeof value !== "string") return undefined;
  try {
    const cidr = parseCidr(value);
    return familyOf(cidr) === family ? cidr : undefined;
  } catch {
    return undefined;
  }
}

/** An address of the family, or `null` for the one that is all zeros and means "not set". */
function addressOrNone(value: unknown, family: Family): Ip | null | undefined {
  const ip = typeof value === "string" ? tryParseIp(value) : null;
  if (ip === null || familyOf(ip) !== family) return undefined;
  return ipNumber(ip) === 0n ? null : ip;
}

function backend(value: unknown): Pick<Network, "backendType" | "backendOptions"> | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const backendOptions = value as Readonly<Record<string, unknown>>;
  const { Type: type } = foldKeys(backendOptions, ["Type"]).value;
  const usable = typeof type === "string" && /^[a-z0-9][a-z0-9_-]{0,62}$/i.test(type);
  return usable ? { backendType: type.toLowerCase(), backendOptions } : undefined;
}
