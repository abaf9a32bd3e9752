/**
 * Watches folders through inotify.
 *
 * Never opens what it watches. Whoever closes a file lets go of all locks that the process holds on it (`fcntl_locking(2)`), and SQLite
 * relies on such locks; Deno's own watcher opens and closes every file that it tells of.
 * Source: `inotify(7)`, Linux `include/uapi/linux/inotify.h`.
 *
 * @module
 */

import type { WatchFolder } from "./mod.ts";
import type { Native } from "./socket.ts";

const IN_MODIFY = 0x2;
const IN_ATTRIB = 0x4;
const IN_MOVED_FROM = 0x40;
const IN_MOVED_TO = 0x80;
const IN_CREATE = 0x100;
const IN_DELETE = 0x200;
const IN_DELETE_SELF = 0x400;
const IN_MOVE_SELF = 0x800;
const IN_UNMOUNT = 0x2000;
const IN_Q_OVERFLOW = 0x4000;
const IN_IGNORED = 0x8000;
const IN_ONLYDIR = 0x1000000;
const IN_MASK_ADD = 0x20000000;
const IN_NONBLOCK = 0o4000;
const IN_CLOEXEC = 0o2000000;

const ENTRIES = IN_MOVED_FROM | IN_MOVED_TO | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF;
const WANTED = { entries: ENTRIES, contents: ENTRIES | IN_MODIFY | IN_ATTRIB } as const;
/** The folder itself has gone from its place. */
const GONE = IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED;
/** `struct inotify_event` without its name. */
const HEADER = 16;

type Changed = Parameters<WatchFolder>[1];

/** A function that watches folders with the given runtime's calls; all share one descriptor, which is open while anything is watched. */
export function folderWatcher(native: Native): WatchFolder {
  let open: Inotify | null = null;
  return (folder, changed, of) => {
    if (open === null || open.closed) open = new Inotify(native);
    return open.watch(folder, changed, of);
  };
}

class Inotify {
  closed = false;
  readonly #native: Native;
  readonly #fd: number;
  readonly #stop: (done: () => void) => void;
  /** Who watches, by the kernel's number of the folder. */
  readonly #watchers = new Map<number, Set<Changed>>();
  readonly #buffer = new Uint8Array(16 * 1024);

  constructor(native: Native) {
    this.#native = native;
    this.#fd = native.libc.inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (this.#fd < 0) throw new Error("the system gives no more inotify instances");
    this.#stop = native.watch(this.#fd, () => this.#read());
  }

  watch(folder: string, changed: Changed, of: keyof typeof WANTED): Disposable {
    const mask = WANTED[of] | IN_ONLYDIR | IN_MASK_ADD; // who watches the same folder shares the mask
    const number = this.#native.libc.inotify_add_watch(this.#fd, new TextEncoder().encode(`${folder}\0`), mask);
    if (number < 0) {
      this.#closeIfIdle();
      throw new Error("it is not there, can not be read, or the system gives no more inotify watches");
    }
    const own: Changed = (name) => changed(name); // one function may watch several times
    const watchers = this.#watchers.get(number) ?? new Set();
    this.#watchers.set(number, watchers.add(own));
    return {
      [Symbol.dispose]: () => {
        if (!watchers.delete(own) || watchers.size > 0) return;
        if (this.#watchers.get(number) === watchers) {
          this.#watchers.delete(number);
          this.#native.libc.inotify_rm_watch(this.#fd, number);
        }
        this.#closeIfIdle();
      },
    };
  }

  #closeIfIdle(): void {
    if (this.closed || this.#watchers.size > 0) return;
    this.closed = true;
    this.#stop(() => this.#native.libc.close(this.#fd));
  }

  /** Takes all that has happened and tells it. */
  #read(): void {
    while (!this.closed) {
      const length = this.#native.libc.read(this.#fd, this.#buffer, this.#buffer.length);
      if (length <= 0) return;
      const bytes = this.#buffer.slice(0, length); // who is told may cause the next reading
      const view = new DataView(bytes.buffer);
      for (let at = 0; at < length; at += HEADER + view.getUint32(at + 12, true)) {
        const name = bytes.subarray(at + HEADER, at + HEADER + view.getUint32(at + 12, true));
        this.#tell(view.getInt32(at, true), view.getUint32(at + 4, true), name);
      }
    }
  }

  #tell(number: number, mask: number, name: Uint8Array): void {
    if ((mask & IN_Q_OVERFLOW) !== 0) {
      for (const watchers of [...this.#watchers.values()]) watchers.forEach((changed) => changed(null));
      return;
    }
    const watchers = this.#watchers.get(number);
    if (watchers === undefined) return;
    if ((mask & IN_IGNORED) !== 0) this.#watchers.delete(number); // the kernel has ended this watch
    const text = (mask & GONE) !== 0 ? null : new TextDecoder().decode(name.subarray(0, name.indexOf(0)));
    watchers.forEach((changed) => changed(text));
    if ((mask & IN_IGNORED) !== 0) this.#closeIfIdle();
  }
}
