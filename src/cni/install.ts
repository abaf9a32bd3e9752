/**
 * Installs what a node's container runtime needs: the plugin and the configuration that names it.
 *
 * Each file is replaced as a whole and only if it differs; nothing else in the folders is touched, and what is there stays until its
 * replacement is on the disk. Follows flannel's `install-conf` and the init containers of its manifests.
 *
 * @module
 */

import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { basename, dirname, join } from "node:path";
import { ConfigError, quote } from "../config/errors.ts";
import { isObject, type JsonObject } from "./netconf.ts";

/** Where the configuration comes from if nothing else is said: the ConfigMap of flannel's manifests. */
export const DEFAULT_SOURCE = "/etc/kube-flannel/cni-conf.json";

/** The file that runtimes find the configuration in. */
const CONFLIST = "10-flannel.conflist";

/** The configuration where no ConfigMap is mounted; the one of flannel's manifest. */
const BUILT_IN = {
  name: "cbr0",
  cniVersion: "0.3.1",
  plugins: [
    { type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } },
    { type: "portmap", capabilities: { portMappings: true } },
  ],
};

/** What to install where. */
export interface InstallOptions {
  /** The configuration's source; `null` for {@linkcode DEFAULT_SOURCE}, or the built-in one if there is no such file. */
  readonly conf: string | null;
  /** `/etc/cni/net.d` of the node. */
  readonly confDir: string;
  /** `/opt/cni/bin` of the node. */
  readonly binDir: string;
  /** This executable, which is the plugin when it is called as `flannel`. */
  readonly executable: string;
}

/**
 * Installs the plugin, then the configuration, so that a runtime never finds one without the other.
 *
 * @param say Is told what was done, line by line.
 * @throws {ConfigError} If the configuration is not one.
 * @throws {Error} If a file can not be read or written.
 */
export function installCni(options: InstallOptions, say: (line: string) => void): void {
  const source = options.conf ?? (fs.existsSync(DEFAULT_SOURCE) ? DEFAULT_SOURCE : null);
  const text = source === null ? `${JSON.stringify(BUILT_IN, null, 2)}\n` : readSource(source);
  const conf = parseConf(text, source ?? "the built-in configuration");
  const [plugin, conflist] = [join(options.binDir, "flannel"), join(options.confDir, CONFLIST)];
  report(say, plugin, place(plugin, { file: options.executable }, 0o755));
  const mode = source === null ? 0o644 : fs.statSync(source).mode & 0o777;
  report(say, conflist, place(conflist, { text }, mode));
  for (const name of pluginsOf(conf).filter((name) => !fs.existsSync(join(options.binDir, name)))) {
    say(`note: ${options.binDir} has no plugin ${quote(name)}; no container starts without it (see containernetworking-plugins)`);
  }
}

/**
 * Installs one file, as `install-conf SOURCE TARGET` of flannel's image does. The target gets the source's mode.
 *
 * @throws {ConfigError} If the target is a configuration of CNI and the source holds none.
 * @throws {Error} If a file can not be read or written.
 */
export function installConf(source: string, target: string, say: (line: string) => void): void {
  const text = readSource(source);
  if (/\.(conf|conflist|json)$/.test(target)) parseConf(text, source);
  report(say, target, place(target, { file: source }, fs.statSync(source).mode & 0o777));
}

function report(say: (line: string) => void, target: string, changed: boolean): void {
  say(changed ? `installed ${target}` : `${target} is up to date`);
}

function readSource(path: string): string {
  try {
    return fs.readFileSync(path, "utf8");
  } catch (error) {
    throw new Error(`Cannot read ${quote(path)}: ${(error as Error).message}`, { cause: error });
  }
}

/** A runtime that finds a file that is no JSON takes the node's network for broken, so none is put in place of one that works. */
function parseConf(text: string, where: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (isObject(value)) return value;
  } catch (error) {
    throw new ConfigError(`Cannot install ${quote(where)}: it is not JSON: ${(error as Error).message}`);
  }
  throw new ConfigError(`Cannot install ${quote(where)}: it is not a JSON object`);
}

/** The plugins that a configuration list calls, other than this one: also those that it delegates to. */
function pluginsOf(conf: JsonObject): string[] {
  const names = new Set<string>();
  for (const plugin of Array.isArray(conf.plugins) ? conf.plugins.filter(isObject) : []) {
    if (plugin.type !== "flannel") names.add(String(plugin.type));
    else {
      const [delegate, ipam] = [plugin.delegate, plugin.ipam].map((part) => isObject(part) ? part : {});
      names.add(String(delegate!.type ?? "bridge")).add(String(ipam!.type ?? "host-local"));
    }
  }
  return [...names];
}

/** What a file shall hold: a text, or what another file holds. */
type Content = { readonly text: string } | { readonly file: string };

/** Puts a file in its place. @returns Whether it had to be changed. */
function place(target: string, content: Content, mode: number): boolean {
  const draft = join(dirname(target), `.${basename(target)}.${randomBytes(6).toString("hex")}.tmp`);
  try {
    if (holds(target, content, mode)) return false;
    fs.mkdirSync(dirname(target), { recursive: true });
    if ("file" in content) fs.copyFileSync(content.file, draft, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
    else fs.writeFileSync(draft, content.text, { flag: "wx" });
    fs.chmodSync(draft, mode);
    sync(draft);
    fs.renameSync(draft, target);
    sync(dirname(target));
    return true;
  } catch (error) {
    fs.rmSync(draft, { force: true });
    throw new Error(`Cannot install ${quote(target)}: ${(error as Error).message}`, { cause: error });
  }
}

function holds(target: string, content: Content, mode: number): boolean {
  const found = fs.lstatSync(target, { throwIfNoEntry: false });
  if (found === undefined || !found.isFile() || (found.mode & 0o777) !== mode) return false;
  return "text" in content ? fs.readFileSync(target, "utf8") === content.text : sameContent(content.file, target);
}

/** Compares piece by piece: the executable has a hundred megabytes, and an init container few. */
function sameContent(a: string, b: string): boolean {
  if (fs.statSync(a).size !== fs.statSync(b).size) return false;
  const [left, right] = [fs.openSync(a, "r"), fs.openSync(b, "r")];
  try {
    const [one, other] = [Buffer.alloc(1 << 20), Buffer.alloc(1 << 20)];
    for (;;) {
      const [count, otherCount] = [fs.readSync(left, one), fs.readSync(right, other)];
      if (count !== otherCount || !one.subarray(0, count).equals(other.subarray(0, count))) return false;
      if (count === 0) return true;
    }
  } finally {
    fs.closeSync(left);
    fs.closeSync(right);
  }
}

function sync(path: string): void {
  const handle = fs.openSync(path, "r");
  try {
    fs.fsyncSync(handle);
  } finally {
    fs.closeSync(handle);
  }
}
