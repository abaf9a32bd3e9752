/**
 * ADD, DEL and CHECK: the commands about one interface of one container.
 *
 * The state is written before the delegate is called and removed after its DEL succeeded, so that a plugin which is killed at any
 * line leaves enough for the runtime's DEL to clean up.
 *
 * @module
 */

import { addDelegate, callDelegate, type Delegate, findPlugin, NotStartedError } from "./delegate.ts";
import { canonicalJson, type DelegateConf, delegateConf } from "./delegate_conf.ts";
import type { CniIo } from "./io.ts";
import { isObject, type JsonObject, type NetConf } from "./netconf.ts";
import { type Attachment, CniError, CODE } from "./protocol.ts";
import { readState, removeState, writeState } from "./state.ts";
import { readSubnetFile } from "./subnet_file.ts";

/** A command of the runtime. */
export interface Call {
  readonly conf: NetConf;
  /** Where delegates are looked for. */
  readonly path: readonly string[];
  readonly io: CniIo;
  /** How long a delegate may take. */
  readonly limitMs: number;
}

/** The delegate of a configuration, ready to be called. */
export function delegateOf(call: Call, type: string): Delegate {
  return { file: findPlugin(type, call.path), io: call.io, limitMs: call.limitMs };
}

/**
 * Attaches a container.
 *
 * @returns The delegate's result.
 * @throws {CniError} If that fails; what the delegate may have made is removed again.
 */
export async function add(call: Call, attachment: Attachment): Promise<string> {
  const { dataDir, subnetFile } = call.conf;
  const conf = delegateConf(call.conf, readSubnetFile(subnetFile));
  const delegate = delegateOf(call, conf.type);
  const before = stateOf(call, attachment);
  const text = canonicalJson(conf);
  writeState(dataDir, attachment, text);
  try {
    return await addDelegate(delegate, text, call.conf.cniVersion);
  } catch (error) {
    // With a state from before, an earlier ADD was not followed by DEL: its interface may be at work, and DEL would take it away.
    if (before !== null) writeState(dataDir, attachment, before);
    else if (error instanceof NotStartedError) removeState(dataDir, attachment);
    else await undo(delegate, text, dataDir, attachment);
    throw error;
  }
}

/** Removes what a failed ADD may have left; if that fails too, the state stays for the DEL that the runtime sends. */
async function undo(delegate: Delegate, conf: string, dataDir: string, attachment: Attachment): Promise<void> {
  try {
    await callDelegate(delegate, "DEL", conf);
    removeState(dataDir, attachment);
  } catch (error) {
    delegate.io.stderr(`Cannot undo the failed ADD, DEL has to: ${(error as Error).message}\n`);
  }
}

/**
 * Detaches a container. One that is not known counts as detached.
 *
 * @throws {CniError} If the delegate fails; the state is kept for the next DEL.
 */
export async function del(call: Call, attachment: Attachment): Promise<void> {
  const text = stateOf(call, attachment);
  if (text === null) return;
  // A file that a loss of power left empty says that there was an ADD; what ADD would do now releases the same.
  const conf = parseState(text) ?? delegateConf(call.conf, readSubnetFile(call.conf.subnetFile));
  await callDelegate(delegateOf(call, conf.type), "DEL", canonicalJson(conf));
  removeState(call.conf.dataDir, attachment);
}

/** What ADD wrote for an attachment; a file of flannel's plugin only if it is about this network. */
function stateOf(call: Call, attachment: Attachment): string | null {
  const kept = readState(call.conf.dataDir, attachment);
  if (kept === null) return null;
  const isOther = kept.byFlannel && (parseState(kept.text)?.name ?? call.conf.name) !== call.conf.name;
  return isOther ? null : kept.text;
}

/**
 * Checks an attachment: the delegate does, and its subnet must still be this node's.
 *
 * @throws {CniError} If something of it is not as ADD left it.
 */
export async function check(call: Call, attachment: Attachment): Promise<void> {
  const { dataDir, prevResult, cniVersion } = call.conf;
  if (prevResult === null) {
    throw new CniError(CODE.invalidConfig, "Network configuration: prevResult is missing, which CHECK needs");
  }
  const text = stateOf(call, attachment);
  if (text === null) {
    throw new CniError(
      CODE.unknownContainer,
      `Container "${attachment.containerId}" has no attachment "${attachment.ifname}" in ${dataDir}`,
    );
  }
  const conf = parseState(text);
  if (conf === null) {
    throw new CniError(CODE.attachmentBroken, `The state of "${attachment.containerId}" in ${dataDir} is not readable`);
  }
  checkSubnet(call, conf);
  await callDelegate(
    delegateOf(call, conf.type),
    "CHECK",
    canonicalJson({ ...conf, cniVersion, prevResult: withGateways(prevResult) }),
  );
}

/**
 * Names the gateway of every route: a route without one goes over the gateway of its family's first address (CNI specification, section
 * 5). Many releases of `bridge` put such routes into the container but do not find them there again.
 */
function withGateways(result: JsonObject): JsonObject {
  const isIpv6 = (text: unknown) => String(text).includes(":");
  const gateways = (Array.isArray(result.ips) ? result.ips : []).flatMap((ip: unknown) =>
    isObject(ip) && ip.gateway ? [ip.gateway] : []
  );
  if (!Array.isArray(result.routes)) return result;
  const routes = result.routes.map((route: unknown) => {
    if (!isObject(route) || route.gw) return route;
    const gw = gateways.find((gateway) => isIpv6(gateway) === isIpv6(route.dst));
    return gw === undefined ? route : { ...route, gw };
  });
  return { ...result, routes };
}

/** No other node sends to a pod whose subnet is not this node's any more. While the agent has not written it, nothing is known. */
function checkSubnet(call: Call, conf: DelegateConf): void {
  const known = trySubnetFile(call);
  if (known === null) return;
  const subnets: readonly string[] = known.subnets;
  const gone = subnetsOf(conf).filter((subnet) => !subnets.includes(subnet));
  if (gone.length === 0) return;
  throw new CniError(
    CODE.attachmentBroken,
    `Subnet ${gone.join(", ")} of the container is not this node's any more, which is ${subnets.join(", ")}`,
    "other nodes can not reach the container: it has to be made anew",
  );
}

function subnetsOf(conf: DelegateConf): string[] {
  const ranges = isObject(conf.ipam) && Array.isArray(conf.ipam.ranges) ? conf.ipam.ranges.flat() : [];
  return ranges.map((range: unknown) => isObject(range) ? range.subnet : null).filter((subnet) => typeof subnet === "string");
}

/** A stored configuration; `null` if the file holds none. */
export function parseState(text: string): DelegateConf | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) && typeof value.type === "string" && typeof value.name === "string" ? value as DelegateConf : null;
  } catch {
    return null;
  }
}

function trySubnetFile(call: Call): ReturnType<typeof readSubnetFile> | null {
  try {
    return readSubnetFile(call.conf.subnetFile);
  } catch {
    return null;
  }
}
