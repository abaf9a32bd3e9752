/**
 * A TCP connection that two hosts of the lab keep up, and what became of it.
 *
 * Connections show what pings cannot: that the kernel resets or stalls one when a path changes below it.
 *
 * @module
 */

import type { Daemon } from "./command.ts";

/** What became of a connection. */
export interface FlowResult {
  /** Messages sent, and those that came back. */
  readonly sent: number;
  readonly answered: number;
  /** The longest time from a message to its answer, in milliseconds: how long the connection stalled at most. */
  readonly longestMs: number;
  /** Why the connection ended before it was asked to, such as `read ECONNRESET after 310 ms`; `null` if it did not. */
  readonly error: string | null;
}

/** A connection on which a message goes there and back all the time. */
export class Flow implements AsyncDisposable {
  readonly #client: Daemon;

  /** @param client The running client. */
  constructor(client: Daemon) {
    this.#client = client;
  }

  /**
   * Ends the connection and tells what became of it.
   *
   * @throws {Error} If the client itself failed, with what it wrote.
   */
  async stop(): Promise<FlowResult> {
    await this.#client.stop("SIGTERM");
    const line = this.#client.text().split("\n").find((text) => text.startsWith("{"));
    if (line === undefined) throw new Error(`The TCP client gave no result:\n${this.#client.tail()}`);
    return JSON.parse(line) as FlowResult;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client[Symbol.asyncDispose]();
  }
}
