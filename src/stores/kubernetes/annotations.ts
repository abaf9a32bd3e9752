/**
 * The names of the annotations through which flannel's nodes know each other.
 *
 * Source: flannel, `pkg/subnet/kube/annotations.go`.
 *
 * @module
 */

/** What stands after the prefix. The last four are written by administrators, all others by agents. */
export const ANNOTATIONS = [
  "kube-subnet-manager",
  "backend-type",
  "backend-data",
  "public-ip",
  "backend-v6-data",
  "public-ipv6",
  "public-ip-overwrite",
  "public-ipv6-overwrite",
  "node-public-ip",
  "node-public-ipv6",
] as const;

/** An annotation by what stands after the prefix. */
export type Annotation = typeof ANNOTATIONS[number];

/** Values of annotations; what a node does not have is absent. */
export type Annotations = { readonly [Name in Annotation]?: string };

/** The full names of all annotations and the way back. */
export interface AnnotationNames {
  /** What all full names begin with, in UTF-8. */
  readonly prefix: Uint8Array;
  full(name: Annotation): string;
  /** The annotation with this full name, or `undefined` if it is not ours. */
  known(full: string): Annotation | undefined;
}

/**
 * The names that a prefix gives.
 *
 * @param prefix A domain name, and where several networks share a cluster a slash and a word: `flannel.alpha.coreos.com`, `example.org/blue`.
 * @throws {SyntaxError} If it can not begin the name of an annotation.
 *
 * @example Usage
 * ```ts
 * import { annotationNames } from "./annotations.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(annotationNames("flannel.alpha.coreos.com").full("public-ip"), "flannel.alpha.coreos.com/public-ip");
 * assert.equal(annotationNames("example.org/blue").full("public-ip"), "example.org/blue-public-ip");
 * ```
 */
export function annotationNames(prefix: string): AnnotationNames {
  const slashed = prefix.includes("/") ? prefix : `${prefix}/`;
  const whole = /[/-]$/.test(slashed) ? slashed : `${slashed}-`;
  if (!/^([a-z0-9_-]+\.)+[a-z0-9_-]+\/([a-z0-9_-]+-)?$/.test(whole)) {
    throw new SyntaxError(
      `"${prefix}" can not begin the name of an annotation: expected a domain name in lower case, such as ` +
        `flannel.alpha.coreos.com, alone or with a slash and a word after it`,
    );
  }
  const byFull = new Map(ANNOTATIONS.map((name) => [whole + name, name]));
  return { prefix: new TextEncoder().encode(whole), full: (name) => whole + name, known: (full) => byFull.get(full) };
}
