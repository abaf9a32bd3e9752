/**
 * The datagrams that wait at a netlink socket, many of them taken with one call.
 *
 * Thousands of short ones come at a time: an answer to each question, an event for each change. Whether the kernel had to drop some is
 * told by its counter, since an error of the call would stand in `errno`, which may be overwritten before JavaScript reads it.
 * Source: `recvmmsg(2)`, Linux `uapi/linux/netlink.h`, `uapi/linux/sock_diag.h`, `net/netlink/af_netlink.c`.
 *
 * @module
 */

import { NetlinkSocketError } from "./mod.ts";
import type { Native } from "./socket.ts";

/** Datagrams that are taken at once. */
const COUNT = 16;
/** The kernel fills at most 32 KiB per datagram of a dump; a single message with many nested parts may be longer. */
const LONGEST = 64 * 1024;

/** `struct mmsghdr` on a 64-bit machine: a `struct msghdr`, and the length of what came. */
const HEADER = { size: 64, name: 0, nameLength: 8, parts: 16, partCount: 24, flags: 48, length: 56 } as const;
/** `struct iovec`. */
const PART = { size: 16, base: 0, length: 8 } as const;
/** `struct sockaddr_nl`: the port of who sent it, which is 0 for the kernel. */
const SENDER = { size: 12, port: 4 } as const;

const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;
const SOL_SOCKET = 1;
const SO_MEMINFO = 55;
/** Where SO_MEMINFO tells how many datagrams were dropped (SK_MEMINFO_DROPS), and how many numbers it tells. */
const DROPS = 8;
const MEMINFO = 9;
const SOL_NETLINK = 270;
/** The kernel counts what it drops and gives no error for it. */
const NETLINK_NO_ENOBUFS = 5;

/** The datagrams of one socket. */
export class Inbox {
  readonly #native: Native;
  readonly #fd: number;
  readonly #datagrams = new Uint8Array(new ArrayBuffer(COUNT * LONGEST));
  readonly #senders = new DataView(new ArrayBuffer(COUNT * SENDER.size));
  readonly #parts = new DataView(new ArrayBuffer(COUNT * PART.size));
  readonly #headers = new DataView(new ArrayBuffer(COUNT * HEADER.size));
  readonly #headerBytes = new Uint8Array(this.#headers.buffer);
  readonly #memory = new Uint32Array(MEMINFO);
  readonly #memoryBytes = new Uint8Array(this.#memory.buffer);
  readonly #memoryLength = new Uint8Array(new ArrayBuffer(4));
  /** A copy of all that was taken last, and where in it the next datagram begins. */
  #copy = new Uint8Array(0);
  #at = 0;
  /** The next datagram of those that have been taken, and how many there are. */
  #next = 0;
  #taken = 0;
  #dropped: number;

  /** @throws {NetlinkSocketError} If the kernel does not tell what it has dropped. */
  constructor(native: Native, fd: number) {
    this.#native = native;
    this.#fd = fd;
    const [datagrams, senders, parts] = [this.#datagrams, new Uint8Array(this.#senders.buffer), new Uint8Array(this.#parts.buffer)]
      .map((memory) => native.address(memory)) as [bigint, bigint, bigint];
    for (let i = 0; i < COUNT; i++) {
      this.#parts.setBigUint64(i * PART.size + PART.base, datagrams + BigInt(i * LONGEST), true);
      this.#parts.setBigUint64(i * PART.size + PART.length, BigInt(LONGEST), true);
      this.#headers.setBigUint64(i * HEADER.size + HEADER.name, senders + BigInt(i * SENDER.size), true);
      this.#headers.setBigUint64(i * HEADER.size + HEADER.parts, parts + BigInt(i * PART.size), true);
      this.#headers.setBigUint64(i * HEADER.size + HEADER.partCount, 1n, true);
    }
    const quiet = new Uint8Array(Int32Array.of(1).buffer);
    const refused = native.libc.setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, quiet, quiet.length) !== 0;
    this.#dropped = this.#drops();
    if (refused || this.#memoryLength[0]! < this.#memoryBytes.length) {
      throw new NetlinkSocketError("Cannot learn from the kernel which netlink messages it drops: Weft needs Linux 4.12 or later");
    }
  }

  /** A copy of the next datagram of the kernel's; `null` if none waits. */
  take(): Uint8Array | null {
    for (;;) {
      if (this.#next === this.#taken) this.#fetch();
      if (this.#taken === 0) return null;
      const i = this.#next++;
      const bytes = this.#copy.subarray(this.#at, this.#at += this.#lengthOf(i));
      const flags = this.#headers.getInt32(i * HEADER.size + HEADER.flags, true);
      if (this.#senders.getUint32(i * SENDER.size + SENDER.port, true) !== 0) continue; // of another process
      if ((flags & MSG_TRUNC) === 0) return bytes;
      this.#dropped--; // lost as if it had been dropped
    }
  }

  /** Whether datagrams were dropped since this was asked last. */
  hasLost(): boolean {
    const before = this.#dropped;
    this.#dropped = this.#drops();
    return this.#dropped !== before;
  }

  #fetch(): void {
    for (let i = 0; i < COUNT; i++) this.#headers.setUint32(i * HEADER.size + HEADER.nameLength, SENDER.size, true);
    this.#taken = Math.max(0, this.#native.libc.recvmmsg(this.#fd, this.#headerBytes, COUNT, MSG_DONTWAIT, null));
    let length = 0;
    for (let i = 0; i < this.#taken; i++) length += this.#lengthOf(i);
    this.#copy = new Uint8Array(new ArrayBuffer(length)); // one for all: many small arrays are slow to look into
    this.#next = this.#at = 0;
    for (let i = 0, to = 0; i < this.#taken; to += this.#lengthOf(i++)) {
      this.#copy.set(this.#datagrams.subarray(i * LONGEST, i * LONGEST + this.#lengthOf(i)), to);
    }
  }

  #lengthOf(datagram: number): number {
    return this.#headers.getUint32(datagram * HEADER.size + HEADER.length, true);
  }

  #drops(): number {
    this.#memoryLength[0] = this.#memoryBytes.length;
    this.#native.libc.getsockopt(this.#fd, SOL_SOCKET, SO_MEMINFO, this.#memoryBytes, this.#memoryLength);
    return this.#memory[DROPS]!;
  }
}
