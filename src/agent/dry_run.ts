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
  const former = await new EnvFile(options.subnetFile, settings, log).read();
  const text = await first(store.networkConfig(signal));
  if (text === null) throw new StartError("There is no network configuration yet, so there is nothing to plan with");
  const macs = new Macs(() => chance.mac());
  let news = Promise.withResolvers<void>();
  const setup = await setupOf(text, { ...options, storeKind: store.kind, macs, changed: () => news.resolve() });
  const { backend } = setup;
  using _ = { [Symbol.dispose]: () => backend.close() };
  if (backend.effects.start !== undefined) {
    throw new StartError(`The items of backend ${backend.name} depend on what it starts, which a plan does not`);
  }
  const surroundings = new Surroundings(kernel, settings);
  surroundings.assign(await store.configuredPublicIps?.(signal) ?? []);
  surroundings.look(setup.network, backend.links);
  if (surroundings.external === null) throw new StartError(surroundings.problem!);
  const lease = await store.previousLease(surroundings.publicIps(setup.network), signal);
  if (lease === null) {
    throw new StartError("This node has no lease yet, so there is nothing to plan with: start the agent first");
  }
  const records = new Records();
  const event = await first(store.watch(signal));
  if (event !== null) records.take(event);
  macs.know(surroundings.facts, lease);
  const reconciler = new Reconciler(kernel);
  const { devices } = options.backends;
  const aim = new Aim({ kernel, records, surroundings, macs, reconciler, blackhole: settings.blackholeRoute, devices });
  const now = options.clock.now();
  while (true) {
    const { goal } = aim.take(setup, lease, { state: null, former: former.networks, dropStale: records.full, now });
    if (backend.problem !== null) throw new StartError(`Backend ${backend.name} does not plan: ${backend.problem}`);
    if (goal !== null && backend.settled) return reconciler.changes(goal, now);
    await news.promise;
    news = Promise.withResolvers();
  }
}

async function first<T>(stream: AsyncIterable<T>): Promise<T | null> {
  for await (const value of stream) return value;
  return null;
}
