/**
 * What an agent is made of.
 *
 * @module
 */

import type { Settings } from "../config/settings.ts";
import type { Backends } from "../model/backend_port.ts";
import type { Kernel } from "../model/kernel.ts";
import type { LeaseStore } from "../model/lease.ts";
import type { TrafficManager } from "../traffic/manager.ts";
import type { Chance, Clock, Log, SubnetFile } from "./ports.ts";

/** Everything that the agent is handed: settings, and its ways to the outside. */
export interface AgentOptions {
  readonly version: string;
  /** The node's name; `null` while the store has not told it. */
  readonly node: () => string | null;
  readonly settings: Settings;
  readonly backends: Backends;
  readonly kernel: Kernel;
  readonly store: LeaseStore;
  /** What the operator should know of this kind of store; `null` if nothing. */
  readonly storeNote: string | null;
  /** Keeps masquerade and forward rules in place. */
  readonly traffic: Pick<TrafficManager, "keep" | "state">;
  readonly subnetFile: SubnetFile;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
  /** Gives memory back that is not needed any more; `null` where there is enough of it. */
  readonly relieve: (() => Promise<void>) | null;
}
