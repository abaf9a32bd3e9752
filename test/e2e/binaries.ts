/**
 * Where the tests find programs that real servers consist of.
 *
 * A variable of the environment may name one (`KUBE_APISERVER`); else it is in the cache, into which `scripts/programs.mjs` builds it.
 * Decided when a test file is loaded, so that what is missing is named before a test starts.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import process from "node:process";
import { programPath } from "../../scripts/programs.mjs";

/** A program, or why there is none. */
export type Found = { readonly path: string } | { readonly lack: string };

/** Why a test with these can not run; `false` if it can, as the option `skip` has it. */
export function lackOf(...found: readonly Found[]): string | false {
  return found.flatMap((it) => "lack" in it ? [it.lack] : [])[0] ?? false;
}

/** A program that a shared tool builds. */
export function find(tool: string, program: string): Found {
  const variable = program.toUpperCase().replaceAll(/\W/g, "_");
  const named = process.env[variable];
  if (named) return existsSync(named) ? { path: named } : { lack: `${variable} names ${named}, which does not exist` };
  const path = programPath(tool, program);
  return existsSync(path) ? { path } : { lack: `needs ${program}: run: node scripts/programs.mjs; or name one in ${variable}` };
}

/** The distribution's etcd. */
export const ETCD: Found = spawnSync("etcd", ["--version"]).status === 0
  ? { path: "etcd" }
  : { lack: "needs etcd: install etcd-server" };
/** Those of today. */
export const ETCD_3_6: Found = find("etcd", "etcd-3.6");
export const ETCD_3_7: Found = find("etcd", "etcd-3.7");
/** The command line of etcd. */
export const ETCDCTL: Found = spawnSync("etcdctl", ["version"], { env: { ...process.env, ETCDCTL_API: "3" } }).status === 0
  ? { path: "etcdctl" }
  : { lack: "needs etcdctl: install etcd-client" };
