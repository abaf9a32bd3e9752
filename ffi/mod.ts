/**
 * Netlink sockets over libnl: the one place that touches native memory.
 *
 * Owns opening, sending, receiving and waiting; knows nothing of what the bytes mean. The driver of the runtime it runs on is loaded
 * by {@linkcode openDriver}, never at import.
 *
 * @module
 */

/** A netlink socket of libnl. Not blocking: a call returns at once, unless it is told how long to wait. */
export interface NetlinkSocket extends Disposable {
  /** The port id (`nl_pid`) that the kernel gave it; it marks events that our own writes caused. */
  readonly port: number;
  /** Bytes the kernel queues for us before it drops messages. */
  readonly receiveBuffer: number;
  /**
   * Joins a multicast group.
   *
   * @throws {NetlinkSocketError} If the kernel refuses, for example because it does not know the group.
   */
  join(group: number): void;
  /**
   * Sends one or more whole messages to the kernel in one call. For rtnetlink the kernel has handled them all when this returns.
   *
   * @throws {NetlinkSocketError} If the kernel did not take them.
   */
  send(messages: Uint8Array): void;
  /**
   * Takes the next datagram of the kernel's.
   *
   * @param wait Milliseconds to block for one; the default is not to wait.
   * @returns A copy of its bytes, or `null` if none came.
   * @throws {OverrunError} If the kernel has dropped messages since the last call.
   * @throws {NetlinkSocketError} If reading failed.
   */
  receive(wait?: number): Uint8Array | null;
  /**
   * Calls `wake` whenever datagrams have arrived, until the socket is closed. Read until `null` then: one call may stand for many.
   * Needs no thread of the runtime's pool and no polling.
   */
  watch(wake: () => void): void;
}

/** How a socket is opened. */
export interface SocketOptions {
  /** Wanted receive buffer in bytes; more than `net.core.rmem_max` only with CAP_NET_ADMIN in the first user namespace. */
  readonly receiveBuffer?: number;
  /** The kernel keeps back what the writes of the socket with this port caused; `null`, the default: it tells all. */
  readonly ignorePort?: number | null;
}

/** The binding of one runtime. */
export interface Driver {
  readonly runtime: "bun" | "deno";
  /** Where libnl came from: the name it was loaded by, or `embedded`. */
  readonly library: string;
  /**
   * Opens a socket.
   *
   * @param protocol For example NETLINK_ROUTE (0).
   * @throws {NetlinkSocketError} If the kernel refuses.
   */
  open(protocol: number, options?: SocketOptions): NetlinkSocket;
  /**
   * Sends a text to a Unix datagram socket, such as systemd's `NOTIFY_SOCKET`.
   *
   * @param path The socket's path; `@` in front names an abstract one.
   * @returns Whether it was taken.
   */
  sendDatagram(path: string, text: string): boolean;
  readonly watchFolder: WatchFolder;
}

/**
 * Watches a folder until the result is disposed of. Opens nothing in it, so that locks of this process on files there hold.
 *
 * @param changed Told the name in the folder that was made, changed, renamed or removed; `null` if the folder itself has gone from its
 * place, or nobody knows what has changed.
 * @param of `entries`: names that are made, renamed or removed; `contents`: also files that are written, or whose attributes change. Who
 * watches entries only is not woken by a file that grows there, unless somebody else in this process watches contents.
 * @throws {Error} If the system gives no watch.
 */
export type WatchFolder = (folder: string, changed: (name: string | null) => void, of: "entries" | "contents") => Disposable;

/** A call to libnl failed. */
export class NetlinkSocketError extends Error {
  override readonly name: string = "NetlinkSocketError";
}

/** The kernel dropped messages because the receive buffer was full (ENOBUFS): whatever was known must be read again. */
export class OverrunError extends NetlinkSocketError {
  override readonly name = "OverrunError";
}

/**
 * The driver of the runtime that this program runs on.
 *
 * @throws {Error} If libnl can not be loaded; the message says how to install it.
 */
export async function openDriver(): Promise<Driver> {
  const { openDriver } = "Bun" in globalThis ? await import("./bun.ts") : await import("./deno.ts");
  return openDriver();
}
