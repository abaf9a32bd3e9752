/**
 * Makes `dist/agent`: one executable with the runtime, the agent and a copy of libnl for machines that have none.
 *
 * On x64 the runtime is the baseline build, which needs no AVX2. Files of the folder that the agent is started in (`.env`,
 * `bunfig.toml`) have no influence on it.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { environment, findLibrary, LIBNL, ROOT } from "./needs.mjs";

/** The compiled agent. */
export const AGENT = join(ROOT, "dist/agent");

const SOURCES = ["src", "backends", "ffi", "scripts/build.mjs", "package.json", "package-lock.json"];

// With the code in parts and compiled ahead, the CNI plugin takes a third of the time: it loads only its own part.
const FLAGS = [
  ...["--compile", "--minify", "--splitting", "--bytecode", "--format=esm"],
  ...["--no-compile-autoload-dotenv", "--no-compile-autoload-bunfig"],
];

/**
 * Compiles a program.
 *
 * @param entry Its first module.
 * @param target The executable; it is replaced in one step, so a running one goes on undisturbed.
 * @param workers The first modules of its Workers.
 * @throws {Error} If libnl is not to be found or the compiler refuses.
 */
export function build(entry, target, workers = []) {
  const libnl = findLibrary(LIBNL);
  if (libnl === null) throw new Error(`Cannot build "${target}": ${LIBNL} is missing; run: node scripts/setup.mjs build`);
  const started = new Date();
  const folder = resolve(dirname(target));
  const fresh = join(folder, `.${basename(target)}.${process.pid}`);
  mkdirSync(folder, { recursive: true });
  try {
    const command = ["build", entry, ...workers, ...FLAGS, `--asset=${libnl}`, "--outfile", fresh];
    const { status, stdout, stderr, error } = spawnSync(compiler(), command, { cwd: ROOT, env: environment(), encoding: "utf8" });
    if (status !== 0) throw new Error(`Cannot build "${target}": ${error?.message ?? `${stdout}${stderr}`}`);
    utimesSync(fresh, started, started); // an edit during the build is newer
    renameSync(fresh, target);
  } finally {
    rmSync(fresh, { force: true });
  }
}

function compiler() {
  return join(ROOT, "node_modules", process.arch === "x64" ? "@oven/bun-linux-x64-baseline/bin/bun" : ".bin/bun");
}

/** Builds the agent unless it is newer than all that it is made of. Returns whether it did. */
export function buildAgent() {
  const made = statSync(AGENT, { throwIfNoEntry: false })?.mtimeMs ?? 0;
  if (SOURCES.every((path) => newest(join(ROOT, path)) < made)) return false;
  build(join(ROOT, "src/cli.ts"), AGENT, [join(ROOT, "src/plugins/worker.ts")]);
  return true;
}

/** When a file, or anything in a folder, last changed; a folder itself changes with the names in it. */
function newest(path) {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return 0;
  const inside = found.isDirectory() ? readdirSync(path).filter((name) => !name.endsWith("_test.ts")) : [];
  return Math.max(found.mtimeMs, ...inside.map((name) => newest(join(path, name))));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    if (buildAgent()) console.log(`built ${AGENT} (${Math.round(statSync(AGENT).size / 1e6)} MB)`);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
