/**
 * The built-in backends, for tests of layers that know none.
 *
 * @module
 */

export { default as directrouting } from "../backends/directrouting.ts";
export { default as hostGw } from "../backends/host_gw.ts";
export { default as vxlan } from "../backends/vxlan.ts";
export { openBackends } from "../src/plugins.ts";
