/**
 * What this store keeps of a Node object: names, our annotations and the pod subnets. All the rest, above all the status with its
 * images and conditions, is skipped by its length.
 *
 * A Node and the metadata of one (`PartialObjectMetadata`) have their metadata in the same place, so one reader serves both. Source:
 * Kubernetes, `api/core/v1/generated.proto` (Node, NodeSpec) and `apimachinery/pkg/apis/meta/v1/generated.proto` (ObjectMeta).
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { Annotation, AnnotationNames, Annotations } from "./annotations.ts";
import type { Cursor } from "./protobuf.ts";

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

const INITIAL_EVENTS_END = Buffer.from("k8s.io/initial-events-end");

/**
 * Reduces a `Node` or a `PartialObjectMetadata`.
 *
 * @param whole Whether it is a `Node`, which says something of pod subnets.
 * @throws {ProtobufError} If the message is malformed.
 */
export function readNode(message: Cursor, whole: boolean, names: AnnotationNames): NodeObject {
  const node = { name: "", uid: "", version: "", annotations: {}, endsInitialEvents: false };
  let podCidrs: readonly string[] | null = whole ? [] : null;
  while (message.next()) {
    if (message.number === 1) readMeta(message.inside(), node, names);
    else if (message.number === 2 && whole) podCidrs = podCidrsIn(message.inside());
  }
  return { ...node, podCidrs };
}

type Meta = { -readonly [Key in keyof Omit<NodeObject, "podCidrs">]: NodeObject[Key] };

function readMeta(meta: Cursor, node: Meta, names: AnnotationNames): void {
  while (meta.next()) {
    if (meta.number === 1) node.name = meta.text();
    else if (meta.number === 5) node.uid = meta.text();
    else if (meta.number === 6) node.version = meta.text();
    else if (meta.number === 12) readAnnotation(meta.inside(), node, names);
  }
}

/** An entry of the map: a key, then a value. */
function readAnnotation(entry: Cursor, node: Meta, names: AnnotationNames): void {
  if (!entry.find(1)) return;
  if (entry.startsWith(INITIAL_EVENTS_END)) node.endsInitialEvents = entry.length === INITIAL_EVENTS_END.length;
  if (!entry.startsWith(names.prefix)) return;
  const name = names.known(entry.text());
  if (name === undefined) return;
  const annotations: { [Name in Annotation]?: string } = node.annotations;
  annotations[name] = !entry.find(2) ? "" : entry.length > LONGEST_VALUE ? TOO_LONG : entry.text();
}

/** `podCIDRs`, and where a server knows only `podCIDR`, that one. One more than is allowed is kept, so that it is seen. */
function podCidrsIn(spec: Cursor): readonly string[] {
  let single = "";
  const several: string[] = [];
  while (spec.next()) {
    if (spec.number === 1) single = spec.text(LONGEST_CIDR);
    else if (spec.number === 7 && several.length <= MOST_CIDRS) several.push(spec.text(LONGEST_CIDR));
  }
  return several.length > 0 ? several : single === "" ? [] : [single];
}
