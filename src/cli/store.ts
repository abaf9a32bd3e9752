/**
 * Opens the lease store that the settings name.
 *
 * @module
 */

import { hostname } from "node:os";
import type { WatchFolder } from "../../ffi/mod.ts";
import type { Chance, Clock, Log } from "../agent/ports.ts";
import type { Settings } from "../config/settings.ts";
import type { Relief } from "./adapters.ts";
import type { LeaseStore } from "../model/lease.ts";

/** An open store. */
export interface OpenedStore {
  readonly store: LeaseStore;
  /** What the operator should know of this kind of store; `null` if nothing. */
  readonly note: string | null;
  /** This node's name; `null` while the store has not told it. */
  readonly node: () => string | null;
  /**
   * Tells the store's own world how the agent does, until the signal ends it; absent where nobody there wants to know.
   *
   * @param notReady Why the agent is not ready; `null` if it is.
   */
  readonly attend?: (notReady: () => string | null, signal: AbortSignal) => Promise<void>;
}

/** What a store is opened with. */
export interface StoreInput {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Nothing is written, and what is not there is not made. */
  readonly readOnly: boolean;
  readonly watchFolder: WatchFolder;
  /** The agent's release. */
  readonly version: string;
  /** Gives memory back; `null` where there is enough. */
  readonly relief: Relief | null;
}

/** Opens it, and loads the code of no other. */
export async function openStore(settings: Settings, input: StoreInput): Promise<OpenedStore> {
  const { store, netConfig } = settings;
  const { clock, chance, readOnly, watchFolder } = input;
  const node = settings.nodeName ?? hostname();
  switch (store.kind) {
    case "embedded": {
      const { openEmbeddedStore } = await import("../stores/embedded.ts");
      return {
        store: await openEmbeddedStore({
          path: store.file,
          readOnly,
          node,
          netConfigPath: netConfig.path,
          netConfigPathIsDefault: !netConfig.given,
          now: () => clock.now(),
          random: () => chance.number(),
          watchFolder,
        }),
        note: `Leases are shared only by agents that open ${store.file}`,
        node: () => node,
      };
    }
    case "kubernetes":
      return (await import("./kubernetes_store.ts")).openKubernetesStore(settings, store, input);
    case "etcd": {
      const { openEtcdStore } = await import("./etcd_store.ts");
      return { store: openEtcdStore(store, input), note: null, node: () => node };
    }
  }
}
