/**
 * Whether a request's Host header names this node.
 *
 * A page of a stranger's web site can make a browser ask `http://evil.example:8473/` after pointing that name at 127.0.0.1, and could
 * then read the answer (DNS rebinding). The header still carries the stranger's name, so names that are not the node's are refused.
 *
 * @module
 */

import { type Ip, tryParseIp } from "../model/ip.ts";

/**
 * Whether a Host header names the loopback or one of the node's own names and addresses. The port does not matter.
 *
 * @param header The header; `undefined` if the request has none.
 * @param own The node's addresses and names.
 *
 * @example Usage
 * ```ts
 * import { namesThisNode } from "./host.ts";
 * import assert from "node:assert/strict";
 *
 * assert.ok(namesThisNode("localhost:8473", []));
 * assert.ok(namesThisNode("[2001:DB8::1]:8473", ["2001:db8::1"]));
 * assert.ok(!namesThisNode("evil.example:8473", ["node1"]));
 * ```
 */
export function namesThisNode(header: string | undefined, own: readonly string[]): boolean {
  const host = header === undefined ? null : hostOf(header);
  if (host === null) return false;
  const ip = tryParseIp(host);
  if (ip !== null) return isLoopback(ip) || own.includes(ip);
  const name = nameOf(host);
  return name === "localhost" || own.some((each) => nameOf(each) === name);
}

/** The host in `host`, `host:port`, `[v6]` and `[v6]:port` (RFC 3986, section 3.2.2); `null` for anything else. */
function hostOf(header: string): string | null {
  const match = /^(?:\[([0-9a-f:.]+)\]|([^\s:[\]]+))(?::\d{1,5})?$/i.exec(header);
  return match === null ? null : match[1] ?? match[2]!;
}

function isLoopback(ip: Ip): boolean {
  return ip === "::1" || ip.startsWith("127.");
}

/** DNS names are equal whatever their case, with and without the root's dot. */
function nameOf(host: string): string {
  return host.toLowerCase().replace(/\.$/, "");
}
