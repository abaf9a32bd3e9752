/**
 * A netlink socket over libnl, written once for every runtime.
 *
 * Owns the order of calls, socket options and error codes; the runtime lends the calls themselves and a way to wait.
 * Source: libnl 3 (`lib/nl.c`, `netlink/errno.h`), Linux `uapi/linux/netlink.h`, `asm-generic/socket.h`.
 *
 * @module
 */

import { type NetlinkSocket, NetlinkSocketError, OverrunError, type SocketOptions } from "./mod.ts";
import { type Calls, type Handle, LIBC, type LIBC_SYMBOLS, LIBNL, type LIBNL_SYMBOLS } from "./symbols.ts";

/** What a runtime lends. */
export interface Native {
  readonly libnl: Calls<typeof LIBNL_SYMBOLS>;
  readonly libc: Calls<typeof LIBC_SYMBOLS>;
  /** A pointer from its address. */
  handle(address: bigint): Handle | null;
  /** Copies memory. */
  copy(from: Handle, length: number): Uint8Array;
  /** Reads a C string. */
  text(from: Handle): string;
  /** Calls `wake` when the file descriptor becomes readable, until the returned function is called, which then calls `done`. */
  watch(fd: number, wake: () => void): (done: () => void) => void;
}

const NLE_INTR = 2;
const NLE_AGAIN = 4;
const NLE_NOMEM = 5; // also stands for ENOBUFS

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** The kernel fills at most 32 KiB per datagram of a dump; a single message with many nested parts may be longer. */
const DATAGRAM = 64 * 1024;
/** More than any batch, less than the usual `net.core.wmem_max` of 208 KiB. */
const SEND_BUFFER = 200 * 1024;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
const POLLIN = 1;

/** Opens a netlink socket with the given runtime's calls. */
export function openSocket(native: Native, protocol: number, options: SocketOptions = {}): NetlinkSocket {
  const sock = native.libnl.nl_socket_alloc();
  if (sock === null) throw new NetlinkSocketError("Cannot allocate a netlink socket: out of memory");
  try {
    return new LibnlSocket(native, sock, protocol, options.receiveBuffer ?? RECEIVE_BUFFER);
  } catch (error) {
    native.libnl.nl_socket_free(sock);
    throw error;
  }
}

/** The line to print when libnl is nowhere to be found. */
export function missingLibrary(cause: unknown): Error {
  return new Error(
    `Cannot load ${LIBNL}: install libnl 3 (Debian, Ubuntu: apt-get install libnl-3-200; Fedora: dnf install libnl3; Alpine has none for glibc)`,
    { cause },
  );
}

/** The line to print when the C library is not glibc. */
export function missingLibc(cause: unknown): Error {
  return new Error(`Cannot load ${LIBC}: Weft needs a Linux with glibc on x64 or arm64`, { cause });
}

class LibnlSocket implements NetlinkSocket {
  readonly port: number;
  readonly receiveBuffer: number;
  readonly #native: Native;
  readonly #sock: Handle;
  readonly #fd: number;
  readonly #sender = new Uint8Array(12); // struct sockaddr_nl
  readonly #sentBy = new Uint32Array(this.#sender.buffer, 4, 1);
  readonly #datagram = new BigUint64Array(1); // unsigned char *
  #unwatch: ((done: () => void) => void) | null = null;
  #closed = false;

  constructor(native: Native, sock: Handle, protocol: number, receiveBuffer: number) {
    this.#native = native;
    this.#sock = sock;
    const { libnl } = native;
    this.#check("connect", libnl.nl_connect(sock, protocol));
    this.#check("size the buffers of", libnl.nl_socket_set_buffer_size(sock, receiveBuffer, SEND_BUFFER));
    this.#check("size the message buffer of", libnl.nl_socket_set_msg_buf_size(sock, DATAGRAM));
    libnl.nl_socket_disable_msg_peek(sock);
    this.#check("unblock", libnl.nl_socket_set_nonblocking(sock));
    this.port = libnl.nl_socket_get_local_port(sock) >>> 0;
    this.#fd = libnl.nl_socket_get_fd(sock);
    this.#option(SOL_SOCKET, SO_RCVBUFFORCE, receiveBuffer); // refused in a user namespace: what nl_socket_set_buffer_size got stays
    // Kernels before 4.12, 4.2 and 4.20 do not know these; then error texts are missing and dumps are filtered by us.
    this.#option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    this.receiveBuffer = this.#readReceiveBuffer();
  }

  join(group: number): void {
    this.#checkOpen();
    this.#check(`join group ${group} with`, this.#native.libnl.nl_socket_add_membership(this.#sock, group));
  }

  send(messages: Uint8Array): void {
    this.#checkOpen();
    this.#check("send on", this.#native.libnl.nl_sendto(this.#sock, messages, messages.length));
  }

  receive(wait = 0): Uint8Array | null {
    this.#checkOpen();
    const { libnl, libc } = this.#native;
    for (let waited = false;;) {
      const length = libnl.nl_recv(this.#sock, this.#sender, this.#datagram, null);
      if (length > 0) {
        const at = this.#native.handle(this.#datagram[0]!)!;
        const bytes = this.#sentBy[0] === 0 ? this.#native.copy(at, length) : null;
        libc.free(at);
        if (bytes !== null) return bytes; // what another process sent is not the kernel's
      } else if (length === -NLE_NOMEM) {
        throw new OverrunError("The kernel dropped netlink messages: the receive buffer was full");
      } else if (length === 0 || length === -NLE_AGAIN) {
        if (waited || wait === 0) return null;
        waited = true;
        libc.poll(pollFor(this.#fd), 1, wait);
      } else if (length !== -NLE_INTR) {
        this.#check("receive from", length);
      }
    }
  }

  watch(wake: () => void): void {
    this.#checkOpen();
    if (this.#unwatch !== null) throw new TypeError("The netlink socket is being watched already");
    this.#unwatch = this.#native.watch(this.#fd, wake);
  }

  [Symbol.dispose](): void {
    if (this.#closed) return;
    this.#closed = true;
    const free = () => this.#native.libnl.nl_socket_free(this.#sock);
    if (this.#unwatch === null) free();
    else this.#unwatch(free); // not before nobody waits on its descriptor any more
  }

  /** libnl would read memory that has been freed. */
  #checkOpen(): void {
    if (this.#closed) throw new NetlinkSocketError("The netlink socket is closed");
  }

  #option(level: number, name: number, value: number): void {
    this.#native.libc.setsockopt(this.#fd, level, name, bytesOf(value), 4);
  }

  #readReceiveBuffer(): number {
    const value = bytesOf(0);
    this.#native.libc.getsockopt(this.#fd, SOL_SOCKET, SO_RCVBUF, value, bytesOf(4));
    return new Int32Array(value.buffer)[0]!;
  }

  #check(what: string, code: number): void {
    if (code >= 0) return;
    const text = this.#native.text(this.#native.libnl.nl_geterror(code)!);
    throw new NetlinkSocketError(`Cannot ${what} the netlink socket: ${text}`);
  }
}

function bytesOf(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

/** An array of `struct pollfd` that waits for the given descriptors to be readable. */
export function pollFor(...fds: readonly number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(fds.flatMap((fd) => [fd, POLLIN])).buffer);
}
