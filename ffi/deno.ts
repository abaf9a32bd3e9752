/**
 * The driver for Deno.
 *
 * Waiting is one `poll` per watched socket in a thread of its own (`nonblocking`), which an eventfd ends when the socket is closed.
 *
 * @module
 */

import { sendDatagram } from "./datagram.ts";
import { folderWatcher } from "./folder_watch.ts";
import { type Driver } from "./mod.ts";
import { missingLibc, missingLibrary, type Native, openSocket, pollFor } from "./socket.ts";
import {
  type Calls,
  type Handle,
  LIBC,
  LIBC_SYMBOLS,
  LIBNL,
  LIBNL_SYMBOLS,
  type NativeFunction,
  type NativeType,
} from "./symbols.ts";

const TYPES = { handle: "pointer", buffer: "buffer", i32: "i32", usize: "usize", void: "void" } as const satisfies Record<
  NativeType,
  string
>;

/** Loads libnl. */
export function openDriver(): Promise<Driver> {
  const libc = load(LIBC, LIBC_SYMBOLS, false, missingLibc);
  const waiting = load(LIBC, { poll: LIBC_SYMBOLS.poll }, true, missingLibc) as unknown as {
    readonly poll: (fds: Uint8Array, count: number, milliseconds: number) => Promise<number>;
  };
  const native: Native = {
    libnl: load(LIBNL, LIBNL_SYMBOLS, false, missingLibrary),
    libc,
    address: (bytes) => Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes as Uint8Array<ArrayBuffer>)),
    text: (from) => new Deno.UnsafePointerView(pointer(from)).getCString(),
    watch: (fd, wake) => watch(libc, waiting.poll, fd, wake),
  };
  return Promise.resolve({
    runtime: "deno",
    library: LIBNL,
    open: (protocol, options) => openSocket(native, protocol, options),
    sendDatagram: (path, text) => sendDatagram(native, path, text),
    watchFolder: folderWatcher(native),
  });
}

function load<T extends Record<string, NativeFunction>>(
  path: string,
  symbols: T,
  nonblocking: boolean,
  missing: (cause: unknown) => Error,
): Calls<T> {
  const declared = Object.fromEntries(
    Object.entries(symbols).map(([name, { parameters, result }]) => [
      name,
      { parameters: parameters.map((type) => TYPES[type]), result: TYPES[result], nonblocking },
    ]),
  ) as Deno.ForeignLibraryInterface;
  try {
    return Deno.dlopen(path, declared).symbols as unknown as Calls<T>;
  } catch (cause) {
    throw missing(cause);
  }
}

function pointer(handle: Handle): Deno.PointerObject {
  return handle as unknown as Deno.PointerObject;
}

function watch(
  libc: Calls<typeof LIBC_SYMBOLS>,
  poll: (fds: Uint8Array, count: number, milliseconds: number) => Promise<number>,
  fd: number,
  wake: () => void,
): (done: () => void) => void {
  const end = libc.eventfd(0, 0);
  let onEnd: (() => void) | null = null;
  const loop = async () => {
    while (onEnd === null) {
      await poll(pollFor(fd, end), 2, -1);
      if (onEnd === null) wake();
    }
    libc.close(end);
    (onEnd as () => void)();
  };
  loop();
  return (done) => {
    onEnd = done;
    libc.write(end, new BigUint64Array([1n]), 8);
  };
}
