/**
 * Brings the packages of npm that the lock file names, and sees to it that both runtimes start.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, lstatSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { join, relative } from "node:path";
import process from "node:process";
import { ROOT } from "./needs.mjs";

const MODULES = join(ROOT, "node_modules");
const CPU = process.arch === "arm64" ? "aarch64" : process.arch;

/** Where a working runtime may be, best first: as npm linked it, then as its packages for each kind of processor carry it. */
const RUNTIMES = {
  bun: [`@oven/bun-linux-${CPU}/bin/bun`, `@oven/bun-linux-${CPU}-baseline/bin/bun`],
  deno: [`@deno/linux-${process.arch}-glibc/deno`],
};

/** Installs node_modules unless it is what the lock file says. */
export function bringModules() {
  if (!isCurrent()) {
    if (lstatSync(MODULES, { throwIfNoEntry: false })?.isSymbolicLink()) {
      throw new Error(
        `Cannot install the packages of package-lock.json: "${MODULES}" is a link, and npm would empty the folder behind it`,
      );
    }
    console.log("setup: npm ci");
    const { status, stdout, stderr } = spawnSync("npm", ["ci", "--no-audit", "--no-fund"], {
      cwd: ROOT,
      encoding: "utf8",
      input: "",
    });
    if (status !== 0) {
      throw new Error(`Cannot install the packages of package-lock.json: "npm ci" said\n${stdout ?? ""}${stderr ?? ""}`);
    }
  }
  for (const name of Object.keys(RUNTIMES)) bringRuntime(name);
}

/** npm writes down what it installed: every package that is not optional must be there, and each in the version of the lock. */
function isCurrent() {
  const record = join(MODULES, ".package-lock.json");
  if (!existsSync(record)) return false;
  const wanted = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")).packages;
  const present = JSON.parse(readFileSync(record, "utf8")).packages;
  const same = Object.entries(present).every(([path, { integrity }]) => wanted[path]?.integrity === integrity);
  return same && Object.entries(wanted).every(([path, it]) => path === "" || it.optional || present[path] !== undefined);
}

/** npm may be told to run no install scripts, and a processor may be too old for the usual build: then a link to one that works. */
function bringRuntime(name) {
  const link = join(MODULES, ".bin", name);
  if (works(link)) return;
  const target = RUNTIMES[name].map((path) => join(MODULES, path)).find(works);
  if (target === undefined) {
    throw new Error(`Cannot start ${name}: node_modules has none that runs on this machine; remove node_modules and try again`);
  }
  rmSync(link, { force: true });
  symlinkSync(relative(join(MODULES, ".bin"), target), link);
}

function works(path) {
  return spawnSync(path, ["--version"], { stdio: "ignore", timeout: 30_000 }).status === 0;
}
