/**
 * One agent per network namespace and subnet.env.
 *
 * The lock is an abstract Unix socket: it belongs to the network namespace, as the items in the kernel do, and the kernel lets go of it
 * when the process ends, however it ends.
 *
 * @module
 */

import { createServer } from "node:net";
import { resolve } from "node:path";

/**
 * Takes the lock.
 *
 * @param subnetFile What tells agents of one machine apart: each writes a subnet.env of its own.
 * @returns A handle that lets go, or `null` if another agent has it.
 */
export function lockNode(subnetFile: string): Promise<AsyncDisposable | null> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((done, fail) => {
    server.once("error", (error: NodeJS.ErrnoException) => error.code === "EADDRINUSE" ? done(null) : fail(error));
    server.listen(`\0weft ${resolve(subnetFile)}`, () => {
      server.unref();
      done({ [Symbol.asyncDispose]: () => new Promise((closed) => server.close(() => closed())) });
    });
  });
}
