/**
 * subnet.env: the file by which the agent tells the CNI plugin, and itself after a restart, this node's subnets and MTU.
 *
 * Owns its text, both ways; files are read and written by others. It needs no library, because the CNI plugin, which starts for every
 * pod, reads it. Sources: flannel, `pkg/subnet/subnet.go`; flannel's `cni-plugin`, `flannel.go`.
 *
 * @module
 */

import { type Cidr, type Family, familyOf, lengthOf, networkOf, parseCidr, plus } from "../model/ip.ts";
import { ConfigError, oneLine, quote } from "./errors.ts";

/** What the file says. */
export interface SubnetEnv {
  /** The prefixes that hold all pods, IPv4 first; never empty. */
  readonly networks: readonly Cidr[];
  /** This node's own subnets, at most one per family, IPv4 first; never empty. */
  readonly subnets: readonly Cidr[];
  /** Bytes. */
  readonly mtu: number;
  /** Whether the agent masquerades, so that nobody else need. */
  readonly ipMasq: boolean;
}

const NETWORK: Readonly<Record<Family, string>> = { 4: "FLANNEL_NETWORK", 6: "FLANNEL_IPV6_NETWORK" };
const SUBNET: Readonly<Record<Family, string>> = { 4: "FLANNEL_SUBNET", 6: "FLANNEL_IPV6_SUBNET" };
const MTU = "FLANNEL_MTU";
const IPMASQ = "FLANNEL_IPMASQ";
const FAMILIES: readonly Family[] = [4, 6];

/**
 * The text of the file, byte for byte as flannel writes it. A subnet is written with its first host address.
 *
 * @example Usage
 * ```ts
 * import { renderSubnetEnv } from "./subnet_env.ts";
 * import { parseCidr } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * const [networks, subnets] = [[parseCidr("10.244.0.0/16")], [parseCidr("10.244.1.0/24")]];
 * assert.equal(
 *   renderSubnetEnv({ networks, subnets, mtu: 1450, ipMasq: true }),
 *   "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
 * );
 * ```
 */
export function renderSubnetEnv({ networks, subnets, mtu, ipMasq }: SubnetEnv): string {
  const lines = FAMILIES.flatMap((family) => {
    const outer = networks.filter((network) => familyOf(network) === family);
    const own = subnets.filter((subnet) => familyOf(subnet) === family);
    return [
      ...outer.length === 0 ? [] : [`${NETWORK[family]}=${outer.join(",")}`],
      ...own.map((subnet) => `${SUBNET[family]}=${plus(networkOf(subnet), 1)}/${lengthOf(subnet)}`),
    ];
  });
  return [...lines, `${MTU}=${mtu}`, `${IPMASQ}=${ipMasq}`, ""].join("\n");
}

/**
 * Reads the file as the CNI plugin does: strictly, and everything must be there.
 *
 * @param path The file's path, for messages.
 * @throws {ConfigError} If a value is malformed or one is missing. The message names the file and the variable.
 */
export function parseSubnetEnv(text: string, path: string): SubnetEnv {
  const fail = (why: string) => new ConfigError(`Cannot use the subnet file ${quote(path)}: ${why}`);
  const values = new Map<string, string>();
  for (const line of text.split("\n").map((line) => line.replace(/\r$/, ""))) {
    const [, name = "", value] = /^([^=]*)(?:=(.*))?$/s.exec(line)!;
    if (![...Object.values(NETWORK), ...Object.values(SUBNET), MTU, IPMASQ].includes(name)) continue;
    if (value === undefined) throw fail(`${name} has no value: expected "${name}=..."`);
    values.set(name, value);
  }
  const cidrs = (names: Readonly<Record<Family, string>>, several: boolean) =>
    FAMILIES.flatMap((family) => {
      const value = values.get(names[family]);
      const found = value === undefined ? [] : (several ? value.split(",") : [value]).map((member) => prefix(member, family));
      if (!found.includes(null)) return [...new Set(found as Cidr[])];
      const expected = `${several ? "IPv" : "one IPv"}${family} ${several ? "prefixes with commas between" : "prefix"}`;
      throw fail(`${names[family]} is ${oneLine(value!) || "empty"}: expected ${expected}`);
    });
  const [networks, subnets] = [cidrs(NETWORK, true), cidrs(SUBNET, false)];
  const [mtu, ipMasq] = [values.get(MTU), values.get(IPMASQ)];
  if (mtu !== undefined && !(/^\d{1,10}$/.test(mtu) && Number(mtu) < 2 ** 32)) {
    throw fail(`${MTU} is ${oneLine(mtu) || "empty"}: expected a number of bytes such as 1450`);
  }
  const missing = [
    ...networks.length === 0 ? Object.values(NETWORK) : [],
    ...subnets.length === 0 ? Object.values(SUBNET) : [],
    ...mtu === undefined ? [MTU] : [],
    ...ipMasq === undefined ? [IPMASQ] : [],
  ];
  if (missing.length > 0) throw fail(`it is missing ${missing.join(", ")}; the agent writes the file once it holds a lease`);
  return { networks, subnets, mtu: Number(mtu), ipMasq: ipMasq === "true" };
}

/**
 * The subnets that this node had before, as the agent reads its own file when it starts: leniently, and nothing is an error.
 *
 * Values may be lists; members that are malformed or of the other family do not count, and a variable with more than one that counts
 * says nothing. Lines may be written as for a shell: with `export`, quotes or a comment.
 *
 * @returns At most one per family, IPv4 first, with host bits cleared.
 */
export function previousSubnets(text: string): readonly Cidr[] {
  const values = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [, name, value] = /^\s*(?:export\s+)?(\w+)\s*=([^#]*)/.exec(line) ?? [];
    if (name !== undefined) values.set(name, value!.trim().replace(/^(["'])(.*)\1$/, "$2"));
  }
  return FAMILIES.flatMap((family) => {
    const members = values.get(SUBNET[family])?.split(",") ?? [];
    const found = members.flatMap((member) => prefix(member.trim(), family) ?? []);
    return found.length === 1 ? found : [];
  });
}

function prefix(text: string, family: Family): Cidr | null {
  try {
    const cidr = parseCidr(text);
    return familyOf(cidr) === family ? cidr : null;
  } catch {
    return null;
  }
}
