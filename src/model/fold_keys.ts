/**
 * Keys of JSON objects that count whatever their case, as in all of flannel's files (Go, `encoding/json`).
 *
 * @module
 */

/**
 * Gives an object the keys that its reader knows.
 *
 * @param object The object as it was written.
 * @param canonicalKeys The keys as the reader writes them.
 * @returns The values under canonical keys, of several that differ only in case the last; and the keys that are not known.
 *
 * @example Usage
 * ```ts
 * import { foldKeys } from "./fold_keys.ts";
 * import assert from "node:assert/strict";
 *
 * const { value, unknown } = foldKeys({ vni: 7, Colour: "red" }, ["VNI", "Port"]);
 * assert.deepEqual(value, { VNI: 7 });
 * assert.deepEqual(unknown, ["Colour"]);
 * ```
 */
export function foldKeys<K extends string>(
  object: Readonly<Record<string, unknown>>,
  canonicalKeys: readonly K[],
): { readonly value: { readonly [Key in K]?: unknown }; readonly unknown: readonly string[] } {
  const value: { [Key in K]?: unknown } = {};
  const unknown: string[] = [];
  for (const written of Object.keys(object)) {
    const key = canonicalKeys.find((key) => key === written) ?? // as a rule
      canonicalKeys.find((key) => key.toLowerCase() === written.toLowerCase());
    if (key === undefined) unknown.push(written);
    else value[key] = object[written];
  }
  return { value, unknown };
}
