/**
 * The TCP connections of a client.
 *
 * @module
 */

import http from "node:http";
import https from "node:https";
import type { Tls } from "./transport.ts";

/** Connections that were made with the same certificates. */
export class Connections {
  /** Tells sets of certificates apart. */
  readonly identity: string;
  /** Makes a connection for each request, and closes it after it. */
  readonly ofStreams: http.Agent;
  #kept: http.Agent;
  readonly #make: (keepAlive: boolean) => http.Agent;

  constructor(identity: string, protocol: string, tls: Tls) {
    this.identity = identity;
    this.#make = (keepAlive) =>
      protocol === "http:" ? new http.Agent({ keepAlive }) : new https.Agent({ keepAlive, minVersion: "TLSv1.2", ...tls });
    this.ofStreams = this.#make(false);
    this.#kept = this.#make(true);
  }

  /** Keeps connections for the next request. */
  get kept(): http.Agent {
    return this.#kept;
  }

  /** Closes what is kept: after one connection failed, the others are not trusted either. Streams go on. */
  forget(): void {
    this.#kept.destroy();
    this.#kept = this.#make(true);
  }

  /** Closes all. */
  close(): void {
    this.#kept.destroy();
    this.ofStreams.destroy();
  }
}
