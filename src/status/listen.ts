/**
 * Serves an app on a TCP port or a Unix socket.
 *
 * Goes through `node:http`, which both runtimes have, with the same limits in both. A client can hold one of a fixed number of
 * connections for a fixed time and no more; the agent itself never waits for one.
 *
 * @module
 */

import { createAdaptorServer } from "@hono/node-server";
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { chmodSync, lstatSync, renameSync, rmSync } from "node:fs";
import type { Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { ListenAddress } from "../model/listen.ts";
import { renderListen } from "../model/listen.ts";
import type { Ip } from "../model/ip.ts";

/** How much clients may take. Times are in milliseconds. */
export interface Limits {
  /** Connections at a time; further ones are closed at once. */
  readonly connections: number;
  /** For a request's headers, for a whole request, and for a connection on which nothing moves (in Bun for a whole answer). */
  readonly patience: number;
  /** How often requests that take too long are looked for. */
  readonly checkEvery: number;
  /** For requests that run when the listener is closed. */
  readonly grace: number;
}

/**
 * What suits the status API of a node: a probe, a scraper and a few people. Clients that ask for 5,000 peers on all connections and read
 * none take 19 MB for a while. Idle it wakes twice a minute.
 */
export const LIMITS: Limits = { connections: 32, patience: 10_000, checkEvery: 30_000, grace: 3_000 };

/** What suits the health port: its answers are small, and strangers who hold connections must not keep the kubelet's probes out. */
export const HEALTH_LIMITS: Limits = { ...LIMITS, connections: 256 };

/** A server that listens. */
export interface Listener extends AsyncDisposable {
  /** Where, with the port that the kernel chose if 0 was asked for. */
  readonly address: ListenAddress;
  /** Stops listening, lets running requests end within the grace and then cuts them off. */
  close(): Promise<void>;
}

/** Why an address can not be listened on. */
export class ListenError extends Error {
  override readonly name = "ListenError";
  /** The system's code; `EADDRINUSE` if somebody else listens there. */
  readonly code: string;

  /**
   * @param address What was to be listened on.
   * @param why What is in the way, and what to do.
   */
  constructor(address: ListenAddress, code: string, why: string) {
    super(`Cannot listen on ${renderListen(address)}: ${why}`);
    this.code = code;
  }
}

/**
 * Serves an app.
 *
 * A Unix socket is for its owner alone (mode 0600). One that a dead process left is replaced; the file never lacks in between.
 *
 * @param app A hono app, or anything with its `fetch`.
 * @param address Where. Port 0 lets the kernel choose.
 * @param onError Hears of what goes wrong later, such as a lack of file descriptors; the server goes on.
 * @returns When the server listens.
 * @throws {ListenError} If the address is taken or can not be had.
 */
export async function listen(
  app: { fetch(request: Request): Response | Promise<Response> },
  address: ListenAddress,
  onError: (error: Error) => void,
  limits: Limits = LIMITS,
): Promise<Listener> {
  const server = createServer(app, limits);
  try {
    const bound = "path" in address ? await bindPath(server, address.path) : await bindPort(server, address);
    server.on("error", onError);
    return listenerOf(server, bound, limits.grace);
  } catch (error) {
    const code = codeOf(error);
    throw code === null ? error : new ListenError(address, code, explain(code, error));
  }
}

function createServer(app: Parameters<typeof listen>[0], limits: Limits): Server {
  const server = createAdaptorServer({
    fetch: (request) => app.fetch(request),
    hostname: "unnamed.invalid", // stands in the URL of a request without Host (HTTP/1.0), which is else refused
    overrideGlobalObjects: false,
    serverOptions: {
      headersTimeout: limits.patience,
      requestTimeout: limits.patience,
      keepAliveTimeout: limits.patience,
      connectionsCheckingInterval: limits.checkEvery,
    },
  }) as Server; // plain HTTP/1 is what it makes without `createServer`
  server.maxConnections = limits.connections;
  server.maxHeadersCount = 64;
  server.timeout = limits.patience; // Bun does not start it anew when something is written, so there it bounds the whole answer
  return server;
}

interface Bound {
  readonly address: ListenAddress;
  release(): void;
}

async function bindPort(server: Server, { ip, port }: { ip: Ip; port: number }): Promise<Bound> {
  await startListening(server, { host: ip, port });
  return { address: { ip, port: (server.address() as AddressInfo).port }, release() {} };
}

/** Binds under another name, sets the mode and renames, so that the socket is never there with a wider mode and never missing. */
async function bindPath(server: Server, path: string): Promise<Bound> {
  const draft = `${path}.${randomBytes(2).toString("hex")}`;
  if (Buffer.byteLength(draft) > 107) throw failure("ENAMETOOLONG"); // sun_path in unix(7), which runtimes may cut silently
  const old = lstatSync(path, { throwIfNoEntry: false });
  if (old !== undefined && !old.isSocket()) throw failure("EEXIST");
  if (old !== undefined && await answers(path)) throw failure("EADDRINUSE");
  await startListening(server, { path: draft });
  chmodSync(draft, 0o600);
  renameSync(draft, path);
  const { ino } = lstatSync(path);
  return {
    address: { path },
    release() {
      if (lstatSync(path, { throwIfNoEntry: false })?.ino === ino) rmSync(path, { force: true });
    },
  };
}

function startListening(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(where, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Whether a process listens on a Unix socket. One that is too busy to answer still does. */
function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ path });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error) => resolve(codeOf(error) !== "ECONNREFUSED"));
  });
}

/** Ends when the last running request does: a connection that asks nothing must not hold up the agent's stop. */
function listenerOf(server: Server, { address, release }: Bound, grace: number): Listener {
  let running = 0;
  let stopping = false;
  const cutIfQuiet = () => {
    if (stopping && running === 0) server.closeAllConnections();
  };
  server.on("request", (_request, response) => {
    running++;
    response.once("close", () => {
      running--;
      cutIfQuiet();
    });
  });
  const stop = async () => {
    stopping = true;
    release();
    const timer = setTimeout(() => server.closeAllConnections(), grace);
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
      cutIfQuiet();
    });
    clearTimeout(timer);
  };
  let stopped: Promise<void> | undefined;
  const close = () => stopped ??= stop();
  return { address, close, [Symbol.asyncDispose]: close };
}

function failure(code: string): Error {
  return Object.assign(new Error(code), { code });
}

function codeOf(error: unknown): string | null {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : null;
}

function explain(code: string, error: unknown): string {
  switch (code) {
    case "EADDRINUSE":
      return "another process listens there; stop it or choose another address";
    case "EADDRNOTAVAIL":
    case "EINVAL": // what Deno makes of it
      return "this node does not have the address";
    case "EACCES":
      return "permission is denied; choose a port above 1023 or a directory that may be written to";
    case "ENAMETOOLONG":
      return "the path is longer than the 102 bytes that a socket's path may have";
    case "ENOENT":
      return "the directory does not exist; make it first";
    case "EEXIST":
      return "the file is there and is no socket; remove it or choose another path";
    default:
      return (error as Error).message;
  }
}
