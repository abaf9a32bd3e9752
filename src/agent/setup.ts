/**
 * From the text of the network configuration to a network and a backend with its options.
 *
 * @module
 */

import { parseNetConf } from "../config/net_conf.ts";
import type { Settings } from "../config/settings.ts";
import type { BackendPort, BackendRequest, Backends } from "../model/backend_port.ts";
import type { Network } from "../model/lease.ts";
import type { Log } from "./ports.ts";

/** The agent could not start, for a reason that does not pass by itself. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** The network configuration with its backend. */
export interface Setup {
  readonly network: Network;
  readonly backend: BackendPort;
}

/** What a setup is made with. */
export interface SetupInput extends Pick<BackendRequest, "macs" | "changed"> {
  readonly settings: Settings;
  readonly backends: Backends;
  /** The kind of the store that the text came from. */
  readonly storeKind: string;
  readonly log: Log;
}

/**
 * Makes a setup of the network configuration's text.
 *
 * @param former The one before, whose backend is used again if it is the same with the same options.
 * @throws {Error} If the text is wrong, or names a backend that does not exist or has other options. The message names the source.
 */
export async function setupOf(text: string, input: SetupInput, former: Setup | null = null): Promise<Setup> {
  const { settings, backends, storeKind, log, macs, changed } = input;
  const source = storeKind === "etcd" && settings.store.kind === "etcd"
    ? `${settings.store.prefix}/config`
    : settings.netConfig.path;
  const { network, warnings } = parseNetConf(text, { source, allocates: storeKind !== "kubernetes" });
  warnings.forEach((warning) => log("warning", warning));
  const name = settings.backend ?? network.backendType;
  const given = network.backendOptions;
  if (former?.backend.name === name && JSON.stringify(given) === JSON.stringify(former.network.backendOptions)) {
    return { network, backend: former.backend };
  }
  const by = settings.backend === null ? `Backend.Type in ${source}` : "--backend";
  const backend = await backends.open({ name, by, given, source, macs, changed });
  if (name !== network.backendType) {
    const type = `the type "${network.backendType}" in ${source}`;
    log("info", `--backend=${name} stands in for ${type}; options that ${name} does not have are left out`);
  }
  return { network, backend };
}
