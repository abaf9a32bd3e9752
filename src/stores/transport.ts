/**
 * Requests to a server over HTTP/1.1 or TLS, one at a time or streamed.
 *
 * Owns connections and time limits: short requests share a few kept connections, a stream has one of its own, and a server that falls
 * silent is an error. Never retries; whoever asked knows whether that makes sense.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import http from "node:http";
import https from "node:https";
import { Connections } from "./connections.ts";

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

/** Where to send a request, and as whom. */
export interface Access {
  /** The server; paths are appended to its own. */
  readonly url: URL;
  readonly tls: Tls;
  /** Sent with every request. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A request. */
export interface Request {
  readonly method: "GET" | "PATCH" | "POST";
  /** Path and query. */
  readonly path: string;
  readonly accept: string;
  readonly body?: { readonly type: string; readonly text: string };
  /** Whether the answer goes on for long, so that it has a connection of its own. */
  readonly stream?: boolean;
  /** Milliseconds for which the server may be silent; default {@linkcode SILENCE}. */
  readonly silence?: number;
}

/** A kept-alive answer comes within milliseconds; a large list from a busy server takes seconds to begin. */
export const SILENCE = 20_000;
/** The kernel finds a vanished peer with probes after this many milliseconds of silence, then one a second. */
const KEEPALIVE = 5000;

/** An answer, whatever its status. */
export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  /** To be read to its end or left; either way the connection is taken care of. */
  readonly body: AsyncIterable<Uint8Array>;
}

/** What a transport is made of. */
export interface TransportOptions {
  /** What errors call the server, such as `the API server`. */
  readonly server: string;
  /** `User-Agent`, by which a server's log tells who asked. */
  readonly userAgent: string;
  /** Called after about every 2 MB read and after a large answer, so that a runtime can give memory back which its own collector would keep for later. */
  readonly collect?: () => void;
}

const COLLECT_EVERY = 2 * 1024 * 1024;

/** An HTTP client. */
export class Transport {
  readonly #options: TransportOptions;
  #connections: Connections | null = null;
  #sinceCollect = 0;

  constructor(options: TransportOptions) {
    this.#options = options;
  }

  /** Bytes of all bodies so far, for measuring. */
  bytesRead = 0;

  /**
   * Sends a request.
   *
   * @throws {Error} If the server cannot be reached.
   */
  async request(request: Request, access: Access, signal: AbortSignal): Promise<Answer> {
    const response = await this.#send(request, access, signal);
    return {
      status: response.statusCode ?? 0,
      headers: response.headers,
      body: this.#body(response, request, access, signal),
    };
  }

  /** Closes all connections. */
  close(): void {
    this.#connections?.close();
    this.#connections = null;
  }

  #send(request: Request, access: Access, signal: AbortSignal): Promise<http.IncomingMessage> {
    signal.throwIfAborted();
    const { url } = access;
    const path = url.pathname.replace(/\/$/, "") + request.path;
    const headers: Record<string, string> = { ...access.headers, "user-agent": this.#options.userAgent, accept: request.accept };
    headers["accept-encoding"] = "identity";
    if (request.body !== undefined) {
      headers["content-type"] = request.body.type;
      headers["content-length"] = String(Buffer.byteLength(request.body.text));
    }
    const connections = this.#connectionsFor(access);
    const agent = request.stream ? connections.ofStreams : connections.kept;
    const protocol = url.protocol === "http:" ? http : https;
    const { silence = SILENCE } = request;
    const hostname = url.hostname.replace(/^\[|\]$/g, "");
    const sent = protocol.request({ agent, hostname, port: url.port, path, method: request.method, headers });
    return new Promise((resolve, reject) => {
      let settled = false; // a request that was given up tells of its end once more, and others' connections are new by then
      const settle = () => {
        settled = true;
        clearTimeout(timer);
        signal.removeEventListener("abort", onAbort);
      };
      const fail = (error: Error) => {
        settle();
        reject(error);
        sent.destroy(); // Deno emits no error for it
      };
      const onAbort = () => fail(signal.reason);
      const onError = (error: Error) => {
        if (settled) return;
        fail(this.#unreachable(access, error));
        this.#connections?.forget();
      };
      const timer = setTimeout(() => onError(silent(silence)), silence);
      signal.addEventListener("abort", onAbort);
      sent.on("socket", (socket) => socket.setKeepAlive(true, KEEPALIVE));
      sent.on("error", onError);
      sent.on("response", (response) => {
        settle();
        resolve(response);
      });
      sent.end(request.body?.text);
    });
  }

  async *#body(response: http.IncomingMessage, request: Request, access: Access, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const { silence = SILENCE } = request;
    const before = this.bytesRead;
    const timer = setTimeout(() => response.destroy(silent(silence)), silence);
    const onAbort = () => response.destroy(signal.reason);
    signal.addEventListener("abort", onAbort);
    try {
      signal.throwIfAborted();
      for await (const piece of response as AsyncIterable<Uint8Array>) {
        timer.refresh();
        this.#count(piece.length);
        yield piece;
      }
      if (!response.complete) throw new Error("the connection was cut in the middle of the answer");
    } catch (error) {
      signal.throwIfAborted();
      this.#connections?.forget();
      throw this.#unreachable(access, error as Error);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      if (this.bytesRead - before > COLLECT_EVERY) this.#options.collect?.();
    }
  }

  #count(bytes: number): void {
    this.bytesRead += bytes;
    this.#sinceCollect += bytes;
    if (this.#sinceCollect < COLLECT_EVERY) return;
    this.#sinceCollect = 0;
    this.#options.collect?.();
  }

  #unreachable({ url }: Access, error: Error): Error {
    return new Error(`Cannot reach ${this.#options.server} ${url.origin}: ${error.message}`, { cause: error });
  }

  #connectionsFor({ url, tls }: Access): Connections {
    const identity = JSON.stringify([url.protocol, tls]);
    if (this.#connections?.identity === identity) return this.#connections;
    this.#connections?.forget();
    return this.#connections = new Connections(identity, url.protocol, tls);
  }
}

function silent(silence: number): Error {
  return new Error(`no answer for ${silence / 1000} s`);
}

/**
 * Reads a body, but not much more than so many bytes of it.
 *
 * @returns What was read: more than `limit` bytes if there was more.
 */
export async function readAtMost(body: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const piece of body) {
    pieces.push(piece);
    length += piece.length;
    if (length > limit) break;
  }
  return Buffer.concat(pieces);
}
