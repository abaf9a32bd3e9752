/**
 * One step of the test run: starts a program, bounds its time, counts its tests and prints a line.
 *
 * A step without a report counts as one test. A step that fails without a failing test, and one that reports no test at all, has failed.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { parseReport } from "./junit.mjs";
import { environment, ROOT } from "./needs.mjs";

/** Flags that make a runner report, and Bun write down why tests are skipped. */
const REPORTERS = {
  bun: (file) => ["--preload", "./test/skips.ts", "--reporter=junit", `--reporter-outfile=${file}`],
  deno: (file) => [`--junit-path=${file}`],
};

/**
 * Describes a step.
 *
 * @param name What its line says.
 * @param command A program of the environment's PATH.
 * @param options `report`: whose test report it writes. `timeout`: in milliseconds. `skip`: why it is not run at all. `env`: additions
 *   to the environment.
 * @returns Runs it with a folder for reports; the tests as `{ step, name, outcome, reason }`.
 */
export function step(name, command, args, { report, timeout = 300_000, skip, env = {} } = {}) {
  return async ({ folder }) => {
    const started = Date.now();
    if (skip !== undefined) return tell(name, started, [{ step: name, name: "all tests", outcome: "skipped", reason: skip }]);
    const file = join(folder, "report.xml");
    const result = await run({ command, args: withReport(args, report, file), timeout, env }, { folder });
    const found = report === undefined ? [] : read(file, folder).map((it) => ({ ...it, step: name }));
    const cases = report === undefined && result.code === 0 ? [{ step: name, name, outcome: "passed" }] : found;
    if (cases.length === 0 || (result.code !== 0 && !cases.some((it) => it.outcome === "failed"))) {
      const what = result.timedOut
        ? `not done after ${timeout / 1000} s`
        : result.code === 0
        ? "ran no test"
        : `exit code ${result.code}`;
      cases.push({ step: name, name: what, outcome: "failed" });
    }
    return tell(name, started, cases, result.output);
  };
}

/** The reporter's flags go right after `test`; before it may stand what runs the runner. */
function withReport(args, report, file) {
  if (report === undefined) return args;
  const at = args.indexOf("test") + 1;
  return [...args.slice(0, at), ...REPORTERS[report](file), ...args.slice(at)];
}

function read(file, folder) {
  if (!existsSync(file)) return [];
  const cases = parseReport(readFileSync(file, "utf8"));
  rmSync(file);
  const skips = join(folder, "skips"); // kept: the same tests are skipped on Deno, which does not write down why
  const noted = existsSync(skips) ? readFileSync(skips, "utf8").trim().split("\n").map((line) => JSON.parse(line)) : [];
  const reasons = new Map(noted);
  const reasonOf = (name) => reasons.get(name) ?? name.split(" > ").map((part) => reasons.get(part)).find(Boolean);
  return cases.map((it) => it.outcome === "skipped" ? { ...it, reason: reasonOf(it.name) ?? `no reason given in ${it.file}` } : it);
}

function tell(name, started, cases, output = "") {
  const count = (outcome) => cases.filter((it) => it.outcome === outcome).length;
  const failed = count("failed");
  const counts = ["passed", "failed", "skipped"].filter((it) => count(it) > 0).map((it) => `${count(it)} ${it}`).join(", ");
  const mark = failed > 0 ? "FAILED" : count("passed") > 0 ? "ok" : "skipped";
  console.log(`${mark.padEnd(8)}${name.padEnd(32)} ${((Date.now() - started) / 1000).toFixed(1).padStart(6)} s   ${counts}`);
  if (failed > 0) console.log(`${output.trimEnd()}\n`);
  return cases;
}

/**
 * Runs a program to its end, in a process group of its own, which is killed when the time is up or this process is told to stop.
 *
 * @returns Its exit code (`null` if a signal ended it), all it printed, and whether the time was up.
 */
export function run({ command, args, timeout, env: own }, { folder }) {
  const env = { ...environment(), NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1", WEFT_SKIPS: join(folder, "skips"), ...own };
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, env, detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const output = [];
    let timedOut = false;
    const kill = () => child.pid !== undefined && process.kill(-child.pid, "SIGKILL");
    const stop = (signal) => {
      kill();
      process.exit(signal === "SIGINT" ? 130 : 143);
    };
    const timer = setTimeout(() => {
      timedOut = true;
      kill();
    }, timeout);
    const signals = ["SIGINT", "SIGTERM"];
    for (const signal of signals) process.once(signal, stop);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => output.push(chunk));
    const end = (code, error = "") => {
      clearTimeout(timer);
      for (const signal of signals) process.removeListener(signal, stop);
      resolve({ code, output: Buffer.concat(output).toString() + error, timedOut });
    };
    child.once("error", (error) => end(null, error.message));
    child.once("close", (code) => end(code));
  });
}
