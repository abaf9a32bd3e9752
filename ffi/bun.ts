/**
 * The driver for Bun.
 *
 * Every native call blocks Bun's loop, so it never waits in one: sockets raise SIGIO (O_ASYNC) and are drained without blocking.
 * libnl is the system's or, in the compiled binary, the embedded copy, loaded from an anonymous file that nobody else can write.
 *
 * @module
 */

/// <reference path="./bun.d.ts" />
import { CString, dlopen, type FFIType, type Pointer, ptr } from "bun:ffi";
import { sendDatagram } from "./datagram.ts";
import { folderWatcher } from "./folder_watch.ts";
import { type Driver } from "./mod.ts";
import { missingLibc, missingLibrary, type Native, openSocket } from "./socket.ts";
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

const TYPES = { handle: "ptr", buffer: "ptr", i32: "i32", usize: "u64", void: "void" } as const satisfies Record<
  NativeType,
  FFIType
>;

const F_SETFL = 4;
const F_SETOWN = 8;
const O_NONBLOCK = 0o4000;
const O_ASYNC = 0o20000;
const MFD_CLOEXEC = 1;

/** Loads libnl. */
export async function openDriver(): Promise<Driver> {
  const libc = load(LIBC, LIBC_SYMBOLS, missingLibc);
  const [library, libnl] = await loadLibnl(libc);
  const native: Native = {
    libnl,
    libc,
    address: (bytes) => BigInt(ptr(bytes)),
    text: (from) => new CString(pointer(from)).toString(),
    watch: (fd, wake) => watch(libc, fd, wake),
  };
  return {
    runtime: "bun",
    library,
    open: (protocol, options) => openSocket(native, protocol, options),
    sendDatagram: (path, text) => sendDatagram(native, path, text),
    watchFolder: folderWatcher(native),
  };
}

async function loadLibnl(libc: Calls<typeof LIBC_SYMBOLS>): Promise<[string, Calls<typeof LIBNL_SYMBOLS>]> {
  try {
    return [LIBNL, load(LIBNL, LIBNL_SYMBOLS, missingLibrary)];
  } catch (error) {
    const embedded = Bun.embeddedFiles.find((file) => file.name.startsWith("libnl-3"));
    if (embedded === undefined) throw error;
    const path = intoMemory(libc, new Uint8Array(await embedded.arrayBuffer()));
    return ["embedded", load(path, LIBNL_SYMBOLS, missingLibrary)];
  }
}

/** Writes a library into an anonymous file; the path stays good while this process lives. */
function intoMemory(libc: Calls<typeof LIBC_SYMBOLS>, library: Uint8Array): string {
  const fd = libc.memfd_create(new TextEncoder().encode("libnl\0"), MFD_CLOEXEC);
  let done = 0;
  while (fd >= 0 && done < library.length) {
    const written = libc.write(fd, library.subarray(done), library.length - done);
    if (written <= 0) break;
    done += written;
  }
  if (done < library.length) throw missingLibrary(new Error("the embedded copy could not be written to memory"));
  return `/proc/self/fd/${fd}`;
}

function load<T extends Record<string, NativeFunction>>(path: string, symbols: T, missing: (cause: unknown) => Error): Calls<T> {
  const declared = Object.fromEntries(
    Object.entries(symbols).map(([name, { parameters, result }]) => [
      name,
      { args: parameters.map((type) => TYPES[type]), returns: TYPES[result] },
    ]),
  );
  try {
    return dlopen(path, declared).symbols as unknown as Calls<T>;
  } catch (cause) {
    throw missing(cause);
  }
}

function pointer(handle: Handle): Pointer {
  return handle as unknown as Pointer;
}

/** SIGIO does not say which descriptor it stands for, so it wakes them all; waking one in vain costs one failing read. */
const watchers = new Set<() => void>();
const wakeAll = () => watchers.forEach((wake) => wake());

function watch(libc: Calls<typeof LIBC_SYMBOLS>, fd: number, wake: () => void): (done: () => void) => void {
  // Before the first signal, which would end the process; it stays, since a signal may be under way when the last watch ends.
  if (!process.listeners("SIGIO").includes(wakeAll)) process.on("SIGIO", wakeAll);
  const own = () => wake(); // one function may watch several
  watchers.add(own);
  libc.fcntl(fd, F_SETOWN, process.pid);
  libc.fcntl(fd, F_SETFL, O_NONBLOCK | O_ASYNC);
  queueMicrotask(() => watchers.has(own) && wake()); // what came before O_ASYNC raised no signal
  return (done) => {
    libc.fcntl(fd, F_SETFL, O_NONBLOCK);
    watchers.delete(own);
    done();
  };
}
