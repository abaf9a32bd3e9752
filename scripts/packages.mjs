/**
 * Brings packages of the distribution: installed as root, else unpacked into the private cache.
 *
 * Knows apt; for other distributions it says which command to run. What is unpacked runs no maintainer script, so it can start no
 * service and changes nothing outside of the cache.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { CACHE, COMMAND_FOLDERS, COMMANDS, existing, find, LIBRARY_FOLDERS } from "./needs.mjs";

/** Commands of other package managers, in the order in which they are looked for. */
const MANAGERS = {
  apt: ["apt-get", "install"],
  dnf: ["dnf", "install"],
  pacman: ["pacman", "-S"],
  zypper: ["zypper", "install"],
};

const TIMEOUT = 600_000;

/** The links that the script of the package iptables would make. */
const ALTERNATIVES = ["iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"];

/** A package could not be brought; the message says what to run. */
export class PackageError extends Error {}

/** The command line by which a user installs what the rows need, on this distribution. */
export function remedy(rows) {
  const manager = Object.keys(MANAGERS).find((name) => find({ command: MANAGERS[name][0] }) !== null);
  if (manager === undefined) return `install the packages that Debian calls ${names(rows, "apt").join(", ")}`;
  return `run: sudo ${[...MANAGERS[manager], ...names(rows, manager)].join(" ")}`;
}

function names(rows, manager) {
  return [...new Set(rows.map((row) => row[manager]))];
}

/**
 * Installs or unpacks the packages of all rows.
 *
 * @throws {PackageError} If the distribution is not one with apt, or apt fails.
 */
export function bring(rows) {
  if (find({ command: "apt-get" }) === null || find({ command: "dpkg" }) === null) {
    throw new PackageError("only apt is known to this script");
  }
  const isRoot = process.getuid() === 0;
  const [unpacked, installed] = [rows.filter((row) => !isRoot || row.unpacked), rows.filter((row) => isRoot && !row.unpacked)];
  if (installed.length > 0) install(names(installed, "apt"));
  if (unpacked.some((row) => row.installed)) throw new PackageError("of no use unless root installs it");
  if (unpacked.length > 0) unpack(names(unpacked, "apt"));
}

function install(packages) {
  const command = ["install", "-y", "-qq", "--no-install-recommends", ...packages];
  if (apt(command).status === 0) return;
  apt(["update", "-qq"]); // a fresh image has no lists, an old one outdated ones
  const { status, stderr } = apt(command);
  if (status !== 0) throw new PackageError(stderr.trim());
}

/** Unpacks packages, with whatever they depend on that the machine lacks. */
function unpack(packages) {
  let options = [];
  let plan = simulate(options, packages);
  let missing = plan.status === 0 ? fetch(options, plan) : plan.stderr;
  if (missing !== null) { // the machine's lists are missing or outdated, and not ours to refresh
    options = privateLists();
    const { status, stderr } = apt([...options, "update", "-qq"]);
    if (status !== 0) throw new PackageError(stderr.trim());
    plan = simulate(options, packages);
    missing = plan.status === 0 ? fetch(options, plan) : plan.stderr;
  }
  if (missing !== null) throw new PackageError(missing.trim());
  expose();
}

function simulate(options, packages) {
  return apt([...options, "install", "--simulate", "--no-install-recommends", ...packages]);
}

/** Downloads and unpacks what apt would newly install; an upgrade of an installed package (`Inst name [old] …`) is left alone. */
function fetch(options, { stdout }) {
  const packages = [...stdout.matchAll(/^Inst (\S+) \(/gm)].map((match) => match[1]);
  if (packages.length === 0) return "apt would install nothing";
  const folder = mkdtempSync(join(tmpdir(), "weft-packages-"));
  try {
    const { status, stderr } = apt([...options, "download", ...packages], folder);
    if (status !== 0) return stderr;
    mkdirSync(CACHE, { recursive: true });
    for (const file of readdirSync(folder).filter((name) => name.endsWith(".deb"))) {
      const { status, stderr } = run("dpkg", ["-x", join(folder, file), CACHE]);
      if (status !== 0) throw new PackageError(`Cannot unpack "${file}" into "${CACHE}": ${stderr.trim()}`);
    }
    return null;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function privateLists() {
  const folder = join(dirname(CACHE), "apt");
  for (const part of ["state/lists/partial", "cache/archives/partial"]) mkdirSync(join(folder, part), { recursive: true });
  const settings = [`Dir::State=${folder}/state`, "Dir::State::status=/var/lib/dpkg/status", `Dir::Cache=${folder}/cache`];
  return settings.flatMap((setting) => ["-o", setting]);
}

/** Makes the cache's commands fit to be started: the links that packages lack while not installed, and a script for each. */
function expose() {
  for (const name of ALTERNATIVES) {
    const [link, target] = [join(CACHE, "usr/sbin", name), name.replace("tables", "tables-nft")];
    if (existsSync(join(CACHE, "usr/sbin", target)) && !existsSync(link)) symlinkSync(target, link);
  }
  const libraries = existing(CACHE, LIBRARY_FOLDERS);
  const extensions = libraries.map((folder) => join(folder, "xtables")).filter((folder) => existsSync(folder));
  const settings = [
    `LD_LIBRARY_PATH=${quote(libraries.join(":"))}`,
    ...extensions.map((folder) => `XTABLES_LIBDIR=${quote(folder)}`),
  ];
  mkdirSync(COMMANDS, { recursive: true });
  for (const folder of existing(CACHE, COMMAND_FOLDERS)) {
    for (const name of readdirSync(folder)) {
      const script = `#!/bin/sh\n${settings.join(" ")} exec ${quote(join(folder, name))} "$@"\n`;
      writeFileSync(join(COMMANDS, name), script, { mode: 0o755 });
    }
  }
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function apt(args, cwd) {
  return run("apt-get", ["-o", "APT::Sandbox::User=root", ...args], cwd);
}

function run(command, args, cwd) {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", LC_ALL: "C" };
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, env, encoding: "utf8", timeout: TIMEOUT, input: "" });
  return { status, stdout: stdout ?? "", stderr: error?.message ?? stderr };
}
