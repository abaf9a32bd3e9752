/**
 * Calls the delegate: finds its executable in `CNI_PATH`, runs it with a time limit, and makes of what it says a result or an error.
 *
 * Follows the CNI specification 1.1.0, section 4. What a delegate prints is foreign text: bounded, and checked before it is passed on.
 *
 * @module
 */

import * as fs from "node:fs";
import { join } from "node:path";
import { quote } from "../config/errors.ts";
import type { CniIo, Outcome } from "./io.ts";
import { isObject, type JsonObject } from "./netconf.ts";
import { type CniCommand, CniError, CODE } from "./protocol.ts";

/** How long a delegate may take; a runtime waits two minutes, and a failed ADD calls it twice. */
export const LIMIT_MS = 30_000;

/** Results have a few kilobytes. */
const LIMIT_BYTES = 4 * 1024 * 1024;

/** A delegate did not even start, so it left nothing. */
export class NotStartedError extends CniError {}

/** A delegate that can be called. */
export interface Delegate {
  /** Path of the executable. */
  readonly file: string;
  readonly io: CniIo;
  readonly limitMs: number;
}

/**
 * Looks for a plugin's executable.
 *
 * @param path The directories, in order.
 * @throws {CniError} If it is in none of them.
 */
export function findPlugin(type: string, path: readonly string[]): string {
  if (type === "" || type.includes("/") || type.includes("\0")) {
    throw new CniError(CODE.invalidConfig, `Network configuration: delegate.type ${quote(type)} is not the name of a plugin`);
  }
  const found = path.map((directory) => join(directory, type)).find(isFile);
  if (found !== undefined) return found;
  throw new CniError(
    CODE.invalidConfig,
    `Cannot find plugin ${quote(type)} in CNI_PATH ${quote(path.join(":"))}`,
    "install it there (bridge, host-local and portmap come with containernetworking-plugins)",
  );
}

/**
 * Calls a delegate.
 *
 * @param conf What it reads on standard input.
 * @returns What it printed.
 * @throws {CniError} With the delegate's own error object if it gave one, else with what happened.
 */
export async function callDelegate(delegate: Delegate, command: CniCommand, conf: string): Promise<string> {
  const outcome = await run(delegate, command, conf);
  if (outcome.stderr !== "") delegate.io.stderr(outcome.stderr);
  const name = quote(delegate.file);
  if (outcome.exceeded === "time") {
    throw new CniError(CODE.tryAgainLater, `${command}: ${name} did not end within ${delegate.limitMs / 1000} s and was killed`);
  }
  if (outcome.exceeded === "output") {
    throw new CniError(CODE.decoding, `${command}: ${name} printed more than ${LIMIT_BYTES} bytes and was killed`);
  }
  if (outcome.code === 0) return outcome.stdout;
  const said = tryObject(outcome.stdout);
  if (said !== null && typeof said.code === "number" && typeof said.msg === "string") {
    throw new CniError(said.code, said.msg, typeof said.details === "string" ? said.details : "", said);
  }
  const end = outcome.code === null ? "was killed" : `failed with exit code ${outcome.code}`;
  const text = outcome.stdout.trim() || outcome.stderr.trim();
  throw new CniError(
    CODE.delegateFailed,
    `${command}: ${name} ${end} and gave no error object`,
    text === "" ? "" : `it said ${quote(text)}`,
  );
}

/**
 * Calls a delegate's ADD.
 *
 * @param cniVersion The version of a result that names none; empty stands for 0.1.0.
 * @returns Its result.
 * @throws {CniError} As {@linkcode callDelegate}, and if what it printed is no result.
 */
export async function addDelegate(delegate: Delegate, conf: string, cniVersion: string): Promise<string> {
  const text = await callDelegate(delegate, "ADD", conf);
  const result = tryObject(text);
  if (result === null) {
    throw new CniError(CODE.decoding, `ADD: ${quote(delegate.file)} succeeded but printed no result`, `it said ${quote(text)}`);
  }
  if (typeof result.cniVersion === "string" && result.cniVersion !== "") return text.trim();
  return JSON.stringify({ ...result, cniVersion: cniVersion || "0.1.0" });
}

/** Runs the executable; a second try if it is just being written, as when its package is upgraded. */
async function run({ file, io, limitMs }: Delegate, command: CniCommand, stdin: string): Promise<Outcome> {
  const set = Object.entries(io.env).filter((entry): entry is [string, string] => entry[1] !== undefined);
  const env = { ...Object.fromEntries(set), CNI_COMMAND: command };
  for (let tries = 1;; tries++) {
    try {
      return await io.spawn({ argv: [file], env, stdin, limitMs, limitBytes: LIMIT_BYTES });
    } catch (error) {
      if ((error as { code?: string }).code === "ETXTBSY" && tries < 5) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        continue;
      }
      throw new NotStartedError(CODE.io, `${command}: cannot start ${quote(file)}: ${(error as Error).message}`);
    }
  }
}

function isFile(path: string): boolean {
  try {
    return fs.statSync(path).isFile();
  } catch {
    return false;
  }
}

function tryObject(text: string): JsonObject | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}
