/**
 * Counts packets: runs ping(8) of iputils and reads what it says, packet by packet.
 *
 * @module
 */

import { type Daemon, until } from "./command.ts";

/** How packets are sent. */
export interface PingOptions {
  /** How many packets; 3 if absent. */
  readonly count?: number;
  /** Seconds between two packets; 0.01 if absent, which is 100 a second. */
  readonly interval?: number;
  /** Bytes of payload; with `wholeOnly`, packets are never fragmented, so the path's MTU can be measured. */
  readonly size?: number;
  readonly wholeOnly?: boolean;
}

/** What became of the packets. */
export interface PingResult {
  readonly sent: number;
  readonly received: number;
  readonly lost: number;
  /** The mean round-trip time in milliseconds; `null` if nothing came back. */
  readonly rttMs: number | null;
  /** The packets that were lost, by their numbers from 1, as runs: where and for how long there was a hole. */
  readonly holes: readonly { readonly first: number; readonly last: number }[];
}

/** The arguments of ping(8) for an address; without `count` it goes on until stopped. */
export function pingArguments(address: string, { count, interval = 0.01, size, wholeOnly = false }: PingOptions): string[] {
  return [
    ...["ping", "-n", "-W", "1", "-i", String(interval)],
    ...(count === undefined ? [] : ["-c", String(count)]),
    ...(size === undefined ? [] : ["-s", String(size)]),
    ...(wholeOnly ? ["-M", "do"] : []),
    ...["--", address],
  ];
}

/**
 * Reads what ping(8) wrote.
 *
 * @param text All of its output, without `-q`. What it told first of the packets sent counts: its summary, or its answer to a SIGQUIT
 * before; later packets are left out.
 * @throws {Error} If it told nothing, with the text.
 */
export function parsePing(text: string): PingResult {
  const sent = packetsSent(text);
  if (sent === null) throw new Error(`ping gave no summary:\n${text.trim().slice(-2000)}`);
  const answered = new Map<number, number>();
  for (const [, seq, time] of text.matchAll(/bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms/g)) {
    if (Number(seq) <= sent) answered.set(Number(seq), Number(time));
  }
  const holes: { first: number; last: number }[] = [];
  for (let seq = 1; seq <= sent; seq++) {
    if (answered.has(seq)) continue;
    const hole = holes.at(-1);
    if (hole?.last === seq - 1) hole.last = seq;
    else holes.push({ first: seq, last: seq });
  }
  const total = [...answered.values()].reduce((sum, time) => sum + time, 0);
  const received = answered.size;
  return { sent, received, lost: sent - received, rttMs: received === 0 ? null : total / received, holes };
}

/** How many packets ping says that it has sent: `19/20 packets, 5% loss` after SIGQUIT, `20 packets transmitted` at its end. */
function packetsSent(text: string): number | null {
  const told = /(\d+) packets(?:,| transmitted)/.exec(text);
  return told === null ? null : Number(told[1]);
}

/** Milliseconds that the last packets have to be answered. */
const LINGER = 1000;

/** A ping that goes on until it is stopped. */
export class Pinger implements AsyncDisposable {
  readonly #daemon: Daemon;

  /** @param daemon The running ping. */
  constructor(daemon: Daemon) {
    this.#daemon = daemon;
  }

  /** How many packets have been answered so far. */
  received(): number {
    return this.#daemon.text().split(" bytes from ").length - 1;
  }

  /** Counts the packets sent until now, once all are answered or a second has passed, and stops. */
  async stop(): Promise<PingResult> {
    const result = () => parsePing(this.#daemon.text());
    this.#daemon.signal("SIGQUIT"); // it tells how many it has sent, and goes on: what is under way then is still heard
    await until("ping tells what it has sent", result);
    await until("all packets are answered", () => result().lost === 0, { timeout: LINGER }).catch(() => {}); // the others are lost
    await this.#daemon.stop("SIGINT");
    return result();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}
