/**
 * The effects of a plugin: called where it runs, their answers checked.
 *
 * @module
 */

import type { BareSide } from "../model/backend.ts";
import type { BoundEffects } from "../model/backend_port.ts";
import type { EffectContext, Effects, PeerChanges, PeerFailures } from "../model/effects.ts";
import { plain } from "./memory.ts";
import type { PluginProcess } from "./process.ts";
import type { Tables } from "./protocol.ts";
import { oneLine } from "./text.ts";

/** Those of some effects that a plugin has, called in its Worker of that time. */
export function remoteEffects(has: readonly (keyof Effects)[], worker: () => PluginProcess, tables: () => Tables): BoundEffects {
  const call = (name: keyof Effects, context: EffectContext, node: Node, changes: PeerChanges | null = null): Promise<unknown> => {
    const question = { call: name, node: { name: node.name, sides: node.sides.map(plain) }, tables: tables(), changes };
    return worker().call("effect", question, { signal: context.signal, log: context.log });
  };
  const all: Required<BoundEffects> = {
    start: (context, node) => call("start", context, node),
    ready: async (context, node) => void await call("ready", context, node),
    peers: async (context, changes, node) => failuresOf(await call("peers", context, node, changes)),
    health: async (context, node) => healthOf(await call("health", context, node)),
    stop: async (context, node) => void await call("stop", context, node),
  };
  return Object.fromEntries(has.map((name) => [name, all[name]]));
}

/** This node, however much is known of it. */
interface Node {
  readonly name: string;
  readonly sides: readonly BareSide[];
}

function failuresOf(value: unknown): PeerFailures {
  if (value === undefined || value === null) return new Map();
  if (value instanceof Map) return new Map([...value].map(([key, reason]) => [String(key), oneLine(reason)]));
  throw new Error("it answers neither nothing nor a Map of reasons by key");
}

function healthOf(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return oneLine(value);
  throw new Error("it answers neither null nor a text");
}
