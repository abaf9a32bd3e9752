/**
 * What Weft needs of a machine: the table, where each thing is looked for, and the environment in which it is found.
 *
 * Owns the list of commands, libraries and files outside of npm, with their packages. Installs nothing. `CACHE` holds what was
 * unpacked there for a user who may not install packages.
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join, resolve } from "node:path";
import process from "node:process";

export const ROOT = resolve(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "..");

/** The private root folder that packages are unpacked into. */
export const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "weft", "root");

/** The shared object of libnl, by the name under which a distribution installs it. */
export const LIBNL = "libnl-3.so.200";

/** What each purpose includes. */
export const PURPOSES = {
  build: ["build"],
  demo: ["build", "demo"],
  test: ["build", "demo", "test"],
  bench: ["build", "demo", "bench"],
};

/**
 * One row: what to look for, what for, and the package that brings it. `optional`: tests and benches probe for it and name what they
 * skip. `unpacked`: never installed into the machine, since that would start a service. `installed`: of no use if only unpacked.
 */
export const NEEDS = [
  { library: LIBNL, for: "build", apt: "libnl-3-200", dnf: "libnl3", pacman: "libnl", zypper: "libnl3-200" },
  { command: "ip", for: "demo", apt: "iproute2", dnf: "iproute", pacman: "iproute2", zypper: "iproute2" },
  { command: "bridge", for: "demo", apt: "iproute2", dnf: "iproute", pacman: "iproute2", zypper: "iproute2" },
  { command: "ping", for: "demo", apt: "iputils-ping", dnf: "iputils", pacman: "iputils", zypper: "iputils" },
  { command: "unshare", for: "demo", apt: "util-linux", dnf: "util-linux", pacman: "util-linux", zypper: "util-linux" },
  { command: "setpriv", for: "demo", apt: "util-linux", dnf: "util-linux", pacman: "util-linux", zypper: "util-linux" },
  { command: "mount", for: "demo", apt: "mount", dnf: "util-linux-core", pacman: "util-linux", zypper: "util-linux" },
  { command: "iptables", for: "demo", apt: "iptables", dnf: "iptables-nft", pacman: "iptables-nft", zypper: "iptables" },
  { command: "nft", for: "demo", apt: "nftables", dnf: "nftables", pacman: "nftables", zypper: "nftables" },
  { command: "etcd", for: "test", apt: "etcd-server", dnf: "etcd", pacman: "etcd", zypper: "etcd", optional: true, unpacked: true },
  {
    cni: "bridge",
    for: "test",
    apt: "containernetworking-plugins",
    dnf: "containernetworking-plugins",
    pacman: "cni-plugins",
    zypper: "cni-plugins",
    optional: true,
  },
  { command: "gcc", for: "bench", apt: "gcc", dnf: "gcc", pacman: "gcc", zypper: "gcc", optional: true, installed: true },
  {
    file: "/usr/include/string.h",
    for: "bench",
    apt: "libc6-dev",
    dnf: "glibc-devel",
    pacman: "glibc",
    zypper: "glibc-devel",
    optional: true,
    installed: true,
  },
];

const TRIPLET = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
const LIBRARY_FOLDERS = [`usr/lib/${TRIPLET}`, `lib/${TRIPLET}`, "usr/lib64", "lib64", "usr/lib", "lib"];
const COMMAND_FOLDERS = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];
const CNI_FOLDERS = ["opt/cni/bin", "usr/lib/cni", "usr/libexec/cni"];

/** Folders of the machine and of the cache that exist, the machine's first. */
function folders(list) {
  return ["/", CACHE].flatMap((root) => list.map((folder) => join(root, folder))).filter((folder) => existsSync(folder));
}

/** What a row looks for, as a word. */
export function nameOf({ command, library, file, cni }) {
  return command ?? library ?? file ?? `CNI plugin ${cni}`;
}

/** Where what a row looks for is, or `null`. */
export function find({ command, library, file, cni }) {
  if (library !== undefined) return findLibrary(library);
  if (file !== undefined) return existsSync(file) ? file : null;
  const where = cni !== undefined ? environment().CNI_PATH : environment().PATH;
  return within(where.split(delimiter), command ?? cni);
}

function within(list, name) {
  return list.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}

/** The file of a shared library, or `null`. */
export function findLibrary(name) {
  const known = within(folders(LIBRARY_FOLDERS), name);
  if (known !== null) return known;
  const ldconfig = within(folders(COMMAND_FOLDERS), "ldconfig");
  if (ldconfig === null) return null;
  const line = execFileSync(ldconfig, ["-p"], { encoding: "utf8" }).split("\n").find((it) => it.trim().startsWith(`${name} `));
  return line?.split(" => ")[1]?.trim() ?? null;
}

/**
 * The environment for every program that the scripts start: the runtimes of node_modules, system folders that an ordinary user's
 * PATH lacks, and the cache's programs, libraries and plugins after the machine's own.
 */
export function environment() {
  const join_ = (...parts) => [...new Set(parts.flat().filter(Boolean))].join(delimiter);
  const { PATH = "", LD_LIBRARY_PATH = "", CNI_PATH = "" } = process.env;
  const result = {
    ...process.env,
    PATH: join_(join(ROOT, "node_modules/.bin"), PATH.split(delimiter), folders(COMMAND_FOLDERS)),
    CNI_PATH: join_(CNI_PATH.split(delimiter), folders(CNI_FOLDERS)),
  };
  if (!existsSync(CACHE) || readdirSync(CACHE).length === 0) return result;
  const cached = LIBRARY_FOLDERS.map((folder) => join(CACHE, folder)).filter((folder) => existsSync(folder));
  const extensions = within(folders(LIBRARY_FOLDERS), "xtables");
  if (extensions?.startsWith(CACHE)) result.XTABLES_LIBDIR = extensions;
  return { ...result, LD_LIBRARY_PATH: join_(LD_LIBRARY_PATH.split(delimiter), cached) };
}
