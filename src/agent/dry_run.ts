/**
 * What an agent would change in the kernel now. Nothing is written, not even a lease.
 *
 * @module
 */

import type { Change } from "../model/item.ts";
import { Reconciler } from "../reconcile/reconciler.ts";
import { Aim } from "./aim.ts";
import { EnvFile } from "./env_file.ts";
import { Macs } from "./node.ts";
import type { AgentOptions } from "./options.ts";
import { Records } from "./records.ts";
import { setupOf, StartError } from "./setup.ts";
import { Surroundings } from "./surroundings.ts";

/**
 * Plans once.
 *
 * @throws {StartError} If the node has no lease, or an agent could not start.
 */
export async function dryRun(options: AgentOptions, signal: AbortSignal): Promise<readonly Change[]> {
  const { kernel, store, settings, chance, log } = options;
  const former = await new EnvFile(options.subnetFile, settings.subnetFile, log).read();
  const text = await first(store.networkConfig(signal));
  if (text === null) throw new StartError("There is no network configuration yet, so there is nothing to plan with");
  const setup = setupOf(text, { ...options, storeKind: store.kind });
  const surroundings = new Surroundings(kernel, settings);
  surroundings.assign(await store.configuredPublicIps?.(signal) ?? []);
  surroundings.look(setup.network, setup.backend.links(setup.options));
  if (surroundings.external === null) throw new StartError(surroundings.problem!);
  const lease = await store.previousLease(surroundings.publicIps(setup.network), signal);
  if (lease === null) {
    throw new StartError("This node has no lease yet, so there is nothing to plan with: start the agent first");
  }
  const records = new Records();
  const event = await first(store.watch(signal));
  if (event !== null) records.take(event);
  const macs = new Macs(() => chance.mac());
  macs.know(surroundings.facts, lease);
  const reconciler = new Reconciler(kernel);
  const aim = new Aim({ kernel, records, surroundings, macs, reconciler, blackhole: settings.blackholeRoute });
  const now = options.clock.now();
  return reconciler.changes(aim.take(setup, lease, former.networks, now).goal, now);
}

async function first<T>(stream: AsyncIterable<T>): Promise<T | null> {
  for await (const value of stream) return value;
  return null;
}
