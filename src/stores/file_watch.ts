/**
 * Tells when a file may have changed, without polling.
 *
 * It watches the folders in which something must happen for a path to lead to other content: that of the file and the one that holds this
 * folder, those of the links on the way to it (the volumes of Kubernetes swap a link named `..data`), and where a part of the path is
 * missing, the folder it is missing from. It never opens the file: closing it would let go of SQLite's locks on it, which are this
 * process's. While a folder can not be watched, it asks for a look every second.
 *
 * @module
 */

import { lstatSync, readlinkSync, statSync } from "node:fs";
import { posix } from "node:path";
import type { WatchFolder } from "../../ffi/mod.ts";
import { quote } from "../config/errors.ts";
import { pause, until } from "./wait.ts";

/** When to look although nothing was heard, in milliseconds. */
const LOOK_ANYWAY = 1000;
/** As many links as Linux follows in one path. */
const MOST_LINKS = 40;
/** So often the way to the file is walked again if it changes meanwhile; after that the watches themselves tell. */
const MOST_WALKS = 5;

/** A watch on one path. Dispose of it to let go of the system's resources. */
export class FileWatch implements Disposable {
  readonly #path: string;
  readonly #settle: number;
  readonly #watchFolder: WatchFolder;
  /** By folder, inode and what is watched, since a folder can be replaced by another of the same name. */
  readonly #watches = new Map<string, { readonly watch: Disposable; names: ReadonlySet<string> }>();
  #problem: string | null = null;
  #started = false;
  #due = true;
  #wake: () => void = () => {};
  #again: ReturnType<typeof setTimeout> | undefined;

  /** @param settle Time for a burst of changes to end, in milliseconds. */
  constructor(path: string, settle: number, watchFolder: WatchFolder) {
    this.#path = posix.resolve(path);
    this.#settle = settle;
    this.#watchFolder = watchFolder;
  }

  /** Why changes are noticed only once a second; `null` if they are noticed at once. */
  get problem(): string | null {
    return this.#problem;
  }

  /** Waits until it is time to look at the file: at once when called first, then after each change. @throws The signal's reason. */
  async next(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#started) {
      if (!this.#due) {
        await until(signal, (done) => {
          this.#wake = done;
          return () => this.#wake = () => {};
        });
      }
      await pause(this.#settle, signal);
    }
    this.#started = true;
    this.#due = false;
    this.#aim();
  }

  /** Asks for a look from outside. */
  ring(): void {
    this.#due = true;
    this.#wake();
  }

  /** Lets go of all watches. */
  [Symbol.dispose](): void {
    clearTimeout(this.#again);
    for (const key of [...this.#watches.keys()]) this.#drop(key);
  }

  /** Watches what is to be watched now, and no more. */
  #aim(): void {
    this.#problem = null;
    for (let walks = 0; walks < MOST_WALKS && this.#problem === null; walks++) {
      const spots = lookouts(this.#path);
      for (const [key, open] of this.#watches) {
        const spot = spots.get(key);
        if (spot === undefined) this.#drop(key);
        else open.names = spot.names;
      }
      const missing = [...spots].filter(([key]) => !this.#watches.has(key));
      if (missing.length === 0) break;
      for (const [key, spot] of missing) this.#watch(key, spot);
    }
    clearTimeout(this.#again);
    if (this.#problem !== null) this.#again = setTimeout(() => this.ring(), LOOK_ANYWAY);
  }

  #watch(key: string, { folder, of, names }: Lookout): void {
    const changed = (name: string | null) => {
      if (name === null) this.#drop(key); // the next folder of this name may get the number of its inode
      else if (!this.#watches.get(key)?.names.has(name)) return;
      this.ring();
    };
    try {
      this.#watches.set(key, { watch: this.#watchFolder(folder, changed, of), names });
    } catch (error) {
      this.#problem =
        `Cannot watch the folder ${quote(folder)}: ${(error as Error).message}; ${
          quote(this.#path)
        } is looked at every second instead` +
        " (fs.inotify.max_user_instances and fs.inotify.max_user_watches may be too low)";
    }
  }

  #drop(key: string): void {
    this.#watches.get(key)?.watch[Symbol.dispose]();
    this.#watches.delete(key);
  }
}

/** A folder to watch, and the names in it that matter. */
interface Lookout {
  readonly folder: string;
  /** Other files may grow in the folders above, such as logs: only of the file's own folder contents matter. */
  readonly of: "entries" | "contents";
  readonly names: Set<string>;
}

/** Walks a path as the kernel does, and notes every place where a change would lead it elsewhere. */
function lookouts(path: string): Map<string, Lookout> {
  const found = new Map<string, Lookout>();
  let folder = "/";
  let rest = path.split("/");
  for (let links = 0, name = rest.shift(); name !== undefined && links < MOST_LINKS; name = rest.shift()) {
    if (name === "" || name === ".") continue;
    const here = posix.join(folder, name);
    const target = name === ".." ? null : linkAt(here);
    if (target !== null || rest.length === 0) {
      note(folder, name, typeof target !== "string" && rest.length === 0 ? "contents" : "entries");
      note(posix.dirname(folder), posix.basename(folder), "entries"); // where another folder may take its place
    }
    if (target === undefined) break;
    if (target === null) {
      folder = here;
      continue;
    }
    links++;
    if (target.startsWith("/")) folder = "/";
    rest = [...target.split("/"), ...rest];
  }
  return found;

  function note(folder: string, name: string, of: Lookout["of"]): void {
    const key = `${of} ${idOf(folder)} ${folder}`;
    const spot = found.get(key) ?? { folder, of, names: new Set() };
    spot.names.add(name);
    found.set(key, spot);
  }
}

/** Where a link leads; `null` if it is none, `undefined` if nothing is there that can be seen. */
function linkAt(path: string): string | null | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  } catch {
    return undefined;
  }
}

/** Tells two folders of one name apart. One that has gone meanwhile can not be watched, which is then said. */
function idOf(folder: string): string {
  const info = statSync(folder, { throwIfNoEntry: false });
  return info === undefined ? "none" : `${info.dev}:${info.ino}`;
}
