/**
 * The configuration of the delegate: what flannel's CNI plugin makes of the network configuration and of the node's subnet.
 *
 * Pure. Follows flannel's `cni-plugin`, `flannel_linux.go`: the same keys with the same values in the same order.
 *
 * @module
 */

import { parseCidr } from "../model/ip.ts";
import { isObject, type JsonObject, type NetConf } from "./netconf.ts";
import { CniError, CODE } from "./protocol.ts";
import type { SubnetEnv } from "../config/subnet_env.ts";

/** A configuration that a delegate can be called with. */
export type DelegateConf = JsonObject & {
  /** The name of the delegate's executable. */
  readonly type: string;
  /** The name of the network. */
  readonly name: string;
};

/**
 * Makes the delegate's configuration.
 *
 * @throws {CniError} If `delegate` or `ipam` hold what they may not hold.
 */
export function delegateConf(conf: NetConf, node: SubnetEnv): DelegateConf {
  const { delegate } = conf;
  for (const key of ["name", "ipam"]) {
    if (Object.hasOwn(delegate, key)) {
      throw new CniError(CODE.invalidConfig, `Network configuration: delegate.${key} must not be given, the plugin sets it`);
    }
  }
  const type = Object.hasOwn(delegate, "type") ? delegate.type : "bridge";
  if (typeof type !== "string") throw new CniError(CODE.invalidConfig, "Network configuration: delegate.type must be a text");
  return {
    ipMasq: !node.ipMasq,
    mtu: node.mtu,
    ...(type === "bridge" ? { isGateway: true } : {}),
    ...delegate,
    ...(conf.runtimeConfig === null ? {} : { runtimeConfig: conf.runtimeConfig }),
    ...(conf.cniVersion === "" ? {} : { cniVersion: conf.cniVersion }),
    type,
    name: conf.name,
    ipam: addressManagement(conf.ipam, node),
  };
}

function addressManagement(ipam: JsonObject, node: SubnetEnv): JsonObject {
  const routes = ipam.routes ?? [];
  if (!Array.isArray(routes)) throw new CniError(CODE.invalidConfig, "Network configuration: ipam.routes must be a list");
  routes.forEach(checkRoute);
  return {
    type: "host-local",
    ...ipam,
    ranges: node.subnets.map((subnet) => [{ subnet }]),
    routes: [...routes, ...node.networks.map((dst) => ({ dst }))],
  };
}

function checkRoute(route: unknown, index: number): void {
  try {
    parseCidr(isObject(route) && typeof route.dst === "string" ? route.dst : "");
  } catch (error) {
    throw new CniError(CODE.invalidConfig, `Network configuration: ipam.routes[${index}].dst: ${(error as Error).message}`);
  }
}

/**
 * Writes a configuration as JSON with sorted keys and without spaces, as flannel's plugin does.
 *
 * @example Usage
 * ```ts
 * import { canonicalJson } from "./delegate_conf.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(canonicalJson({ type: "bridge", mtu: 1450 }), '{"mtu":1450,"type":"bridge"}');
 * ```
 */
export function canonicalJson(conf: JsonObject): string {
  return JSON.stringify(conf, (_, value: unknown) => {
    if (!isObject(value)) return value;
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1));
  });
}
