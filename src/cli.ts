/**
 * The executable. Nobody imports it.
 *
 * A container runtime that calls it as a CNI plugin waits for every millisecond, so only what the call needs is loaded.
 * Exit codes: 0 asked to stop, 1 could not start or go on, 2 wrong usage.
 *
 * @module
 */

import process from "node:process";

const args = process.argv.slice(2);
const calledAs = process.argv0.slice(process.argv0.lastIndexOf("/") + 1);

if (process.env["CNI_COMMAND"] !== undefined && (calledAs === "flannel" || args[0] === "cni")) {
  const { cni } = await import("./cli/cni.ts");
  process.exit(await cni());
} else {
  const { start } = await import("./cli/start.ts");
  process.exit(await start(process.argv0, args));
}
