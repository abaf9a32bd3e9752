/**
 * One end of a long-lived TCP connection, run in a namespace: `tcp_peer.ts serve PORT` sends back what it gets;
 * `tcp_peer.ts connect ADDRESS PORT INTERVAL` sends eight bytes every INTERVAL milliseconds until SIGTERM, waits a second for what is under
 * way, and writes a {@linkcode FlowResult} as one line of JSON.
 *
 * @module
 */

import { connect, createServer } from "node:net";
import process from "node:process";
import { PATIENCE } from "./command.ts";
import type { FlowResult } from "./flow.ts";

/** Bytes of one message: its number, so that nothing that comes back can be mistaken for another. */
const SIZE = 8;
/** Milliseconds to wait, after SIGTERM, for answers that are under way. */
const LINGER = PATIENCE * 1000;

function serve(port: number): void {
  const server = createServer((socket) => {
    socket.setNoDelay(true).on("error", () => socket.destroy()).pipe(socket);
  });
  server.listen(port, () => console.log("listening"));
}

function talk(address: string, port: number, interval: number): void {
  const [unanswered, began] = [new Map<number, number>(), performance.now()];
  let [sent, answered, longestMs, error]: [number, number, number, string | null] = [0, 0, 0, null];
  let rest = Buffer.alloc(0);
  const socket = connect(port, address).setNoDelay(true);
  const ticker = setInterval(() => {
    if (error !== null || socket.connecting) return;
    const message = Buffer.alloc(SIZE);
    message.writeBigUInt64BE(BigInt(sent));
    unanswered.set(sent++, performance.now());
    socket.write(message);
  }, interval);
  const fail = (reason: string) => {
    error ??= `${reason} after ${Math.round(performance.now() - began)} ms`;
  };
  socket.on("connect", () => console.log("connected")).on("error", (e) => fail(e.message)).on("close", () => fail("closed"));
  socket.on("data", (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (; rest.length >= SIZE; rest = rest.subarray(SIZE)) {
      const number = Number(rest.readBigUInt64BE());
      longestMs = Math.max(longestMs, performance.now() - (unanswered.get(number) ?? 0));
      if (unanswered.delete(number)) answered++;
      else fail(`answer ${number} was never asked for`);
    }
  });
  const report = () => {
    const [oldest] = unanswered.values();
    if (oldest !== undefined) longestMs = Math.max(longestMs, performance.now() - oldest);
    const result: FlowResult = { sent, answered, longestMs: Math.round(longestMs), error };
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
  };
  process.on("SIGTERM", () => {
    clearInterval(ticker);
    const end = performance.now() + LINGER;
    setInterval(() => {
      if (unanswered.size === 0 || error !== null || performance.now() >= end) report();
    }, 5);
  });
}

const [role, ...args] = process.argv.slice(2);
if (role === "serve") serve(Number(args[0]));
else talk(args[0]!, Number(args[1]), Number(args[2]));
