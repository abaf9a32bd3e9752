/**
 * Talking to the kernel over netlink sockets: batches of requests, and dumps.
 *
 * Owns which answer belongs to which request. rtnetlink handles a request while it is being sent, so every
 * answer is there when `send` returns and nothing here waits for the loop. Writes, dumps and events use a socket each: an overrun
 * of one says nothing about the others. Source: Linux `include/uapi/linux/netlink.h`, `net/netlink/af_netlink.c`.
 *
 * @module
 */

import type { Driver, NetlinkSocket } from "../../ffi/mod.ts";
import {
  AnswerLostError,
  DUMP_INTERRUPTED,
  FLAG,
  messagesOf,
  NetlinkError,
  NLMSG_DONE,
  NLMSG_ERROR,
  readDone,
  readError,
  type Received,
  type Request,
  writeRequest,
} from "./frame.ts";
import type { Attributes, Fields, Message, Of } from "./schema.ts";
import { Writer } from "./wire.ts";

export type { Driver };

/** Messages in one call at the most: larger batches are not faster. */
const BATCH = 512;
/** What one failing message may cost in the receive buffer: its answer, and the kernel's own bookkeeping for it. */
const ANSWER = 2048;
/** A batch is sent before it grows over this many bytes, which is less than the send buffer. */
const BATCH_BYTES = 96 * 1024;
/** Milliseconds to wait for an answer that is not there, which for rtnetlink does not happen. */
const PATIENCE = 2000;
const DUMP_TRIES = 10;

/** What a dump brought. */
export interface Dump<T> {
  readonly values: readonly T[];
  /** `false` if the kernel's tables kept changing while they were read, so that something may be missing. */
  readonly complete: boolean;
}

/** Requests and dumps on one netlink protocol. */
export class Connection implements Disposable {
  readonly #writes: NetlinkSocket;
  readonly #dumps: NetlinkSocket;
  readonly #writer = new Writer();
  readonly #batch: number;
  #seq = 1;

  constructor(driver: Driver, protocol = 0) {
    this.#writes = driver.open(protocol);
    this.#dumps = driver.open(protocol);
    this.#batch = Math.max(1, Math.min(BATCH, Math.floor(this.#writes.receiveBuffer / ANSWER)));
  }

  /** The port id of the socket that writes: events with this id are echoes of our own requests. */
  get port(): number {
    return this.#writes.port;
  }

  /** Requests that go out with one call at the most. */
  get batch(): number {
    return this.#batch;
  }

