/**
 * Netlink messages as they stand in datagrams: headers, sequence numbers, acknowledgements and the kernel's words in errors.
 *
 * Knows no socket. Source: Linux `include/uapi/linux/netlink.h`, `net/netlink/af_netlink.c`.
 *
 * @module
 */

import { constants } from "node:os";
import { type Attributes, eachAttribute, type Fields, type Message, type Of } from "./schema.ts";
import { text, type Writer } from "./wire.ts";

/** Flags of a request (NLM_F_*). */
export const FLAG = {
  REQUEST: 1,
  ACK: 4,
  DUMP: 0x300,
  REPLACE: 0x100,
  EXCL: 0x200,
  CREATE: 0x400,
} as const;

/** An acknowledgement or an error (NLMSG_ERROR). */
export const NLMSG_ERROR = 2;
/** The end of a dump (NLMSG_DONE). */
export const NLMSG_DONE = 3;
/** The table changed while it was dumped (NLM_F_DUMP_INTR). */
export const DUMP_INTERRUPTED = 0x10;
const CAPPED = 0x100;
const ACK_TLVS = 0x200;
const HEADER = 16;

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

/** A message as it came. */
export interface Received {
  readonly type: number;
  readonly flags: number;
  readonly seq: number;
  readonly port: number;
  readonly view: DataView;
  /** Where the payload starts, and its length. */
  readonly at: number;
  readonly length: number;
}

/** Writes a request with its header. */
export function writeRequest(writer: Writer, request: Request, seq: number, extra: number): void {
  const start = writer.reserve(HEADER);
  request.write(writer);
  const { view } = writer;
  view.setUint32(start, writer.at - start, true);
  view.setUint16(start + 4, request.type, true);
  view.setUint16(start + 6, request.flags | extra, true);
  view.setUint32(start + 8, seq, true);
}

/** The messages of a datagram, up to the first whose length does not fit. */
export function messagesOf(bytes: Uint8Array): readonly Received[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const messages: Received[] = [];
  for (let at = 0; at + HEADER <= bytes.length;) {
    const length = view.getUint32(at, true);
    if (length < HEADER || at + length > bytes.length) break;
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      seq: view.getUint32(at + 8, true),
      port: view.getUint32(at + 12, true),
      view,
      at: at + HEADER,
      length: length - HEADER,
    });
    at += (length + 3) & ~3;
  }
  return messages;
}

/** `struct nlmsgerr`, with the kernel's words behind it; `null` for an acknowledgement. */
export function readError({ view, at, length, flags }: Received): NetlinkError | null {
  if (length < 4) return null;
  const errno = -view.getInt32(at, true);
  if (errno === 0) return null;
  if ((flags & ACK_TLVS) === 0 || length < 4 + HEADER) return new NetlinkError(errno, null);
  const echoed = (flags & CAPPED) !== 0 ? HEADER : (view.getUint32(at + 4, true) + 3) & ~3;
  return new NetlinkError(errno, readKernelText(view, at + 4 + echoed, length - 4 - echoed));
}

/** The end of a dump carries an error too. */
export function readDone({ view, at, length, flags }: Received): NetlinkError | null {
  const errno = length < 4 ? 0 : -view.getInt32(at, true);
  if (errno <= 0) return null;
  return new NetlinkError(errno, (flags & ACK_TLVS) === 0 ? null : readKernelText(view, at + 4, length - 4));
}

const NLMSGERR_ATTR_MSG = 1;

function readKernelText(view: DataView, at: number, length: number): string | null {
  let said: string | null = null;
  eachAttribute(view, at, length, (number, start, size) => {
    if (number === NLMSGERR_ATTR_MSG) said ??= text.read(view, start, size) ?? null;
  });
  return said;
}
