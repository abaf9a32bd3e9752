/**
 * Whether a file may be run as root: nobody else may be able to change it, or what its path leads through.
 *
 * Every folder and link on the way must belong to root and be writable by nobody else, or lie on a mount that is read-only, as the
 * folders of ConfigMaps do. Links are followed one by one. Inside a user namespace root is who is root there.
 *
 * @module
 */

import { closeSync, constants, lstatSync, openSync, readFileSync, readlinkSync, type Stats } from "node:fs";
import { dirname, join, sep } from "node:path";

/** Write permission of the group and of all others. */
const OTHERS_WRITE = 0o022;
/** Links on one path, as the kernel counts them. */
const MOST_LINKS = 40;

/**
 * Why a file may not be run.
 *
 * @param path An absolute path.
 * @returns The reason and the remedy; `null` if nobody but root can change the file.
 * @throws {Error} If something on the path can not be read.
 */
export function distrust(path: string): string | null {
  const rest = path.split(sep).filter((part) => part !== "" && part !== ".");
  let at: string = sep;
  let links = 0;
  while (rest.length > 0) {
    const part = rest.shift()!;
    at = part === ".." ? dirname(at) : join(at, part);
    const found = lstatSync(at);
    if (found.isSymbolicLink()) { // whoever may write its folder may change it, and that has been looked at
      if (++links > MOST_LINKS) return `"${path}" leads through too many links`;
      const target = readlinkSync(at);
      rest.unshift(...target.split(sep).filter((part) => part !== "" && part !== "."));
      at = target.startsWith(sep) ? sep : dirname(at);
      continue;
    }
    const reason = weakness(at, found);
    if (reason !== null && !onReadOnlyMount(at)) return reason;
  }
  return null;
}

function weakness(path: string, { uid, mode }: Stats): string | null {
  if (uid !== 0) return `"${path}" belongs to user ${uid}, who could change it; run: chown root "${path}"`;
  if ((mode & OTHERS_WRITE) === 0) return null;
  const shown = (mode & 0o7777).toString(8).padStart(4, "0");
  return `"${path}" may be written by others than root (mode ${shown}); run: chmod go-w "${path}"`;
}

/** The kernel says of an open file on which mount it is. */
function onReadOnlyMount(path: string): boolean {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
  try {
    const id = /^mnt_id:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${file}`, "utf8"))?.[1];
    const line = readFileSync("/proc/self/mountinfo", "utf8").split("\n").find((line) => line.startsWith(`${id} `));
    if (line === undefined) return false;
    const [before = "", after = ""] = line.split(" - "); // ID PARENT DEV ROOT POINT OPTIONS … - TYPE SOURCE SUPEROPTIONS
    const options = [before.split(" ")[5], after.split(" ")[2]];
    return options.some((list) => list?.split(",").includes("ro"));
  } finally {
    closeSync(file);
  }
}
