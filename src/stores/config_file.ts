/**
 * The text of the network configuration, from a file.
 *
 * It is read now and again after each change, also where the file is replaced or reached over links. What the text says is for others
 * to judge.
 *
 * @module
 */

import { readFile, stat } from "node:fs/promises";
import type { WatchFolder } from "../../ffi/mod.ts";
import { ConfigError, quote } from "../config/errors.ts";
import { FileWatch } from "./file_watch.ts";

/** What holds where nobody configured a network. */
export const DEFAULT_NETWORK = '{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}';

/** Time for a writer that does not replace the file as a whole to finish, in milliseconds. */
const SETTLE = 50;
/** As much as fits into a ConfigMap, in bytes. */
const LARGEST = 1 << 20;

/**
 * The text of the file: at once, and again whenever it is another.
 *
 * Once there was a text, a file that is missing or can not be read changes nothing: it may be about to be replaced.
 *
 * @param isDefault Nobody named the path, so the file may be missing: then {@linkcode DEFAULT_NETWORK} holds until it is there.
 * @param problem Told what keeps the text from being current, and `null` when nothing does any more.
 * @throws {ConfigError} If there is no text to begin with; it names the file.
 */
export async function* configText(
  path: string,
  isDefault: boolean,
  signal: AbortSignal,
  problem: (what: string | null) => void,
  watchFolder: WatchFolder,
): AsyncGenerator<string, never> {
  using watch = new FileWatch(path, SETTLE, watchFolder);
  let last: string | null = null;
  let seen = false;
  for (;;) {
    await watch.next(signal);
    const found = await read(path);
    const byDefault = "reason" in found && found.missing && isDefault && !seen;
    seen ||= "text" in found;
    const text: string | null = "text" in found ? found.text : byDefault ? DEFAULT_NETWORK : last;
    if (text === null) throw new ConfigError((found as Failure).reason);
    problem("text" in found || byDefault ? watch.problem : found.reason);
    if (text === last) continue;
    last = text;
    yield text;
  }
}

interface Failure {
  readonly reason: string;
  readonly missing: boolean;
}

async function read(path: string): Promise<{ readonly text: string } | Failure> {
  const failed = (why: string, missing = false): Failure => ({
    missing,
    reason: `Cannot read the network configuration ${quote(path)}: ${why}`,
  });
  try {
    const info = await stat(path);
    if (!info.isFile()) return failed("it is not a regular file; name one with --net-config-path");
    if (info.size > LARGEST) return failed(`it is larger than ${LARGEST} bytes`);
    return { text: await readFile(path, "utf8") };
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === "ENOENT";
    return failed(
      missing ? "it does not exist; write it or name another with --net-config-path" : (error as Error).message,
      missing,
    );
  }
}
