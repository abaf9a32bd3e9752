/**
 * What is said of wrong input: one class for the command line, one for files and keys of the store, and how they quote foreign text.
 *
 * Messages are always one line, whatever the input holds: they go to logs, to status and to systemd. Nothing here prints or exits.
 *
 * @module
 */

/** The command line or the environment is wrong; the agent exits with code 2 and prints only the message. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A file, or a key of the store, holds something that can not be used. The message names it, the place in it and what is expected. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
}

const LONGEST = 120;

/**
 * Foreign text for a message: quoted, on one line, without control characters, and cut after 120 characters.
 *
 * @example Usage
 * ```ts
 * import { quote } from "./errors.ts";
 * import assert from "node:assert/strict";
 *
 * assert.equal(quote("a\nb"), '"a\\nb"');
 * ```
 */
export function quote(text: string): string {
  return `"${oneLine(JSON.stringify(text).slice(1, -1))}"`;
}

/** As {@linkcode quote}, but without the quotes and without escaping those inside: for JSON text. */
export function oneLine(text: string): string {
  const shown = text.length > LONGEST ? `${text.slice(0, LONGEST)}...` : text;
  return shown.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (char) => `\\u{${char.codePointAt(0)!.toString(16)}}`).toWellFormed();
}
