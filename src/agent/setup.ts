/**
 * From the text of the network configuration to a network, a backend and that backend's checked options.
 *
 * @module
 */

import { parseNetConf } from "../config/net_conf.ts";
import type { Settings } from "../config/settings.ts";
import type { Backend } from "../model/backend.ts";
import { foldKeys } from "../model/fold_keys.ts";
import type { Network } from "../model/lease.ts";
import { checkWith } from "../reconcile/plan.ts";
import type { Log } from "./ports.ts";

/** The agent could not start, for a reason that does not pass by itself. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** The network configuration with its backend. */
export interface Setup {
  readonly network: Network;
  readonly backend: Backend;
  readonly options: unknown;
}

/** What a setup is made with. */
export interface SetupInput {
  readonly settings: Settings;
  readonly backends: readonly Backend[];
  /** The kind of the store that the text came from. */
  readonly storeKind: string;
  readonly log: Log;
}

/**
 * Makes a setup of the network configuration's text.
 *
 * @throws {Error} If the text is wrong, or names a backend that does not exist or has other options. The message names the source.
 */
export function setupOf(text: string, { settings, backends, storeKind, log }: SetupInput): Setup {
  const source = storeKind === "etcd" && settings.store.kind === "etcd"
    ? `${settings.store.prefix}/config`
    : settings.netConfig.path;
  const { network, warnings } = parseNetConf(text, { source, allocates: storeKind !== "kubernetes" });
  warnings.forEach((warning) => log("warning", warning));
  const name = settings.backend ?? network.backendType;
  const backend = backends.find((backend) => backend.name === name);
  if (backend === undefined) {
    const asked = settings.backend === null ? `Backend.Type in ${source}` : "--backend";
    throw new StartError(
      `There is no backend "${name}" (${asked}); there are: ${backends.map((backend) => backend.name).join(", ")}`,
    );
  }
  const given = network.backendOptions;
  const checked = checkWith(backend.options, foldKeys(given, optionNames(backend, given)).value);
  if ("issue" in checked) throw new StartError(`The Backend in ${source} is wrong for ${name}: ${checked.issue}`);
  if (name !== network.backendType) {
    const type = `the type "${network.backendType}" in ${source}`;
    log("info", `--backend=${name} stands in for ${type}; options that ${name} does not have are left out`);
  }
  return { network, backend, options: checked.value };
}

/** The names of a backend's options, where its schema tells them; keys of net-conf.json count whatever their case. */
function optionNames({ options }: Backend, given: Readonly<Record<string, unknown>>): string[] {
  return Object.keys("entries" in options ? options.entries as object : given);
}
