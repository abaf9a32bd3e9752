/**
 * Where a server listens, as `--status-listen` names it.
 *
 * @module
 */

import { familyOf, type Ip, tryParseIp } from "./ip.ts";

/** An IP address and port, or a Unix socket. */
export type ListenAddress = { readonly ip: Ip; readonly port: number } | { readonly path: string };

/**
 * Parses `ip:port`, `[v6]:port` or `unix:/path`.
 *
 * @returns The address, or `null` for `off`.
 * @throws {SyntaxError} If the text is anything else.
 *
 * @example Usage
 * ```ts
 * import { parseListen } from "./listen.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(parseListen("127.0.0.1:8473"), { ip: "127.0.0.1", port: 8473 });
 * assert.deepEqual(parseListen("unix:/run/weft.sock"), { path: "/run/weft.sock" });
 * assert.equal(parseListen("off"), null);
 * ```
 */
export function parseListen(text: string): ListenAddress | null {
  if (text === "off") return null;
  if (/^unix:\/.*[^/]$/.test(text) && !text.includes("\0")) return { path: text.slice("unix:".length) };
  const match = /^(?:\[([^\]]*:[^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text);
  const ip = tryParseIp(match?.[1] ?? match?.[2] ?? "");
  const port = Number(match?.[3]);
  if (ip === null || port > 65535) {
    throw new SyntaxError(`"${text}" is not ip:port, [ip]:port, unix:/path or off`);
  }
  return { ip, port };
}

/** Renders an address as {@linkcode parseListen} reads it. */
export function renderListen(address: ListenAddress): string {
  if ("path" in address) return `unix:${address.path}`;
  return familyOf(address.ip) === 6 ? `[${address.ip}]:${address.port}` : `${address.ip}:${address.port}`;
}
