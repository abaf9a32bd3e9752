/**
 * Talking to the kernel over netlink sockets: batches of requests, dumps, and events.
 *
 * Owns framing, sequence numbers, acknowledgements and error texts. rtnetlink handles a request while it is being sent, so every
 * answer is there when `send` returns and nothing here waits for the loop. Writes, dumps and events use a socket each: an overrun
 * of one says nothing about the others. Source: Linux `include/uapi/linux/netlink.h`, `net/netlink/af_netlink.c`.
 *
 * @module
 */

import { constants } from "node:os";
import type { Driver, NetlinkSocket } from "../../ffi/mod.ts";
import { type Attributes, eachAttribute, type Fields, type Message, type Of } from "./schema.ts";
import { text, Writer } from "./wire.ts";

export type { Driver };

/** Flags of a request (NLM_F_*). */
export const FLAG = {
  REQUEST: 1,
  ACK: 4,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
} as const;

const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const DUMP_INTERRUPTED = 0x10;
const CAPPED = 0x100;
const ACK_TLVS = 0x200;
const HEADER = 16;

/** Messages in one call at the most: larger batches are not faster. */
const BATCH = 512;
/** What one failing message may cost in the receive buffer: its answer, and the kernel's own bookkeeping for it. */
const ANSWER = 2048;
/** A batch is sent before it grows over this many bytes, which is less than the send buffer. */
const BATCH_BYTES = 96 * 1024;
/** Milliseconds to wait for an answer that is not there, which for rtnetlink does not happen. */
const PATIENCE = 2000;
const DUMP_TRIES = 10;

const ERRNO_NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number as number, name]));

/** The kernel refused a request. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  /** The error's number, positive. */
  readonly errno: number;
  /** The error's name, for example `EEXIST`. */
  readonly code: string;
  /** The kernel's own words (extended acknowledgement), if it gave any. */
  readonly kernelText: string | null;

  constructor(errno: number, kernelText: string | null) {
    const code = ERRNO_NAMES.get(errno) ?? `errno ${errno}`;
    super(kernelText === null ? code : `${code}: ${kernelText}`);
    this.errno = errno;
    this.code = code;
    this.kernelText = kernelText;
  }
}

/** The kernel's answer to a request got lost: nobody knows what came of it until it is looked up. */
export class AnswerLostError extends Error {
  override readonly name = "AnswerLostError";
}

/** One request to the kernel. */
export interface Request {
  /** Message type, for example RTM_NEWROUTE. */
  readonly type: number;
  /** Flags besides REQUEST and ACK. */
  readonly flags: number;
  /** Writes what stands behind the header. */
  write(writer: Writer): void;
}

/** Joins type, flags, table and value to a request. */
export function request<F extends Fields, A extends Attributes>(
  type: number,
  flags: number,
  message: Message<F, A>,
  value: Of<Message<F, A>>,
): Request {
  return { type, flags, write: (writer) => message.write(writer, value) };
}

/** What a dump brought. */
export interface Dump<T> {
  readonly values: readonly T[];
  /** `false` if the kernel's tables kept changing while they were read, so that something may be missing. */
  readonly complete: boolean;
}

/** A message as it came. */
interface Received {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly port: number;
  readonly view: DataView;
  /** Where the payload starts, and its length. */
  readonly at: number;
  readonly length: number;
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
      for (let i = 0; i < count; i++) results.push(answers.errors.get(i) ?? (answers.lost ? lost() : null));
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
      const answers = this.#answers(first, count);
      for (let i = 0; i < count; i++) {
        const value = answers.values.get(i);
        results.push(answers.errors.get(i) ?? (value && answer.read(value.view, value.at, value.length)) ?? lost());
      }
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

