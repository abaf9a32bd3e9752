/**
 * Files that others change: tells when to look again, without polling.
 *
 * @module
 */

import { type FSWatcher, watch } from "node:fs";
import { readFile, realpath } from "node:fs/promises";
import { basename, dirname } from "node:path";

/** Time for a burst of changes to end, in milliseconds. */
const BURST = 10;
/**
 * After a change it is looked again so much later, in milliseconds: the system tells of a write before the writer has finished (SQLite
 * commits only after it has synced what it wrote), and a watch starts some time after it was asked for.
 */
const AFTERLOOKS = [50, 1000];

/**
 * Yields at once, and then after every burst of changes in some folders.
 *
 * @param folders Watched without what is below them; folders that do not exist are left out.
 * @param alarm Gets a function that asks for another look.
 * @param concerns Whether a change of the file with this name matters; `null` where the system does not tell the name.
 */
export async function* changesIn(
  folders: readonly string[],
  concerns: (name: string | null) => boolean,
  signal: AbortSignal,
  alarm?: { wake: () => void },
): AsyncGenerator<void> {
  let wake = () => {};
  let changed = true;
  const look = () => {
    changed = true;
    wake();
  };
  let later: ReturnType<typeof setTimeout>[] = [];
  const notice = () => {
    look();
    later.forEach(clearTimeout);
    later = AFTERLOOKS.map((delay) => setTimeout(look, delay));
  };
  const watchers = [...new Set(folders)].flatMap((folder) => watchFolder(folder, (name) => concerns(name) && notice()));
  notice();
  signal.addEventListener("abort", look);
  if (alarm !== undefined) alarm.wake = look;
  try {
    for (;;) {
      if (!changed) await new Promise<void>((resolve) => wake = resolve);
      if (signal.aborted) return;
      changed = false;
      yield;
      if (changed) await new Promise((resolve) => setTimeout(resolve, BURST));
    }
  } finally {
    signal.removeEventListener("abort", look);
    later.forEach(clearTimeout);
    watchers.forEach((watcher) => watcher.close());
  }
}

function watchFolder(folder: string, changed: (name: string | null) => void): FSWatcher[] {
  try {
    const watcher = watch(folder, { persistent: false }, (_event, name) => changed(name));
    watcher.on("error", () => changed(null));
    return [watcher];
  } catch {
    return [];
  }
}

/**
 * The text of a file, now and after each change; also where the file is replaced, or is a link whose target is (ConfigMap volumes).
 *
 * @param path The file.
 * @param absent The text to give where the file does not exist; `null` makes that an error.
 * @throws {Error} If the file can not be read; naming it.
 */
export async function* textOf(path: string, absent: string | null, signal: AbortSignal): AsyncGenerator<string> {
  const folders = [dirname(path), dirname(await realpath(path).catch(() => path))];
  let last: string | null = null;
  for await (const _ of changesIn(folders, (name) => name === null || name === basename(path) || name.startsWith(".."), signal)) {
    const text = await read(path, absent, last);
    if (text === last) continue;
    last = text;
    yield text;
  }
}

/** While a file is being replaced it may be missing for a moment: then what was read last holds. */
async function read(path: string, absent: string | null, last: string | null): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    const instead = missing ? last ?? absent : null;
    if (instead !== null) return instead;
    throw new Error(`Cannot read the network configuration "${path}": ${missing ? "it does not exist" : (error as Error).message}`);
  }
}
