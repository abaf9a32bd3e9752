/**
 * Counts packets: runs ping(8) of iputils and reads what it says, packet by packet.
 *
 * @module
 */

import { type Daemon } from "./command.ts";

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
 * @param text All of its output, without `-q`.
 * @param cut Whether it was stopped and not done: then a last packet without answer may have been on its way and is not counted.
 * @throws {Error} If there is no summary, with the text.
 */
export function parsePing(text: string, cut: boolean): PingResult {
  const summary = /^(\d+) packets transmitted/m.exec(text);
  if (summary === null) throw new Error(`ping gave no summary:\n${text.trim().slice(-2000)}`);
  const answered = new Map<number, number>();
  for (const [, seq, time] of text.matchAll(/bytes from .*icmp_seq=(\d+) .*time=([\d.]+) ms/g)) {
    answered.set(Number(seq), Number(time));
  }
  const transmitted = Number(summary[1]);
  const sent = cut && transmitted > 1 && !answered.has(transmitted) && answered.has(transmitted - 1)
    ? transmitted - 1
    : transmitted;
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

  /** Stops and counts. A last packet that may still have been on its way is not counted. */
  async stop(): Promise<PingResult> {
    await this.#daemon.stop("SIGINT");
    return parsePing(this.#daemon.text(), true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#daemon[Symbol.asyncDispose]();
  }
}
