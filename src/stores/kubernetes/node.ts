/**
 * What this store keeps of a Node object: names, our annotations and the pod subnets. All the rest, above all the status with its
 * images and conditions, is skipped by its length.
 *
 * A Node and the metadata of one (`PartialObjectMetadata`) have their metadata in the same place, so one reader serves both. Source:
 * Kubernetes, `api/core/v1/generated.proto` (Node, NodeSpec) and `apimachinery/pkg/apis/meta/v1/generated.proto` (ObjectMeta).
 *
 * @module
 */

import type { Annotation, AnnotationNames, Annotations } from "./annotations.ts";
import { fields, messageIn, text } from "./protobuf.ts";

/** A Node, reduced. */
export interface NodeObject {
  readonly name: string;
  /** Another one after the node was deleted and made again. */
  readonly uid: string;
  readonly version: string;
  readonly annotations: Annotations;
  /** Empty while none is assigned; `null` if only the metadata was read. */
  readonly podCidrs: readonly string[] | null;
  /** Whether this is the bookmark after the last of the initial events. */
  readonly endsInitialEvents: boolean;
}

/** In bytes. What agents publish has about a hundred, and whatever is kept is kept for every node. */
export const LONGEST_VALUE = 1024;
/** Stands for a value that is longer. */
export const TOO_LONG = "\0too long";
/** The longest text of an IPv6 prefix has 43 characters. */
const LONGEST_CIDR = 64;
/** One per family is what the API server allows. */
const MOST_CIDRS = 2;

const INITIAL_EVENTS_END = "k8s.io/initial-events-end";

/**
 * Reduces a `Node` or a `PartialObjectMetadata`.
 *
 * @param whole Whether it is a `Node`, which says something of pod subnets.
 * @throws {ProtobufError} If the message is malformed.
 */
export function readNode(message: Uint8Array, whole: boolean, names: AnnotationNames): NodeObject {
  const node = { name: "", uid: "", version: "", endsInitialEvents: false };
  const annotations: { [Name in Annotation]?: string } = {};
  for (const [number, value] of fields(messageIn(message, 1) ?? EMPTY)) {
    if (typeof value === "number") continue;
    if (number === 1) node.name = text(value);
    else if (number === 5) node.uid = text(value);
    else if (number === 6) node.version = text(value);
    else if (number === 12) {
      const [key, content] = mapEntry(value);
      const name = names.known(key);
      if (name !== undefined) annotations[name] = content.length > LONGEST_VALUE ? TOO_LONG : text(content);
      else if (key === INITIAL_EVENTS_END) node.endsInitialEvents = text(content) === "true";
    }
  }
  return { ...node, annotations, podCidrs: whole ? podCidrsIn(messageIn(message, 2) ?? EMPTY) : null };
}

const EMPTY = new Uint8Array();

function mapEntry(entry: Uint8Array): readonly [key: string, value: Uint8Array] {
  return [text(messageIn(entry, 1) ?? EMPTY), messageIn(entry, 2) ?? EMPTY];
}

/** `podCIDRs`, and where a server knows only `podCIDR`, that one. One more than is allowed is kept, so that it is seen. */
function podCidrsIn(spec: Uint8Array): readonly string[] {
  let single = "";
  const several: string[] = [];
  for (const [number, value] of fields(spec)) {
    if (typeof value === "number") continue;
    const cidr = text(value.subarray(0, LONGEST_CIDR));
    if (number === 1) single = cidr;
    else if (number === 7 && several.length <= MOST_CIDRS) several.push(cidr);
  }
  return several.length > 0 ? several : single === "" ? [] : [single];
}
