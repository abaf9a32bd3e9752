/**
 * Writes the API server's protobuf, for tests of what reads it.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import type { NodeJson } from "../e2e/kubernetes_server.ts";

/** A field: its number, and its value by wire type. */
type Value = number | string | Uint8Array;

/** A message out of its fields. */
export function message(...fields: readonly (readonly [number: number, value: Value])[]): Buffer {
  return Buffer.concat(fields.map(([number, value]) => {
    if (typeof value === "number") return Buffer.concat([varint(number * 8), varint(value)]);
    const bytes = Buffer.from(value as Uint8Array);
    return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes]);
  }));
}

/** A number, seven bits a byte. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push(value % 128 + 128);
  return Buffer.of(...bytes, value);
}

/** An object in its envelope. */
export function envelope(kind: string, raw: Uint8Array): Buffer {
  const typeMeta = message([1, kind.startsWith("Partial") ? "meta.k8s.io/v1" : "v1"], [2, kind]);
  return Buffer.concat([Buffer.from("k8s\0"), message([1, typeMeta], [2, raw], [3, ""], [4, ""])]);
}

/** A Node, or if `whole` is false its metadata. Images make it as large as real ones. */
export function nodeBytes(node: NodeJson, whole: boolean, imageBytes = 0): Buffer {
  const { name, uid, resourceVersion, annotations = {} } = node.metadata;
  const entries = Object.entries(annotations).map(([key, value]) => [12, message([1, key], [2, value])] as const);
  const meta = message(
    [1, name],
    [2, ""],
    [5, uid],
    [6, resourceVersion],
    [7, 0],
    [8, message([1, 1780000000], [2, 0])],
    ...entries,
  );
  if (!whole) return message([1, meta]);
  const { podCIDR, podCIDRs = podCIDR === undefined ? [] : [podCIDR] } = node.spec;
  const spec = message([1, podCIDR ?? podCIDRs[0] ?? ""], [4, 0], ...podCIDRs.map((it) => [7, it] as const));
  return message([1, meta], [2, spec], [3, message([8, Buffer.alloc(imageBytes, "i")])]);
}

/** A list of nodes. */
export function listBytes(
  nodes: readonly NodeJson[],
  version: string,
  { whole, next = "" }: { whole: boolean; next?: string },
): Buffer {
  const items = nodes.map((node) => [2, nodeBytes(node, whole)] as const);
  return envelope(
    whole ? "NodeList" : "PartialObjectMetadataList",
    message([1, message([1, ""], [2, version], [3, next])], ...items),
  );
}

/** An event of a watch, with its length before it. */
export function eventBytes(type: string, object: Uint8Array): Buffer {
  const event = message([1, type], [2, message([1, object])]);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(event.length);
  return Buffer.concat([head, event]);
}

/** A `Status` in its envelope. */
export function statusBytes(code: number, reason: string, text: string, retryAfterSeconds = 0): Buffer {
  const details = message([1, ""], [5, retryAfterSeconds]);
  return envelope("Status", message([1, ""], [2, "Failure"], [3, text], [4, reason], [5, details], [6, code]));
}
