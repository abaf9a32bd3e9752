/**
 * A container runtime as far as CNI goes: it calls the plugins of a configuration list, one after the other, in a node's namespaces.
 *
 * Follows the CNI specification 1.1.0, section 3, and libcni: results are handed on as `prevResult` and remembered for CHECK and DEL.
 *
 * @module
 */

import { existsSync } from "node:fs";
import process from "node:process";
import { attempt, type Outcome } from "../lab/command.ts";

/** A configuration list, as in /etc/cni/net.d. */
export interface ConfList {
  readonly cniVersion?: string;
  readonly name: string;
  readonly plugins: readonly PluginConf[];
}

/** One plugin of a list. */
export interface PluginConf {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, boolean>>;
  readonly [key: string]: unknown;
}

/** The result of ADD, of the versions since 0.3.0. */
export interface Result {
  readonly cniVersion?: string;
  readonly interfaces?: readonly { readonly name: string; readonly sandbox?: string }[];
  readonly ips: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes?: readonly { readonly dst: string }[];
}

/** What an interface of a container is called with. */
export interface Attached {
  readonly containerId: string;
  /** Path of the network namespace. */
  readonly netns: string;
  readonly ifname: string;
  /** What the runtime gives to plugins that have the capability. */
  readonly capabilities?: Readonly<Record<string, unknown>>;
}

/** An error object of a plugin. */
export class PluginError extends Error {
  override readonly name = "PluginError";
  readonly code: number;
  /** Standard output as it was. */
  readonly text: string;

  constructor(plugin: string, command: string, outcome: Outcome) {
    const said = tryJson(outcome.stdout) as { code?: number; msg?: string; details?: string } | null;
    super(`${command} of ${plugin}: ${said?.msg ?? `${outcome.stdout}${outcome.stderr}`} ${said?.details ?? ""}`.trim());
    this.code = said?.code ?? -1;
    this.text = outcome.stdout;
  }
}

/** Where the distributions install the plugins. */
export const PLUGIN_DIRS = [
  ...(process.env["CNI_PATH"] ?? "").split(":").filter((directory) => directory !== ""),
  "/opt/cni/bin",
  "/usr/lib/cni",
  "/usr/libexec/cni",
];

/** Why tests with the real plugins can not run here; `false` if they can. */
export const pluginsMissing: string | false =
  ["bridge", "host-local", "portmap"].every((name) => findPlugin(PLUGIN_DIRS, name) !== null)
    ? false
    : "the plugins bridge, host-local and portmap are missing (Debian: containernetworking-plugins)";

/** The path of a plugin, or `null`. */
export function findPlugin(directories: readonly string[], name: string): string | null {
  return directories.map((directory) => `${directory}/${name}`).find((path) => existsSync(path)) ?? null;
}

/** A runtime on one node. */
export class Runtime {
  readonly #list: ConfList;
  readonly #path: readonly string[];
  readonly #enter: (argv: readonly string[]) => readonly string[];
  readonly #results = new Map<string, unknown>();

  /**
   * @param path Directories with plugins.
   * @param enter Makes of a command line one that runs in the node's namespaces.
   */
  constructor(list: ConfList, path: readonly string[], enter: (argv: readonly string[]) => readonly string[]) {
    this.#list = list;
    this.#path = path;
    this.#enter = enter;
  }

  /** Attaches an interface. @throws {PluginError} At the first plugin that fails. */
  async add(attached: Attached): Promise<Result> {
    let result: unknown;
    for (const plugin of this.#list.plugins) {
      result = JSON.parse(await this.#call("ADD", plugin, attached, result));
    }
    this.#results.set(keyOf(attached), result);
    return result as Result;
  }

  /** Detaches an interface. @throws {PluginError} At the first plugin that fails. */
  async del(attached: Attached): Promise<void> {
    for (const plugin of this.#list.plugins.toReversed()) {
      await this.#call("DEL", plugin, attached, this.#results.get(keyOf(attached)));
    }
    this.#results.delete(keyOf(attached));
  }

  /** Checks an interface. @throws {PluginError} At the first plugin that fails. */
  async check(attached: Attached): Promise<void> {
    for (const plugin of this.#list.plugins) await this.#call("CHECK", plugin, attached, this.#results.get(keyOf(attached)));
  }

  /** Has the first plugin collect garbage. @param valid The interfaces that are still there. @throws {PluginError} */
  async gc(valid: readonly Attached[], plugin: PluginConf = this.#list.plugins[0]!): Promise<void> {
    const attachments = valid.map(({ containerId, ifname }) => ({ containerID: containerId, ifname }));
    await this.#call("GC", { ...plugin, "cni.dev/valid-attachments": attachments }, null);
  }

  /** Asks the first plugin whether it can attach. @throws {PluginError} If it says no. */
  async status(): Promise<void> {
    await this.#call("STATUS", this.#list.plugins[0]!, null);
  }

  async #call(command: string, plugin: PluginConf, attached: Attached | null, prevResult?: unknown): Promise<string> {
    const { capabilities, ...rest } = plugin;
    const given = Object.entries(attached?.capabilities ?? {}).filter(([name]) => capabilities?.[name]);
    const conf = {
      ...rest,
      name: this.#list.name,
      ...(this.#list.cniVersion === undefined ? {} : { cniVersion: this.#list.cniVersion }),
      ...(given.length === 0 ? {} : { runtimeConfig: Object.fromEntries(given) }),
      ...(prevResult === undefined ? {} : { prevResult }),
    };
    const executable = findPlugin(this.#path, plugin.type);
    if (executable === null) throw new Error(`Plugin "${plugin.type}" is missing in ${this.#path.join(":")}`);
    const env = {
      CNI_COMMAND: command,
      CNI_PATH: this.#path.join(":"),
      CNI_CONTAINERID: attached?.containerId ?? "",
      CNI_NETNS: attached?.netns ?? "",
      CNI_IFNAME: attached?.ifname ?? "",
    };
    const outcome = await attempt(this.#enter([executable]), { env, input: JSON.stringify(conf), timeout: 60_000 });
    if (outcome.code !== 0) throw new PluginError(plugin.type, command, outcome);
    return outcome.stdout;
  }
}

function keyOf({ containerId, ifname }: Attached): string {
  return `${containerId} ${ifname}`;
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
