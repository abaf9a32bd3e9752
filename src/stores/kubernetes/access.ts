/**
 * What it takes to talk to an API server: where it is, whom to trust and who we are.
 *
 * @module
 */

import { ConfigError, quote } from "../../config/errors.ts";

/** Texts in PEM for a connection; what is absent is the runtime's default. */
export interface Tls {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
  /** The name in the server's certificate, where it is not the one in the URL. */
  readonly servername?: string;
  /** False where the user wants no proof of who the server is. */
  readonly rejectUnauthorized?: boolean;
}

/** How to make one request. */
export interface Access {
  /** The API server; paths are appended to its own. */
  readonly url: URL;
  readonly tls: Tls;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
}

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
