/**
 * Replaces a file as a whole.
 *
 * Readers see the old content or the new one, never a part; after a crash or power loss the file holds one of them too. It decides
 * nothing about the content.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { posix } from "node:path";
import { quote } from "./errors.ts";

/** Modes, whatever the umask for the file; the umask applies to directories that have to be made. */
export interface AtomicOptions {
  /** 0644 unless given. */
  readonly mode?: number;
  /** 0755 unless given. */
  readonly directoryMode?: number;
}

/**
 * Writes a file: beside its place under a hidden name, to the disk, and then into its place. Makes the directory if there is none.
 *
 * @throws {Error} If that fails. The message names the file and what the system said, `cause` is the system's own error; the old file is
 * as it was, and nothing is left beside it. If only the last step fails, to put the directory on disk, the new file is in place.
 */
export async function writeFileAtomically(path: string, text: string, options: AtomicOptions = {}): Promise<void> {
  const directory = posix.dirname(path);
  const draft = posix.join(directory, `.${posix.basename(path)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    await mkdir(directory, { recursive: true, mode: options.directoryMode ?? 0o755 });
    await writeDraft(draft, text, options.mode ?? 0o644);
    await rename(draft, path).catch(async (error) => {
      await rm(draft, { force: true });
      throw error;
    });
    await syncDirectory(directory);
  } catch (error) {
    throw new Error(`Cannot write ${quote(path)}: ${(error as Error).message}`, { cause: error });
  }
}

async function writeDraft(draft: string, text: string, mode: number): Promise<void> {
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(text);
    await file.chmod(mode); // not by open(), which the umask would narrow
    await file.sync();
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** Puts a rename on the disk. Some file systems know no such thing and need none. */
async function syncDirectory(directory: string): Promise<void> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(directory, "r");
    await handle.sync();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EINVAL") throw error;
  } finally {
    await handle?.close();
  }
}
