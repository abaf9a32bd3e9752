/**
 * Opens the lease store that the settings name.
 *
 * @module
 */

import { hostname } from "node:os";
import type { Chance, Clock, Log } from "../agent/ports.ts";
import { StartError } from "../agent.ts";
import type { Settings } from "../config/settings.ts";
import type { LeaseStore } from "../model/lease.ts";
import { openEmbeddedStore } from "../stores/embedded.ts";

/** An open store. */
export interface OpenedStore {
  readonly store: LeaseStore;
  /** What the operator should know of this kind of store; `null` if nothing. */
  readonly note: string | null;
}

/** What a store is opened with. */
export interface StoreInput {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Nothing is written, and what is not there is not made. */
  readonly readOnly: boolean;
}

/** Opens it. @throws {StartError} If this release does not have it. */
export async function openStore(
  settings: Settings,
  { clock, chance, log, readOnly }: StoreInput,
): Promise<OpenedStore> {
  const { store, netConfig } = settings;
  switch (store.kind) {
    case "embedded":
      return {
        store: await openEmbeddedStore({
          path: store.file,
          readOnly,
          node: settings.nodeName ?? hostname(),
          netConfigPath: netConfig.path,
          netConfigPathIsDefault: !netConfig.given,
          now: () => clock.now(),
          random: () => chance.number(),
        }),
        note: `Leases are shared only by agents that open ${store.file}`,
      };
    default:
      void log;
      throw new StartError(`The ${store.kind} lease store is not part of this release`);
  }
}
