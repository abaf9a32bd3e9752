/**
 * Tells when a file may have changed, without polling.
 *
 * It watches the folders in which something must happen for a path to lead to other content: that of the file and the one that holds this
 * folder, those of the links on the way to it (the volumes of Kubernetes swap a link named `..data`), and where a part of the path is
 * missing, the folder it is missing from. It never opens the file. While a folder can not be watched, and after one was replaced by
 * another of its name, it asks for a look every second; and once, a second after a watch was made and after each burst of changes: Deno
 * shares watches by name, was seen to keep silent, and missed a lease at the start of three agents.
 *
 * @module
 */

import { type FSWatcher, lstatSync, readlinkSync, statSync, watch } from "node:fs";
import { posix } from "node:path";
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
  /** By folder and inode, since a folder can be replaced by another of the same name. */
  readonly #watchers = new Map<string, { readonly watcher: FSWatcher; names: ReadonlySet<string> }>();
  /** The inode of each folder that was ever watched, as part of its key. */
  readonly #inodes = new Map<string, string>();
  #problem: string | null = null;
  #isDoubtful = false;
  #started = false;
  #due = true;
  #wake: () => void = () => {};
  #again: ReturnType<typeof setTimeout> | undefined;
  #late: ReturnType<typeof setTimeout> | undefined;

  /** @param settle Time for a burst of changes to end, in milliseconds. */
  constructor(path: string, settle: number) {
    this.#path = posix.resolve(path);
    this.#settle = settle;
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
    clearTimeout(this.#late);
    for (const [key] of this.#watchers) this.#drop(key);
  }

  /** Watches what is to be watched now, and no more. */
  #aim(): void {
    let isSound = true;
    for (let walks = 0; walks < MOST_WALKS; walks++) {
      const spots = lookouts(this.#path);
      for (const [key, open] of this.#watchers) {
        const spot = spots.get(key);
        if (spot === undefined) this.#drop(key);
        else open.names = spot.names;
      }
      const missing = [...spots].filter(([key]) => !this.#watchers.has(key));
      if (missing.length === 0) break;
      isSound = false;
      if (missing.map(([key, spot]) => this.#watch(key, spot)).includes(false)) break;
    }
    if (isSound) this.#problem = null; // a watch may fail some time after it was made, so it counts as good only when seen again
    this.#lookAnyway();
    if (!isSound) this.#lookLater();
  }

  #lookLater(): void {
    clearTimeout(this.#late);
    this.#late = setTimeout(() => this.ring(), LOOK_ANYWAY);
  }

  /** @returns Whether it went well so far. */
  #watch(key: string, { folder, names }: Lookout): boolean {
    this.#isDoubtful ||= (this.#inodes.get(folder) ?? key) !== key;
    this.#inodes.set(folder, key);
    try {
      const self = posix.basename(folder);
      const watcher = watch(folder, (_event, name) => {
        if (name === self) { // the folder has gone, and the next one may get the number of its inode
          this.#drop(key);
          this.#inodes.set(folder, "gone");
        }
        if (name !== null && name !== self && !this.#watchers.get(key)?.names.has(name)) return;
        this.ring();
        this.#lookLater();
      });
      watcher.on("error", (error) => {
        this.#drop(key);
        this.#fail(folder, error);
        this.#lookAnyway();
      });
      this.#watchers.set(key, { watcher, names });
      return true;
    } catch (error) {
      this.#fail(folder, error as Error);
      return false;
    }
  }

  #drop(key: string): void {
    this.#watchers.get(key)?.watcher.close();
    this.#watchers.delete(key);
  }

  #fail(folder: string, error: Error): void {
    this.#problem =
      `Cannot watch the folder ${quote(folder)}: ${error.message}; ${quote(this.#path)} is looked at every second instead` +
      " (fs.inotify.max_user_instances and fs.inotify.max_user_watches may be too low)";
  }

  #lookAnyway(): void {
    clearTimeout(this.#again);
    if (this.#isDoubtful || this.#problem !== null) this.#again = setTimeout(() => this.ring(), LOOK_ANYWAY);
  }
}

/** A folder to watch, and the names in it that matter. */
interface Lookout {
  readonly folder: string;
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
      note(folder, name);
      // Deno does not always tell of the end of the watched folder itself.
      note(posix.dirname(folder), posix.basename(folder));
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

  function note(folder: string, name: string): void {
    const key = `${idOf(folder)} ${folder}`;
    const spot = found.get(key) ?? { folder, names: new Set() };
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
