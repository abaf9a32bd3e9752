/**
 * Installs what is missing for the purposes named on the command line: `node scripts/setup.mjs build demo test bench`.
 *
 * Runs on Node with npm alone, and does nothing, quickly, where nothing is missing.
 *
 * @module
 */

import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { bringModules } from "./modules.mjs";
import { CACHE, find, nameOf, NEEDS, PURPOSES } from "./needs.mjs";
import { bring, PackageError, remedy } from "./packages.mjs";
import { bringStockKernel } from "./stock_kernel.mjs";

const LOADERS = { x64: "/lib64/ld-linux-x86-64.so.2", arm64: "/lib/ld-linux-aarch64.so.1" };

/**
 * Sees to it that everything is there that the purposes need.
 *
 * @throws {Error} If something needed is missing and can not be brought; the message says what to do.
 */
export function setup(...purposes) {
  if (process.platform !== "linux" || !existsSync(LOADERS[process.arch] ?? "")) {
    throw new Error(`Weft runs on Linux with glibc on x64 or arm64; this machine is ${process.platform} on ${process.arch}`);
  }
  bringModules();
  const wanted = new Set(purposes.flatMap((purpose) => PURPOSES[purpose]));
  const ofUse = (row) => wanted.has(row.for) && (process.getuid() === 0 || !row.root);
  const missing = () => NEEDS.filter((row) => ofUse(row) && find(row) === null);
  const [needed, optional] = [missing().filter((row) => !row.optional), missing().filter((row) => row.optional)];
  if (needed.length > 0) attempt(needed);
  for (const row of optional) ifPossible(() => attempt([row]));
  if (wanted.has("test")) ifPossible(() => bringStockKernel(attempt));
}

function ifPossible(action) {
  try {
    action();
  } catch (error) {
    console.log(`setup: going on without: ${error.message}`);
  }
}

/** Brings packages and looks again. */
function attempt(rows) {
  const list = rows.map(nameOf).join(", ");
  const where = process.getuid() === 0 && !rows.some((row) => row.unpacked) ? "" : ` into ${CACHE}`;
  console.log(`setup: bringing ${list}${where}`);
  let reason = "";
  try {
    bring(rows);
  } catch (error) {
    if (!(error instanceof PackageError)) throw error;
    reason = ` (${error.message})`;
  }
  const missing = rows.filter((row) => find(row) === null);
  if (missing.length > 0) throw new Error(`Missing: ${missing.map(nameOf).join(", ")}${reason}; ${remedy(missing)}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const purposes = process.argv.slice(2);
  const unknown = purposes.find((purpose) => PURPOSES[purpose] === undefined);
  try {
    if (unknown !== undefined) throw new Error(`"${unknown}" is not one of ${Object.keys(PURPOSES).join(", ")}`);
    setup("build", ...purposes);
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
