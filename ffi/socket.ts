/**
 * A netlink socket over libnl, written once for every runtime.
 *
 * Owns the order of calls, socket options and error codes; the runtime lends the calls themselves and a way to wait.
 * Source: libnl 3 (`lib/nl.c`, `netlink/errno.h`), Linux `uapi/linux/netlink.h`, `asm-generic/socket.h`.
 *
 * @module
 */

import { Inbox } from "./inbox.ts";
import { type NetlinkSocket, NetlinkSocketError, OverrunError, type SocketOptions } from "./mod.ts";
import { type Calls, type Handle, LIBC, type LIBC_SYMBOLS, LIBNL, type LIBNL_SYMBOLS } from "./symbols.ts";

/** What a runtime lends. */
export interface Native {
  readonly libnl: Calls<typeof LIBNL_SYMBOLS>;
  readonly libc: Calls<typeof LIBC_SYMBOLS>;
  /** The address of memory of ours, good as long as the array is held. */
  address(bytes: Uint8Array): bigint;
  /** Reads a C string. */
  text(from: Handle): string;
  /** Calls `wake` when the file descriptor becomes readable, until the returned function is called, which then calls `done`. */
  watch(fd: number, wake: () => void): (done: () => void) => void;
}

const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUFFORCE = 33;
const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** More than any batch, less than the usual `net.core.wmem_max` of 208 KiB. */
const SEND_BUFFER = 200 * 1024;
const RECEIVE_BUFFER = 8 * 1024 * 1024;
const POLLIN = 1;

/** Opens a netlink socket with the given runtime's calls. */
export function openSocket(native: Native, protocol: number, options: SocketOptions = {}): NetlinkSocket {
  const sock = native.libnl.nl_socket_alloc();
  if (sock === null) throw new NetlinkSocketError("Cannot allocate a netlink socket: out of memory");
  try {
    return new LibnlSocket(native, sock, protocol, options);
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
  readonly #inbox: Inbox;
  #unwatch: ((done: () => void) => void) | null = null;
  #closed = false;

  constructor(
    native: Native,
    sock: Handle,
    protocol: number,
    { receiveBuffer = RECEIVE_BUFFER, ignorePort = null }: SocketOptions,
  ) {
    this.#native = native;
    this.#sock = sock;
    const { libnl } = native;
    this.#check("connect", libnl.nl_connect(sock, protocol));
    this.#check("size the buffers of", libnl.nl_socket_set_buffer_size(sock, receiveBuffer, SEND_BUFFER));
    this.#check("unblock", libnl.nl_socket_set_nonblocking(sock));
    this.port = libnl.nl_socket_get_local_port(sock) >>> 0;
    this.#fd = libnl.nl_socket_get_fd(sock);
    this.#option(SOL_SOCKET, SO_RCVBUFFORCE, receiveBuffer); // refused in a user namespace: what nl_socket_set_buffer_size got stays
    // Kernels before 4.12, 4.2 and 4.20 do not know these; then error texts are missing and dumps are filtered by us.
    this.#option(SOL_NETLINK, NETLINK_EXT_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_CAP_ACK, 1);
    this.#option(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    this.#inbox = new Inbox(native, this.#fd);
    this.receiveBuffer = this.#readReceiveBuffer();
    if (ignorePort !== null) this.#ignore(ignorePort);
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
    for (let waited = false;; waited = true) {
      const bytes = this.#inbox.take();
      if (bytes !== null) return bytes;
      if (this.#inbox.hasLost()) throw new OverrunError("The kernel dropped netlink messages: the receive buffer was full");
      if (waited || wait === 0) return null;
      this.#native.libc.poll(pollFor(this.#fd), 1, wait);
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

  /** Each of thousands of own writes would else wake this process, only to be thrown away. */
  #ignore(port: number): void {
    const filter = ignoring(port);
    const program = new Uint8Array(16); // struct sock_fprog
    const view = new DataView(program.buffer);
    view.setUint16(0, filter.length / 8, true);
    view.setBigUint64(8, this.#native.address(filter), true);
    if (this.#native.libc.setsockopt(this.#fd, SOL_SOCKET, SO_ATTACH_FILTER, program, program.length) !== 0) {
      throw new NetlinkSocketError("Cannot attach a filter to the netlink socket: the kernel refused it");
    }
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

/**
 * A classic BPF program that drops the messages whose `nlmsg_pid` is a port, and keeps all others whole. Source: Linux
 * `include/uapi/linux/filter.h`, `net/netlink/af_netlink.c` (do_one_broadcast).
 */
function ignoring(port: number): Uint8Array {
  const [load, isEqual, end] = [0x20, 0x15, 0x06]; // BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ | BPF_K, BPF_RET | BPF_K
  const program = new Uint8Array(4 * 8); // struct sock_filter: u16 code, u8 jt, u8 jf, u32 k
  const view = new DataView(program.buffer);
  const portAsLoaded = new DataView(Uint32Array.of(port).buffer).getUint32(0); // BPF loads in network order
  [[load, 0, 0, 12], [isEqual, 0, 1, portAsLoaded], [end, 0, 0, 0], [end, 0, 0, 0xffffffff]].forEach(([code, yes, no, k], i) => {
    view.setUint16(8 * i, code!, true);
    view.setUint8(8 * i + 2, yes!);
    view.setUint8(8 * i + 3, no!);
    view.setUint32(8 * i + 4, k!, true);
  });
  return program;
}

function bytesOf(value: number): Uint8Array {
  return new Uint8Array(Int32Array.of(value).buffer);
}

/** An array of `struct pollfd` that waits for the given descriptors to be readable. */
export function pollFor(...fds: readonly number[]): Uint8Array {
  return new Uint8Array(Int32Array.from(fds.flatMap((fd) => [fd, POLLIN])).buffer);
}
