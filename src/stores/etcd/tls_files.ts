/**
 * The certificates of a client of etcd.
 *
 * Files are read for every connection, so that whoever renews a certificate needs no restart. What is wrong with them is said in
 * words of theirs when a connection fails: what a server tells of a certificate that it does not like is often nothing.
 *
 * @module
 */

import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { ConfigError, quote } from "../../config/errors.ts";
import type { Tls } from "../transport.ts";

/** Paths of files in PEM; `null` where there is none. */
export interface TlsPaths {
  readonly caFile: string | null;
  readonly certFile: string | null;
  readonly keyFile: string | null;
}

/** The files at some paths. */
export class TlsFiles {
  readonly #paths: TlsPaths;
  readonly #now: () => number;

  /** @param now Milliseconds since the epoch. */
  constructor(paths: TlsPaths, now: () => number) {
    this.#paths = paths;
    this.#now = now;
  }

  /** Whether there is a client certificate. */
  get hasCertificate(): boolean {
    return this.#paths.certFile !== null;
  }

  /** What the files hold now. @throws {ConfigError} If one can not be read; it names the flag and the file. */
  async read(): Promise<Tls> {
    const { caFile, certFile, keyFile } = this.#paths;
    return {
      ...caFile !== null && { ca: await read("--etcd-cafile", caFile) },
      ...certFile !== null && { cert: await read("--etcd-certfile", certFile) },
      ...keyFile !== null && { key: await read("--etcd-keyfile", keyFile) },
    };
  }

  /** What to say of the files after a connection with them failed, as the end of a sentence; empty if nothing. */
  hint({ ca, cert }: Tls, message: string): string {
    const { caFile, certFile } = this.#paths;
    const wrong = [
      this.#wrongWith(`--etcd-certfile ${quote(certFile ?? "")}`, cert),
      this.#wrongWith(`--etcd-cafile ${quote(caFile ?? "")}`, ca),
    ].find((it) => it !== null);
    if (wrong !== undefined) return `; ${wrong}`;
    if (ofServer.test(message)) {
      return caFile === null
        ? "; its certificate is not one that this machine trusts: give --etcd-cafile"
        : `; its certificate is not one that --etcd-cafile ${quote(caFile)} vouches for`;
    }
    if (!ofClient.test(message)) return "";
    return certFile === null
      ? "; it may want a client certificate: give --etcd-certfile and --etcd-keyfile"
      : `; it may not trust the client certificate ${quote(certFile)}`;
  }

  #wrongWith(what: string, pem: string | undefined): string | null {
    if (pem === undefined) return null;
    try {
      const { validFrom, validTo } = new X509Certificate(pem);
      const [from, to] = [Date.parse(validFrom), Date.parse(validTo)];
      if (to < this.#now()) return `the certificate in ${what} expired at ${new Date(to).toISOString()}`;
      if (from > this.#now()) return `the certificate in ${what} is valid only from ${new Date(from).toISOString()} on`;
      return null;
    } catch {
      return `${what} holds no certificate in PEM`;
    }
  }
}

/** What runtimes say when they do not trust the server, and when the server ends a connection because of the client's certificate. */
const ofServer =
  /self.signed|unable to (verify|get)|unknown ?issuer|not ?valid ?for|altname|does not match|cert.*expired|invalid peer certificate/i;
const ofClient = /alert|certificate|ECONNRESET|socket hang up|closed|EPROTO|cut in the middle/i;

async function read(flag: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new ConfigError(`Cannot read ${quote(path)} of ${flag}: ${(error as Error).message}`);
  }
}
