/**
 * The lease store on etcd with what the executable hands it.
 *
 * @module
 */

import type { EtcdStore as StoreSettings } from "../config/settings.ts";
import { EtcdStore } from "../stores/etcd/store.ts";
import type { StoreInput } from "./store.ts";

/** Opens it, without a word to the cluster yet. */
export function openEtcdStore(settings: StoreSettings, { clock, chance, log, readOnly, version, relief }: StoreInput): EtcdStore {
  const { endpoints, prefix, user } = settings;
  return new EtcdStore({
    endpoints,
    prefix,
    tls: settings,
    user,
    readOnly,
    userAgent: `weft/${version}`,
    now: () => clock.now(),
    random: () => chance.number(),
    log,
    collect: () => relief?.collect(),
  });
}