  /** Collects the answers to the `count` requests from sequence number `first`, up to the acknowledgement of the last. */
  #answers(first: number, count: number) {
    const errors = new Map<number, NetlinkError>();
    const values = new Map<number, Received>();
    for (;;) {
      const bytes = receiveOrOverrun(this.#writes);
      if (bytes === null || bytes === "overrun") {
        if (bytes === "overrun") drain(this.#writes);
        return { errors, values, lost: true };
      }
      for (const message of eachMessage(bytes)) {
        const index = (message.seq - first) >>> 0; // sequence numbers start again at 2^32
        if (index >= count) continue; // the answer to an earlier request that was given up
        if (message.type !== NLMSG_ERROR) values.set(index, message);
        else {
          const error = readError(message);
          if (error !== null) errors.set(index, error);
          if (index === count - 1) return { errors, values, lost: false };
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
      for (const message of eachMessage(bytes)) {
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

/** An event: something in the kernel's tables has changed. */
export interface Event {
  /** Message type, for example RTM_DELROUTE. */
  readonly type: number;
  readonly view: DataView;
  readonly at: number;
  readonly length: number;
}

/** What a subscriber is told. */
export interface EventHandlers {
  /** Port id whose events are left out: they echo our own writes. */
  readonly ignorePort: number;
  readonly onEvent: (event: Event) => void;
  /** Events were lost: everything must be read again. */
  readonly onOverrun: () => void;
  /** A burst of events has been handed over. */
  readonly onIdle: () => void;
}

/**
 * Subscribes to multicast groups. Groups that the kernel does not know are left out.
 *
 * @returns A handle that ends the subscription.
 */
export function subscribe(driver: Driver, groups: readonly number[], handlers: EventHandlers): Disposable {
  const socket = driver.open(0, { receiveBuffer: 16 * 1024 * 1024 });
  for (const group of groups) {
    try {
      socket.join(group);
    } catch {
      // RTNLGRP_NEXTHOP is from 5.3; without nexthop objects there is nothing to hear of them.
    }
  }
  socket.watch(() => {
    let heard = false;
    for (let bytes = receiveOrOverrun(socket, 0); bytes !== null; bytes = receiveOrOverrun(socket, 0)) {
      heard = true;
      if (bytes === "overrun") {
        handlers.onOverrun();
        continue;
      }
      for (const message of eachMessage(bytes)) if (message.port !== handlers.ignorePort) handlers.onEvent(message);
    }
    if (heard) handlers.onIdle();
  });
  return socket;
}

function lost(): AnswerLostError {
  return new AnswerLostError("The kernel's answer got lost");
}

function receiveOrOverrun(socket: NetlinkSocket, wait = PATIENCE): Uint8Array | null | "overrun" {
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

function writeRequest(writer: Writer, request: Request, seq: number, extra: number): void {
  const start = writer.reserve(HEADER);
  request.write(writer);
  const { view } = writer;
  view.setUint32(start, writer.at - start, true);
  view.setUint16(start + 4, request.type, true);
  view.setUint16(start + 6, request.flags | extra, true);
  view.setUint32(start + 8, seq, true);
}

/** The messages of a datagram; ends at the first whose length does not fit. */
export function* eachMessage(bytes: Uint8Array): Generator<Received> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + HEADER <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER || at + length > bytes.length) return;
    yield {
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      seq: view.getUint32(at + 8, true),
      port: view.getUint32(at + 12, true),
      view,
      at: at + HEADER,
      length: length - HEADER,
    };
    at += (length + 3) & ~3;
  }
}

/** `struct nlmsgerr`, with the kernel's words behind it; `null` for an acknowledgement. */
function readError({ view, at, length, flags }: Received): NetlinkError | null {
  if (length < 4) return null;
  const errno = -view.getInt32(at, true);
  if (errno === 0) return null;
  if ((flags & ACK_TLVS) === 0 || length < 4 + HEADER) return new NetlinkError(errno, null);
  const echoed = (flags & CAPPED) !== 0 ? HEADER : (view.getUint32(at + 4, true) + 3) & ~3;
  return new NetlinkError(errno, readKernelText(view, at + 4 + echoed, length - 4 - echoed));
}

/** The end of a dump carries an error too. */
function readDone({ view, at, length, flags }: Received): NetlinkError | null {
  const errno = length < 4 ? 0 : -view.getInt32(at, true);
  if (errno <= 0) return null;
  return new NetlinkError(errno, (flags & ACK_TLVS) === 0 ? null : readKernelText(view, at + 4, length - 4));
}

const NLMSGERR_ATTR_MSG = 1;

function readKernelText(view: DataView, at: number, length: number): string | null {
  if (length <= 0) return null;
  for (const [number, start, size] of eachAttribute(view, at, length)) {
    if (number === NLMSGERR_ATTR_MSG) return text.read(view, start, size) ?? null;
  }
  return null;
}
