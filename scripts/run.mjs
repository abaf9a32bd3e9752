/**
 * Runs a script on Bun after setup and build: `node scripts/run.mjs demo test/lab/demo.ts [arguments]`.
 *
 * The first argument says what for (see setup.mjs). Its exit code is the script's.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { constants } from "node:os";
import process from "node:process";
import { buildAgent } from "./build.mjs";
import { environment } from "./needs.mjs";
import { setup } from "./setup.mjs";

const [purpose, ...command] = process.argv.slice(2);
try {
  setup(purpose);
  buildAgent();
} catch (error) {
  console.error(error.message);
  process.exit(1);
}
const child = spawn("bun", command, { stdio: "inherit", env: environment() });
// A terminal sends SIGINT to the script too, which then tidies up; other signals reach only this process.
process.on("SIGINT", () => {});
for (const signal of ["SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
// npm passes a signal on only to what it started itself ("exec" in package.json), and SIGKILL not at all.
const parent = process.ppid;
setInterval(() => process.ppid === parent || child.kill("SIGTERM"), 500).unref();
child.once("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
