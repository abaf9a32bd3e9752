/**
 * From a reduced Node to a lease.
 *
 * Whoever may write a node's annotations may write anything: every value is parsed here, and one that is wrong makes the node's record
 * a reason instead of a lease. Whether the lease fits the network is for others to judge. Source: flannel, `pkg/subnet/kube/kube.go`.
 *
 * @module
 */

import { quote } from "../../config/errors.ts";
import { type Cidr, type Family, familyOf, type Ip, parseCidr, tryParseIp } from "../../model/ip.ts";
import type { Endpoint, LeaseRecord } from "../../model/lease.ts";
import type { Annotation, Annotations } from "./annotations.ts";
import { LONGEST_VALUE, type NodeObject, TOO_LONG } from "./node.ts";

/** The annotations of one family. */
export const FAMILIES = [
  { family: 4, data: "backend-data", publicIp: "public-ip", overwrite: "public-ip-overwrite", configured: "node-public-ip" },
  {
    family: 6,
    data: "backend-v6-data",
    publicIp: "public-ipv6",
    overwrite: "public-ipv6-overwrite",
    configured: "node-public-ipv6",
  },
] as const satisfies readonly { family: Family; [key: string]: Annotation | Family }[];

/** What an agent writes where it has no address of a family. */
const UNSET: readonly string[] = ["", "0.0.0.0", "::"];

/** The record of a node; `null` if no agent manages its subnet here, whatever else it says. */
export function recordOf(
  { name, annotations, podCidrs }: Pick<NodeObject, "name" | "annotations" | "podCidrs">,
): LeaseRecord | null {
  if (annotations["kube-subnet-manager"] !== "true") return null;
  try {
    const subnets = subnetsOf(podCidrs ?? []);
    const endpoints = FAMILIES.flatMap(({ family, data, publicIp }) => {
      const subnet = subnets.get(family);
      const address = bounded(annotations, publicIp);
      if (subnet === undefined || UNSET.includes(address)) return [];
      return [{ subnet, publicIp: ipOf(address, family, publicIp), data: dataOf(annotations, data) } satisfies Endpoint];
    });
    if (endpoints.length === 0) throw new SyntaxError(nothingIn(subnets));
    const backendType = bounded(annotations, "backend-type");
    return { key: name, lease: { key: name, backendType, endpoints, expiresAt: null } };
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return { key: name, reason: error.message };
  }
}

/**
 * The pod subnets by family.
 *
 * @throws {SyntaxError} If one is no prefix, or there is more than one of a family.
 */
export function subnetsOf(podCidrs: readonly string[]): ReadonlyMap<Family, Cidr> {
  const subnets = new Map<Family, Cidr>();
  for (const text of podCidrs) {
    let cidr: Cidr;
    try {
      cidr = parseCidr(text);
    } catch {
      throw new SyntaxError(`podCIDR ${quote(text)} is no prefix`);
    }
    if (subnets.has(familyOf(cidr))) {
      throw new SyntaxError(`it has more than one IPv${familyOf(cidr)} podCIDR: ${podCidrs.join(", ")}`);
    }
    subnets.set(familyOf(cidr), cidr);
  }
  return subnets;
}

function ipOf(text: string, family: Family, name: Annotation): Ip {
  const ip = tryParseIp(text);
  if (ip === null || familyOf(ip) !== family) throw new SyntaxError(`${name} ${quote(text)} is no IPv${family} address`);
  return ip;
}

function dataOf(annotations: Annotations, name: Annotation): unknown {
  const text = bounded(annotations, name);
  if (text === "") return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new SyntaxError(`${name} ${quote(text)} is no JSON`);
  }
}

function bounded(annotations: Annotations, name: Annotation): string {
  const value = annotations[name] ?? "";
  if (value === TOO_LONG) throw new SyntaxError(`${name} is longer than ${LONGEST_VALUE} bytes`);
  return value;
}

function nothingIn(subnets: ReadonlyMap<Family, Cidr>): string {
  if (subnets.size === 0) return "no podCIDR is assigned to it yet";
  return `it has podCIDR ${[...subnets.values()].join(" and ")} but no public address of that family`;
}
