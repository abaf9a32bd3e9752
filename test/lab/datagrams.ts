/**
 * Sends and counts datagrams, as a program of its own inside a lab's namespace.
 *
 * ```sh
 * datagrams.ts listen                  # prints "listening", then the source address of every datagram that arrives
 * datagrams.ts send COUNT TO SOURCE    # sends, about one per millisecond, each from a port of its own
 * ```
 *
 * @module
 */

import { createSocket } from "node:dgram";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

const PORT = 5353;

/** Prints the source address of every datagram. */
function listen(): void {
  const socket = createSocket("udp4");
  socket.on("message", (_, { address }) => console.log(address));
  socket.bind(PORT, "0.0.0.0", () => console.log("listening"));
}

/** Sends datagrams, each from a new port. */
async function send(count: number, to: string, source: string): Promise<void> {
  for (let i = 0; i < count; i++) {
    const socket = createSocket("udp4");
    await new Promise<void>((resolve) => socket.bind(0, source, resolve));
    await new Promise((resolve) => socket.send("x", PORT, to, resolve));
    socket.close();
    if (i % 4 === 0) await sleep(2);
  }
}

const [role, ...args] = process.argv.slice(2);
if (role === "listen") listen();
if (role === "send") await send(Number(args[0]), args[1]!, args[2]!);
