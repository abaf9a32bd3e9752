/**
 * The backends that this agent has.
 *
 * @module
 */

import directrouting from "../backends/directrouting.ts";
import hostGw from "../backends/host_gw.ts";
import vxlan from "../backends/vxlan.ts";
import type { Backend } from "./mod.ts";

/** The built-in backends; nothing else in the core knows one by name. */
export const BACKENDS = [vxlan, hostGw, directrouting] as const as unknown as readonly Backend[];
