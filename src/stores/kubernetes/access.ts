/**
 * What it takes to talk to an API server: where it is, whom to trust and who we are.
 *
 * @module
 */

import { ConfigError, quote } from "../../config/errors.ts";
import type { Access } from "../transport.ts";

/** Where {@linkcode Access} comes from. It is asked before every request, because tokens and certificates are replaced while we run. */
export interface Credentials {
  /**
   * What to use now.
   *
   * @throws {Error} If a file cannot be read or is wrong, naming it.
   */
  access(signal: AbortSignal): Promise<Access>;
  /** The server did not know us: whatever was remembered is forgotten. */
  refused(): void;
}

/**
 * The URL of an API server; without a scheme it is https.
 *
 * @throws {ConfigError} If it is none; naming where it stands.
 */
export function parseServer(text: string, source: string): URL {
  const url = URL.parse(text.includes("://") ? text : `https://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === "" || url.search !== "" || url.hash !== "") {
    throw new ConfigError(`${source} is ${quote(text)}: expected the URL of an API server, such as https://10.0.0.1:6443`);
  }
  return url;
}