  /**
   * Sends requests in as few calls as possible. A failing one does not stop the others.
   *
   * @returns For each request `null`, or why it failed: a {@linkcode NetlinkError} or an {@linkcode AnswerLostError}.
   */
  send(requests: readonly Request[]): (NetlinkError | AnswerLostError | null)[] {
    const results: (NetlinkError | AnswerLostError | null)[] = [];
    this.#inBatches(requests, (first, count) => {
      const answers = this.#answers(first, count);
      const done = answers.errors.size === 0 && !answers.lost;
      for (let i = 0; i < count; i++) results.push(done ? null : answers.errors.get(i) ?? (answers.lost ? lost() : null));
    });
    return results;
  }

  /**
   * Asks one thing each, such as the route to an address.
   *
   * @returns For each request the answer's value, or why there is none.
   */
  ask<F extends Fields, A extends Attributes>(
    requests: readonly Request[],
    answer: Message<F, A>,
  ): (Of<Message<F, A>> | NetlinkError | AnswerLostError)[] {
    const results: (Of<Message<F, A>> | NetlinkError | AnswerLostError)[] = [];
    this.#inBatches(requests, (first, count) => {
      const values: (Of<Message<F, A>> | null)[] = [];
      const { errors } = this.#answers(first, count, (i, { view, at, length }) => values[i] = answer.read(view, at, length));
      for (let i = 0; i < count; i++) results.push(errors.get(i) ?? values[i] ?? lost());
    });
    return results;
  }

  /**
   * Reads a whole table of the kernel.
   *
   * @param request What to dump; attributes and header fields filter where the kernel can.
   * @param answer The table of the answers.
   * @throws {NetlinkError} If the kernel refuses, for example because it does not know the type.
   */
  dump<F extends Fields, A extends Attributes>(request: Request, answer: Message<F, A>): Dump<Of<Message<F, A>>> {
    return this.dumpOf(request, (view, at, length) => answer.read(view, at, length));
  }

  /** As {@linkcode Connection.dump}, with a reader of the caller's own; `null` leaves a message out. */
  dumpOf<T>(request: Request, read: (view: DataView, at: number, length: number) => T | null): Dump<T> {
    for (let attempt = 1;; attempt++) {
      const values: T[] = [];
      const interrupted = this.#dumpOnce(request, (message) => {
        const value = read(message.view, message.at, message.length);
        if (value !== null) values.push(value);
      });
      if (!interrupted || attempt === DUMP_TRIES) return { values, complete: !interrupted };
    }
  }

  [Symbol.dispose](): void {
    this.#writes[Symbol.dispose]();
    this.#dumps[Symbol.dispose]();
  }

  /** Writes requests into batches and sends each; an acknowledgement is asked for on the last, errors come anyway. */
  #inBatches(requests: readonly Request[], sent: (firstSeq: number, count: number) => void): void {
    for (let from = 0; from < requests.length;) {
      const writer = this.#writer;
      writer.at = 0;
      const first = this.#seq;
      let last = 0;
      let count = 0;
      while (from < requests.length && count < this.#batch && writer.at < BATCH_BYTES) {
        last = writer.at;
        writeRequest(writer, requests[from++]!, this.#seq++, FLAG.REQUEST);
        count++;
      }
      writer.view.setUint16(last + 6, writer.view.getUint16(last + 6, true) | FLAG.ACK, true);
      this.#writes.send(writer.bytes.subarray(0, writer.at));
      sent(first, count);
    }
  }

  /**
   * Collects the answers to the `count` requests from sequence number `first`, up to the acknowledgement of the last.
   *
   * @param take Gets those that are more than an acknowledgement, with the index of the request.
   */
  #answers(first: number, count: number, take: (index: number, answer: Received) => void = () => {}) {
    const errors = new Map<number, NetlinkError>();
    for (;;) {
      const bytes = receiveOrOverrun(this.#writes);
      if (bytes === null || bytes === "overrun") {
        if (bytes === "overrun") drain(this.#writes);
        return { errors, lost: true };
      }
      for (const message of messagesOf(bytes)) {
        const index = (message.seq - first) >>> 0; // sequence numbers start again at 2^32
        if (index >= count) continue; // the answer to an earlier request that was given up
        if (message.type !== NLMSG_ERROR) take(index, message);
        else {
          const error = readError(message);
          if (error !== null) errors.set(index, error);
          if (index === count - 1) return { errors, lost: false };
        }
      }
    }
  }

  #dumpOnce(request: Request, onMessage: (message: Received) => void): boolean {
    const seq = this.#seq++ >>> 0;
    this.#writer.at = 0;
    writeRequest(this.#writer, request, seq, FLAG.REQUEST | FLAG.DUMP);
    this.#dumps.send(this.#writer.bytes.subarray(0, this.#writer.at));
    let interrupted = false;
    for (;;) {
      const bytes = receiveOrOverrun(this.#dumps);
      if (bytes === null) throw new AnswerLostError("The kernel did not finish a dump");
      if (bytes === "overrun") continue; // a dump goes on when there is room again
      for (const message of messagesOf(bytes)) {
        if (message.seq !== seq) continue;
        if ((message.flags & DUMP_INTERRUPTED) !== 0) interrupted = true;
        if (message.type === NLMSG_DONE) {
          const error = readDone(message);
          if (error !== null) throw error;
          return interrupted;
        }
        if (message.type === NLMSG_ERROR) {
          const error = readError(message);
          if (error !== null) throw error;
        } else onMessage(message);
      }
    }
  }
}

function lost(): AnswerLostError {
  return new AnswerLostError("The kernel's answer got lost");
}

/** The next datagram, `null` if none comes, or word that the kernel dropped some. */
export function receiveOrOverrun(socket: NetlinkSocket, wait = PATIENCE): Uint8Array | null | "overrun" {
  try {
    return socket.receive(wait);
  } catch (error) {
    if (error instanceof Error && error.name === "OverrunError") return "overrun";
    throw error;
  }
}

function drain(socket: NetlinkSocket): void {
  while (receiveOrOverrun(socket, 0) !== null);
}
