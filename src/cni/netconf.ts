/**
 * The network configuration that a runtime hands to the plugin on standard input.
 *
 * Owns its one check. Checked by hand, because loading a schema library would be a good part of the plugin's running time. Keys are
 * matched whatever their case, as flannel's plugin does. Follows the CNI specification 1.1.0, sections 1 to 3, and flannel's
 * `cni-plugin`.
 *
 * @module
 */

import { type Attachment, CniError, CODE, isName } from "./protocol.ts";

/** A JSON object with unknown values. */
export type JsonObject = Readonly<Record<string, unknown>>;

/** The configuration, checked and with defaults filled in. */
export interface NetConf {
  /** Empty if the configuration names none. */
  readonly cniVersion: string;
  readonly name: string;
  /** Where the agent writes the node's subnet. */
  readonly subnetFile: string;
  /** Where the plugin keeps its state. */
  readonly dataDir: string;
  /** The delegate's configuration, which the node's subnet is filled into; empty if there is none. */
  readonly delegate: JsonObject;
  /** What the delegate's address management starts from; empty if there is none. */
  readonly ipam: JsonObject;
  readonly runtimeConfig: JsonObject | null;
  /** What ADD answered, for CHECK. */
  readonly prevResult: JsonObject | null;
  /** The attachments that are still there, for GC. */
  readonly validAttachments: readonly Attachment[] | null;
}

/** The version that a configuration names, or an empty text; needed before anything else is checked, for the error object. */
export function versionOf(conf: JsonObject): string {
  return read(foldKeys(conf), "cniVersion", isString, "a text") ?? "";
}

/**
 * Parses standard input as a JSON object.
 *
 * @throws {CniError} If it is anything else.
 */
export function parseObject(text: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CniError(
      CODE.decoding,
      "Cannot read the network configuration on standard input: it is not JSON",
      (error as Error).message,
    );
  }
  if (!isObject(value)) {
    throw new CniError(CODE.decoding, "Cannot read the network configuration on standard input: it is not a JSON object");
  }
  return value;
}

/**
 * Checks a network configuration.
 *
 * @throws {CniError} If it can not be used; the message names the key.
 *
 * @example Defaults
 * ```ts
 * import { readNetConf } from "./netconf.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(readNetConf({ name: "cbr0", type: "flannel" }).subnetFile, "/run/flannel/subnet.env");
 * assert.throws(() => readNetConf({ type: "flannel" }), /name/);
 * ```
 */
export function readNetConf(conf: JsonObject): NetConf {
  const keys = foldKeys(conf);
  const name = read(keys, "name", isString, "a text") ?? "";
  if (!isName(name)) {
    const shown = name === "" ? "is missing" : `${JSON.stringify(name.slice(0, 200))} is invalid`;
    throw new CniError(CODE.invalidConfig, `Network configuration: name ${shown}`, "it must be letters, digits, '_', '.' and '-'");
  }
  return {
    cniVersion: versionOf(conf),
    name,
    subnetFile: read(keys, "subnetFile", isString, "a path") ?? "/run/flannel/subnet.env",
    dataDir: read(keys, "dataDir", isString, "a path") ?? "/var/lib/cni/flannel",
    delegate: read(keys, "delegate", isObject, "an object") ?? {},
    ipam: read(keys, "ipam", isObject, "an object") ?? {},
    runtimeConfig: read(keys, "runtimeConfig", isObject, "an object") ?? null,
    prevResult: read(keys, "prevResult", isObject, "an object") ?? null,
    validAttachments: readAttachments(keys),
  };
}

/** The entry that a runtime must give for GC; absent is `null`, which differs from none being left. */
function readAttachments(keys: ReadonlyMap<string, unknown>): readonly Attachment[] | null {
  // The second key is what early implementations of the specification looked for; runtimes send both.
  const key = ["cni.dev/valid-attachments", "cni.dev/attachments"].find((name) => keys.has(name));
  if (key === undefined) return null;
  // An empty list of a runtime in Go arrives as null.
  return (read(keys, key, isList, "a list") ?? []).map((entry) => {
    const names = isObject(entry) ? foldKeys(entry) : new Map<string, unknown>();
    const [containerId, ifname] = [names.get("containerid"), names.get("ifname")];
    if (isString(containerId) && isString(ifname)) return { containerId, ifname };
    throw new CniError(CODE.decoding, `Network configuration: an entry of "${key}" lacks containerID or ifname`);
  });
}

/** Keys in lower case; of two that differ only in case the later one counts. */
function foldKeys(object: JsonObject): ReadonlyMap<string, unknown> {
  return new Map(Object.entries(object).map(([key, value]) => [key.toLowerCase(), value]));
}

function read<T>(keys: ReadonlyMap<string, unknown>, key: string, is: (value: unknown) => value is T, what: string): T | undefined {
  const value = keys.get(key.toLowerCase());
  if (value === undefined || value === null) return undefined;
  if (is(value)) return value;
  throw new CniError(CODE.decoding, `Network configuration: ${key} must be ${what}, is ${JSON.stringify(value).slice(0, 200)}`);
}

/** Whether a value is a JSON object. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isList(value: unknown): value is readonly unknown[] {
  return Array.isArray(value);
}

function isString(value: unknown): value is string {
  return typeof value === "string";
}
