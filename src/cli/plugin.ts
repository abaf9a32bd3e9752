/**
 * `agent plugin check FILE` and `agent plugin new NAME`: for authors of backends.
 *
 * A check runs in user, network and mount namespaces of its own, where the machine allows it: what a backend puts into the kernel goes
 * away with them, and effects do not reach the machine's own network.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { readlinkSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import process from "node:process";
import { openDriver } from "../../ffi/mod.ts";
import { StartError } from "../agent/setup.ts";
import { quote, UsageError } from "../config/errors.ts";
import { openKernel } from "../kernel/kernel.ts";
import { BACKENDS, pluginSubject } from "../plugins.ts";
import { NAME } from "../plugins/find.ts";
import { check, type Place, type Result } from "../plugins/check/run.ts";
import { NETWORK_COMMANDS } from "../plugins/check/room.ts";
import { template } from "../plugins/template.ts";
import { keys } from "./adapters.ts";

/** The network namespace that the check was called in; where that is another one, nobody else is here. */
const OUTSIDE = "WEFT_PLUGIN_CHECK";

const print = (line: string) => process.stdout.write(`${line}\n`);

/** Writes a backend to start from into the working directory. */
export function newPlugin(name: string): number {
  if (!NAME.test(name)) {
    throw new UsageError(`Cannot call a backend ${quote(name)}: expected lower case letters, digits and dashes`);
  }
  if (BACKENDS.some((backend) => backend.name === name)) {
    throw new UsageError(`Cannot call a backend ${quote(name)}: it is built in`);
  }
  const file = `${name}.ts`;
  try {
    writeFileSync(file, template(name), { flag: "wx", mode: 0o644 });
  } catch (error) {
    throw new StartError(`Cannot write "${resolve(file)}": ${(error as Error).message}`);
  }
  print(`Wrote ${file}. Check it with: agent plugin check ${file}`);
  return 0;
}

/** Checks a plugin, and tells what to mend. @returns 1 if there is something. */
export async function checkPlugin(file: string, json: boolean): Promise<number> {
  const here = readlinkSync("/proc/self/ns/net");
  if ((process.env[OUTSIDE] ?? here) !== here) return await report(file, json, await ownPlace());
  const lack = lackOfNamespaces();
  if (lack !== null) return await report(file, json, { kernel: { lack } });
  const path = resolve(file);
  const command = [...ownCommand(), "plugin", "check", path, ...(json ? ["--json"] : [])];
  const [program, ...args] = [...enter(), ...hideRun(path, ...command), ...command];
  const { status, error } = spawnSync(program!, args, { stdio: "inherit", env: { ...process.env, [OUTSIDE]: here } });
  if (error !== undefined) throw error;
  return status ?? 1;
}

/** Makes namespaces; root needs no other user. */
function enter(): string[] {
  const user = process.getuid?.() === 0 ? [] : ["--user", "--map-root-user"];
  return ["unshare", ...user, "--net", "--mount", "--propagation", "private", "--"];
}

/** A `/run` of its own, so that effects find neither keys nor sockets of agents; not where the program itself is there. */
function hideRun(...needed: readonly string[]): string[] {
  if (needed.some((path) => path.startsWith("/run/"))) return [];
  return ["sh", "-c", 'mount -t tmpfs -o mode=755 tmpfs /run && exec "$@"', "check"];
}

function lackOfNamespaces(): string | null {
  const { status, stderr, error } = spawnSync("unshare", [...enter().slice(1), "ip", "link"], { encoding: "utf8" });
  if (status === 0) return null;
  return `namespaces of its own can not be made here: ${(error?.message ?? stderr).trim() || "unshare failed"}`;
}

/** The command line of this program, up to its arguments. */
function ownCommand(): string[] {
  const { execPath, execArgv, argv } = process;
  if (/^bun\b/.test(basename(execPath))) return [execPath, ...execArgv, argv[1]!];
  if (/^deno\b/.test(basename(execPath))) return [execPath, "run", "-A", "--no-check", argv[1]!];
  return [execPath];
}

/** The kernel of the namespace that this process is in, with a device that leads to peers. */
async function ownPlace(): Promise<Place> {
  const { status, stderr } = spawnSync("ip", ["-batch", "-"], { input: NETWORK_COMMANDS.join("\n"), encoding: "utf8" });
  if (status !== 0) return { kernel: { lack: `a network to check in can not be made here: ${stderr.trim()}` } };
  return { kernel: openKernel(await openDriver(), { keys }) };
}

async function report(file: string, json: boolean, place: Place): Promise<number> {
  const path = resolve(file);
  const name = basename(path).replace(/\.(ts|js|mjs)$/, "");
  const results: Result[] = [];
  for await (const result of check(pluginSubject(name, path), place)) {
    results.push(result);
    if (!json) print(lineOf(result));
  }
  const count = (outcome: Result["outcome"]) => results.filter((result) => result.outcome === outcome).length;
  if (json) print(JSON.stringify({ file: path, name, results }, null, 2));
  else print(`\n${count("passed")} passed, ${count("failed")} failed, ${count("skipped")} skipped`);
  return count("failed") === 0 ? 0 : 1;
}

function lineOf({ name, outcome, note, mend }: Result): string {
  const mark = { passed: "ok     ", failed: "FAILED ", skipped: "skipped" }[outcome];
  const head = `${mark} it ${name}${outcome === "failed" || note === null ? "" : ` (${note})`}`;
  return [head, ...(outcome === "failed" ? [`        ${note}`] : []), ...(mend === null ? [] : [`        to mend it: ${mend}`])]
    .join("\n");
}
