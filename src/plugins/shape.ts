/**
 * Whether what a plugin exports is a backend.
 *
 * @module
 */

import { type Backend, BACKEND_API } from "../model/backend.ts";
import type { Effects } from "../model/effects.ts";
import { NAME } from "./find.ts";

const PLANNERS = ["mtu", "publish", "node", "peer", "links"] as const;
const EFFECTS: readonly (keyof Effects)[] = ["start", "ready", "peers", "health", "stop"];
const KNOWN = new Set(["name", "api", "type", "options", "leaseData", "devices", "adopts", "effects", ...PLANNERS]);

/**
 * Checks a module's default export.
 *
 * @param name What the backend must be called, as its file is.
 * @throws {TypeError} If it is no backend of this version; the message says what to mend.
 */
export function asBackend(exported: unknown, name: string): Backend {
  const wrong = flaw(exported, name);
  if (wrong !== null) throw new TypeError(wrong);
  return exported as Backend;
}

function flaw(exported: unknown, name: string): string | null {
  if (!isObject(exported)) return "it has no backend as its default export: write export default { name, api, … }";
  const { api, type, devices, adopts, effects } = exported;
  if (api !== BACKEND_API) {
    return `it is written for version ${show(api)} of the backend interface, and this agent speaks version ${BACKEND_API}`;
  }
  if (exported["name"] !== name) return `it is called ${show(exported["name"])}, but its file says "${name}": they must agree`;
  if (typeof type !== "string" || !(type === "" || NAME.test(type))) {
    return `its type is ${show(type)}: expected lower case letters, digits and dashes, or nothing`;
  }
  for (const schema of ["options", "leaseData"]) {
    if (!isSchema(exported[schema])) return `its ${schema} is ${show(exported[schema])}: expected a function or a Standard Schema`;
  }
  for (const planner of PLANNERS) {
    if (typeof exported[planner] !== "function") return `its ${planner} is ${show(exported[planner])}: expected a function`;
  }
  if (devices !== undefined && !(devices instanceof RegExp)) {
    return `its devices is ${show(devices)}: expected a regular expression`;
  }
  if (adopts !== undefined && adopts !== false) return `its adopts is ${show(adopts)}: expected false, or nothing`;
  const odd = Object.keys(exported).find((key) => !KNOWN.has(key));
  if (odd !== undefined) return `it has ${show(odd)}, which is no part of a backend`;
  return effects === undefined ? null : flawOfEffects(effects);
}

function flawOfEffects(effects: unknown): string | null {
  if (!isObject(effects)) return `its effects is ${show(effects)}: expected an object of functions`;
  for (const [call, effect] of Object.entries(effects)) {
    if (!EFFECTS.includes(call as keyof Effects)) return `its effects have ${show(call)}: there are ${EFFECTS.join(", ")}`;
    if (typeof effect !== "function") return `its effects.${call} is ${show(effect)}: expected a function`;
  }
  return null;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isSchema(value: unknown): boolean {
  if (typeof value === "function") return true;
  const standard = isObject(value) ? value["~standard"] : undefined;
  return isObject(standard) && standard["version"] === 1 && typeof standard["validate"] === "function";
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  return typeof value === "string" || typeof value === "number"
    ? JSON.stringify(value)
    : `a ${value === null ? "null" : typeof value}`;
}
