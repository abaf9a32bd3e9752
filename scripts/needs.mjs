/**
 * What Weft needs of a machine: the table, where each thing is looked for, and the environment in which it is found.
 *
 * Owns the list of commands, libraries and files outside of npm, with their packages. Installs nothing. `CACHE` holds what was
 * unpacked there for a user who may not install packages.
 *
 * @module
 */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join, resolve } from "node:path";
import process from "node:process";

export const ROOT = resolve(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "..");

/** The private root folder that packages are unpacked into. */
export const CACHE = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "weft", "root");

/** A script for each command in the cache, which starts it with the libraries that it needs from there. */
export const COMMANDS = join(CACHE, "../commands");

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
 * skip. `unpacked`: never installed into the machine, since that would start a service or take the place of what runs there.
 * `installed`: of no use if only unpacked. `root`: of no use to an ordinary user.
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
    command: "etcdctl",
    for: "test",
    apt: "etcd-client",
    dnf: "etcd",
    pacman: "etcd",
    zypper: "etcdctl",
    optional: true,
    unpacked: true,
  },
  { command: "sqlite3", for: "test", apt: "sqlite3", dnf: "sqlite", pacman: "sqlite", zypper: "sqlite3" },
  {
    command: "wg",
    for: "test",
    apt: "wireguard-tools",
    dnf: "wireguard-tools",
    pacman: "wireguard-tools",
    zypper: "wireguard-tools",
    optional: true,
  },
  { command: "tcpdump", for: "test", apt: "tcpdump", dnf: "tcpdump", pacman: "tcpdump", zypper: "tcpdump", optional: true },
  {
    cni: "bridge",
    for: "test",
    apt: "containernetworking-plugins",
    dnf: "containernetworking-plugins",
    pacman: "cni-plugins",
    zypper: "cni-plugins",
    optional: true,
  },
  ...["containerd", "runc", "buildah", "debootstrap"].map((name) => ({
    ...{ command: name, for: "test", apt: name, dnf: name, pacman: name, zypper: name },
    ...{ optional: true, unpacked: true, root: true },
  })),
  { command: "busybox", for: "test", apt: "busybox-static", dnf: "busybox", pacman: "busybox", zypper: "busybox", optional: true },
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
export const LIBRARY_FOLDERS = [`usr/lib/${TRIPLET}`, `lib/${TRIPLET}`, "usr/lib64", "lib64", "usr/lib", "lib"];
export const COMMAND_FOLDERS = ["usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin", "sbin", "bin"];
const CNI_FOLDERS = ["opt/cni/bin", "usr/lib/cni", "usr/libexec/cni"];

/** Those of a root's folders that exist. */
export function existing(root, folders) {
  return folders.map((folder) => join(root, folder)).filter((folder) => existsSync(folder));
}

/** What a row looks for, as a word. */
export function nameOf({ command, library, file, cni }) {
  return command ?? library ?? file ?? `CNI plugin ${cni}`;
}

/**
 * Where what a row looks for is, or `null`.
 *
 * @param {{ command?: string, library?: string, file?: string, cni?: string }} row
 */
export function find({ command, library, file, cni }) {
  if (library !== undefined) return findLibrary(library);
  if (file !== undefined) return existsSync(file) ? file : null;
  const where = cni !== undefined ? environment().CNI_PATH : environment().PATH;
  return within(where.split(delimiter), command ?? cni);
}

function within(list, name) {
  return list.map((folder) => join(folder, name)).find((path) => existsSync(path)) ?? null;
}

/** The file of a shared library, the machine's first, or `null`. */
export function findLibrary(name) {
  const known = within([...existing("/", LIBRARY_FOLDERS), ...existing(CACHE, LIBRARY_FOLDERS)], name);
  if (known !== null) return known;
  const ldconfig = within(existing("/", COMMAND_FOLDERS), "ldconfig");
  if (ldconfig === null) return null;
  const line = execFileSync(ldconfig, ["-p"], { encoding: "utf8" }).split("\n").find((it) => it.trim().startsWith(`${name} `));
  return line?.split(" => ")[1]?.trim() ?? null;
}

/**
 * The environment for every program that the scripts start: the runtimes of node_modules, system folders that an ordinary user's
 * PATH lacks, and the cache's commands, plugins and libnl where the machine has none.
 */
export function environment() {
  const list = (...parts) => [...new Set(parts.flat().filter(Boolean))].join(delimiter);
  const { PATH = "", LD_LIBRARY_PATH = "", CNI_PATH = "" } = process.env;
  const libnl = findLibrary(LIBNL);
  return {
    ...process.env,
    PATH: list(join(ROOT, "node_modules/.bin"), PATH.split(delimiter), existing("/", COMMAND_FOLDERS), COMMANDS),
    CNI_PATH: list(CNI_PATH.split(delimiter), existing("/", CNI_FOLDERS), existing(CACHE, CNI_FOLDERS)),
    ...(libnl?.startsWith(CACHE) && { LD_LIBRARY_PATH: list(LD_LIBRARY_PATH.split(delimiter), dirname(libnl)) }),
  };
}
