/**
 * What the plugin keeps of each attachment between ADD and DEL: the configuration that its delegate was called with.
 *
 * One file `<container>:<interface>` each, replaced atomically and readable only by its owner. flannel's plugin has one file
 * `<container>` for all interfaces of a container: such files are read and removed here too, and the file of a container's first
 * interface gets that name as well (a hard link), so that flannel's plugin finds it if it comes back. Neither a container's
 * identifier nor an interface's name can hold a colon. A file `<container>` with a second link is therefore ours.
 *
 * @module
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { type Attachment, CniError, CODE } from "./protocol.ts";

/** An attachment that the state knows. */
export interface Known {
  readonly containerId: string;
  /** `null` in flannel's files, which do not say it. */
  readonly ifname: string | null;
  /** What was written, unchecked. */
  readonly text: string;
}

/** What ADD wrote. */
export interface Kept {
  /** Unchecked. */
  readonly text: string;
  /** Whether flannel's plugin wrote it: then it may be about another interface of the container, in another network. */
  readonly byFlannel: boolean;
}

/**
 * Reads what ADD wrote: this plugin, or flannel's.
 *
 * @returns `null` if nothing is known of the attachment.
 * @throws {CniError} If there is a file that can not be read.
 */
export function readState(dir: string, attachment: Attachment): Kept | null {
  return attempt("read", ownPath(dir, attachment), () => {
    const own = readIfThere(ownPath(dir, attachment));
    if (own !== null) return { text: own, byFlannel: false };
    const theirs = isFlannels(flannelPath(dir, attachment)) ? readIfThere(flannelPath(dir, attachment)) : null;
    return theirs === null ? null : { text: theirs, byFlannel: true };
  });
}

/**
 * Writes an attachment's state: whoever looks finds the old one or the new one.
 *
 * It does not wait for the disk, which takes longer than all the rest. After a loss of power the file may be empty, but it is there if
 * the address that the delegate then took is still taken; DEL knows what to do with an empty one.
 *
 * @throws {CniError} If that is not possible.
 */
export function writeState(dir: string, attachment: Attachment, text: string): void {
  const [own, draft] = [ownPath(dir, attachment), join(dir, `.${attachment.containerId}:${attachment.ifname}`)];
  attempt("write", own, () => {
    fs.mkdirSync(dir, { recursive: true, mode: 0o700 });
    try {
      fs.writeFileSync(draft, text, { mode: 0o600 });
      unlinkForFlannel(dir, attachment);
      fs.renameSync(draft, own);
    } catch (error) {
      fs.rmSync(draft, { force: true });
      throw error;
    }
    linkForFlannel(dir, attachment);
  });
}

/**
 * Removes an attachment's state: this plugin's, else flannel's.
 *
 * @throws {CniError} If that is not possible.
 */
export function removeState(dir: string, attachment: Attachment): void {
  const own = ownPath(dir, attachment);
  attempt("remove", own, () => {
    if (identityOf(own) === null) {
      if (isFlannels(flannelPath(dir, attachment))) fs.rmSync(flannelPath(dir, attachment), { force: true });
      return;
    }
    unlinkForFlannel(dir, attachment);
    fs.rmSync(own, { force: true });
  });
}

/**
 * All attachments that the state knows.
 *
 * @throws {CniError} If the directory is there but can not be read.
 */
export function listState(dir: string): Known[] {
  return attempt("list", dir, () => {
    const found: Known[] = [];
    for (const name of fs.existsSync(dir) ? fs.readdirSync(dir) : []) {
      if (name.startsWith(".")) continue;
      const colon = name.indexOf(":");
      if (colon < 0 && !isFlannels(join(dir, name))) continue;
      const text = readIfThere(join(dir, name));
      if (text === null) continue;
      found.push(
        colon < 0
          ? { containerId: name, ifname: null, text }
          : { containerId: name.slice(0, colon), ifname: name.slice(colon + 1), text },
      );
    }
    return found;
  });
}

function ownPath(dir: string, { containerId, ifname }: Attachment): string {
  return join(dir, `${containerId}:${ifname}`);
}

function flannelPath(dir: string, { containerId }: Attachment): string {
  return join(dir, containerId);
}

/** Lends an attachment the name that flannel's plugin looks for, if it is free. */
function linkForFlannel(dir: string, attachment: Attachment): void {
  try {
    fs.linkSync(ownPath(dir, attachment), flannelPath(dir, attachment));
  } catch {
    // Another interface has the name, or the file system has no hard links; only a return to flannel needs it.
  }
}

function unlinkForFlannel(dir: string, attachment: Attachment): void {
  const own = identityOf(ownPath(dir, attachment));
  if (own !== null && own === identityOf(flannelPath(dir, attachment))) fs.rmSync(flannelPath(dir, attachment), { force: true });
}

function identityOf(path: string): string | null {
  const found = fs.lstatSync(path, { throwIfNoEntry: false });
  return found === undefined ? null : `${found.dev} ${found.ino}`;
}

function isFlannels(path: string): boolean {
  const found = fs.lstatSync(path, { throwIfNoEntry: false });
  return found !== undefined && found.isFile() && found.nlink === 1;
}

function readIfThere(path: string): string | null {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
}

function attempt<T>(verb: string, path: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    throw new CniError(CODE.io, `Cannot ${verb} the state of attachments "${path}": ${(error as Error).message}`);
  }
}
