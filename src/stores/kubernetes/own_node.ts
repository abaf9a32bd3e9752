/**
 * What this node publishes about itself, as values: its lease out of its Node, and the patches that write it down.
 *
 * Pure. Bodies are byte for byte those of flannel: keys sorted, no spaces, escapes as Go writes them. Source: flannel,
 * `pkg/subnet/kube/kube.go`.
 *
 * @module
 */

import { quote } from "../../config/errors.ts";
import { contains, familyOf, tryParseIp, unusableAsPeer } from "../../model/ip.ts";
import type { Endpoint, Lease, LeaseRequest } from "../../model/lease.ts";
import type { Annotation, AnnotationNames } from "./annotations.ts";
import type { NodeObject } from "./node.ts";
import { FAMILIES, subnetsOf } from "./record.ts";

/**
 * The lease that a node gets with a request.
 *
 * @throws {Error} If the node's pod subnets do not fit the network.
 */
export function leaseFor(node: NodeObject, { network, backendType, endpoints }: Omit<LeaseRequest, "previous">): Lease {
  const subnets = subnetsOf(node.podCidrs ?? []);
  const given = network.ranges.map(({ network }, i): Endpoint => {
    const family = familyOf(network);
    const subnet = subnets.get(family);
    if (subnet === undefined) {
      throw new Error(
        `Cannot take the lease of node ${node.name}: it has podCIDR ${
          [...subnets.values()].join(", ")
        } and none of IPv${family}; ` +
          `give kube-controller-manager a --cluster-cidr of that family and make the node again, or take it out of the network configuration`,
      );
    }
    if (!contains(network, subnet)) {
      throw new Error(
        `Cannot take the lease of node ${node.name}: its podCIDR ${subnet} is outside of the network ${network}; ` +
          `the network configuration and --cluster-cidr of kube-controller-manager must name the same network`,
      );
    }
    return { ...endpoints[i]!, subnet };
  });
  return { key: node.name, backendType, endpoints: given, expiresAt: null };
}

/** What has to be written so that a node's annotations say what its lease does, by full name; empty if nothing. */
export function changedAnnotations(node: NodeObject, lease: Lease, names: AnnotationNames): Readonly<Record<string, string>> {
  const wanted: { [Name in Annotation]?: string } = { "kube-subnet-manager": "true", "backend-type": lease.backendType };
  for (const { subnet, publicIp, data } of lease.endpoints) {
    const of = FAMILIES.find(({ family }) => family === familyOf(subnet))!;
    wanted[of.data] = goJson(data);
    wanted[of.publicIp] = overwriteOf(node, of.overwrite, of.family) ?? publicIp;
  }
  const changed = (Object.keys(wanted) as Annotation[]).filter((name) => node.annotations[name] !== wanted[name]);
  return Object.fromEntries(changed.map((name) => [names.full(name), wanted[name]!]));
}

/** Annotations by which an administrator sets an address, but which hold none; the sentence says what comes of it. */
export function wrongAddresses({ annotations }: NodeObject, names: AnnotationNames): readonly string[] {
  return FAMILIES.flatMap(({ family, overwrite, configured }) =>
    [overwrite, configured].flatMap((name) => {
      const value = annotations[name] ?? "";
      return value === "" || addressIn(value, family) !== null
        ? []
        : [`Annotation ${names.full(name)} is not used: ${quote(value)} is no IPv${family} address that other nodes can send to`];
    })
  );
}

/** An address that a node's administrator set, in canonical form; `null` if there is none that can be used. */
export function overwriteOf({ annotations }: NodeObject, name: Annotation, family: 4 | 6): ReturnType<typeof tryParseIp> {
  return addressIn(annotations[name] ?? "", family);
}

function addressIn(text: string, family: 4 | 6) {
  const ip = tryParseIp(text);
  return ip === null || familyOf(ip) !== family || unusableAsPeer(ip) !== null ? null : ip;
}

/** The patch that writes annotations; `null` takes one away. */
export function annotationPatch(annotations: Readonly<Record<string, string | null>>): string {
  const sorted = Object.fromEntries(Object.entries(annotations).sort(([a], [b]) => a < b ? -1 : 1));
  return goJson({ metadata: { annotations: sorted } });
}

/**
 * The patch of the node's condition.
 *
 * @param why Why the node's network is not available; `null` if it is.
 * @param now Milliseconds since the epoch.
 */
export function conditionPatch(why: string | null, now: number): string {
  const time = new Date(now).toISOString().replace(/\.\d+/, "");
  const said = why === null
    ? { status: "False", reason: "FlannelIsUp", message: "Flannel is running on this node" }
    : { status: "True", reason: "WeftIsNotReady", message: why };
  const { status, reason, message } = said;
  const condition = { type: "NetworkUnavailable", status, lastHeartbeatTime: time, lastTransitionTime: time, reason, message };
  return goJson({ status: { conditions: [condition] } });
}

/** JSON as Go's encoder writes it: without spaces, and with what HTML would mistake escaped. */
function goJson(value: unknown): string {
  return JSON.stringify(value ?? null).replace(
    /[<>&\u2028\u2029]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
