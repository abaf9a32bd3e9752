/**
 * Where the tests find programs that real servers consist of.
 *
 * A variable of the environment may name one; else it is in the cache, or is built into it once from published Go modules (etcd in half
 * a minute, kube-apiserver in three), where Go and the shared tools are. Decided when a test file is loaded, so that what is missing is
 * named before a test starts.
 *
 * @module
 */

import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { CACHE, ROOT } from "../../scripts/needs.mjs";

/** A program, or why there is none. */
export type Found = { readonly path: string } | { readonly lack: string };

const TOOLS = join(ROOT, "..", "shared", "tools");
const BUILD_LIMIT = 15 * 60_000;

/** Why a test with these can not run; `false` if it can, as the option `skip` has it. */
export function lackOf(...found: readonly Found[]): string | false {
  return found.flatMap((it) => "lack" in it ? [it.lack] : [])[0] ?? false;
}

/** A program by its name, the variable that may name it, and the shared tool that builds it. */
export function find(program: string, variable: string, tool: string, args: readonly string[]): Found {
  const named = process.env[variable];
  if (named) return existsSync(named) ? { path: named } : { lack: `${variable} names ${named}, which does not exist` };
  const folder = join(CACHE, "..", tool);
  const path = join(folder, program);
  if (existsSync(path)) return { path };
  const script = join(TOOLS, tool, "build.sh");
  const buildable = existsSync(script) && spawnSync("go", ["version"]).status === 0;
  if (!buildable) return { lack: `needs ${program}: name one in ${variable}` };
  try {
    execFileSync("bash", [script, folder, ...args], { timeout: BUILD_LIMIT, stdio: ["ignore", "ignore", "pipe"] });
    return { path };
  } catch (error) {
    return { lack: `needs ${program}, and building it failed: ${(error as Error).message.split("\n")[0]}` };
  }
}

/** The distribution's etcd. */
export const ETCD: Found = spawnSync("etcd", ["--version"]).status === 0
  ? { path: "etcd" }
  : { lack: "needs etcd: install etcd-server" };
/** Those of today. */
export const ETCD_3_6: Found = find("etcd-3.6", "ETCD_3_6", "etcd", ["3.6"]);
export const ETCD_3_7: Found = find("etcd-3.7", "ETCD_3_7", "etcd", ["3.7"]);
/** The command line of etcd. */
export const ETCDCTL: Found = spawnSync("etcdctl", ["version"], { env: { ...process.env, ETCDCTL_API: "3" } }).status === 0
  ? { path: "etcdctl" }
  : { lack: "needs etcdctl: install etcd-client" };
