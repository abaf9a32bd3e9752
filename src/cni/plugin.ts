/**
 * The CNI plugin: what the executable is when a container runtime calls it.
 *
 * It fills the node's subnet into a configuration and has a delegate, usually `bridge`, do the work. Standard output holds one JSON
 * object or nothing. A runtime starts it for every container, so it loads nothing of the agent but addresses and the parser of
 * subnet.env. Follows the CNI specification 1.1.0 and flannel's `cni-plugin`.
 *
 * @module
 */

import { add, type Call, check, del } from "./attachment.ts";
import { LIMIT_MS } from "./delegate.ts";
import type { CniIo } from "./io.ts";
import { type JsonObject, parseObject, readNetConf, versionOf } from "./netconf.ts";
import { collectGarbage, status } from "./network.ts";
import {
  checkVersion,
  type CniCommand,
  CniError,
  CODE,
  errorObject,
  NEWEST,
  type Parameters,
  readParameters,
  VERSIONS,
} from "./protocol.ts";

/** The version of the specification that brought each command about a network. */
const SINCE = { ADD: "0.1.0", DEL: "0.1.0", CHECK: "0.4.0", GC: "1.1.0", STATUS: "1.1.0" } as const;

/**
 * Serves one call of a container runtime.
 *
 * @param io What the process got and can do.
 * @param limitMs How long a delegate may take, in milliseconds.
 * @returns The exit code: 0, or 1 with an error object on standard output.
 * @throws {Error} Only if standard output can not be written.
 */
export async function runCni(io: CniIo, limitMs: number = LIMIT_MS): Promise<number> {
  let version: string = NEWEST;
  try {
    const parameters = readParameters(io.env);
    const conf = await readInput(io, parameters.command);
    version = versionOf(conf) || version;
    const answer = parameters.command === "VERSION" ? versionAnswer(conf) : await serve(parameters, conf, io, limitMs);
    if (answer !== "") io.stdout(`${answer}\n`);
    return 0;
  } catch (error) {
    io.stdout(`${errorObject(asCniError(error), version)}\n`);
    return 1;
  }
}

async function readInput(io: CniIo, command: CniCommand): Promise<JsonObject> {
  let text: string;
  try {
    text = await io.stdin();
  } catch (error) {
    throw new CniError(CODE.io, `Cannot read the network configuration on standard input: ${(error as Error).message}`);
  }
  // Only VERSION says something without being told anything.
  return command === "VERSION" && text.trim() === "" ? {} : parseObject(text);
}

function versionAnswer(conf: JsonObject): string {
  return JSON.stringify({ cniVersion: versionOf(conf) || NEWEST, supportedVersions: VERSIONS });
}

async function serve({ command, attachment, path }: Parameters, raw: JsonObject, io: CniIo, limitMs: number): Promise<string> {
  const conf = readNetConf(raw);
  if (command !== "VERSION") checkVersion(conf.cniVersion, command, SINCE[command]);
  const call: Call = { conf, path, io, limitMs };
  if (attachment === null) await (command === "GC" ? collectGarbage(call) : status(call));
  else if (command === "ADD") return await add(call, attachment);
  else await (command === "DEL" ? del(call, attachment) : check(call, attachment));
  return "";
}

function asCniError(error: unknown): CniError {
  if (error instanceof CniError) return error;
  return new CniError(CODE.internal, `Internal error: ${error instanceof Error ? error.message : String(error)}`);
}
