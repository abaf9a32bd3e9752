/**
 * Every check and test, in order, one line each: `node scripts/test.mjs`; with `--quick` without those that need the compiled agent or
 * namespaces of their own.
 *
 * The output of a step is shown only if it fails. At the end stand the skipped tests with their reasons, then
 * `N passed, N failed`. The exit code is 1 if anything failed or nothing was tested.
 *
 * @module
 */

import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { buildImage } from "./image.mjs";
import { ROOT } from "./needs.mjs";
import { buildPrograms } from "./programs.mjs";
import { run, step } from "./step.mjs";
import { setup } from "./setup.mjs";

const MINUTE = 60_000;

/** With a plugin, deno 2.9 crashes at its end in one of ten short runs, unless V8 has but one thread. */
const LINT_ENV = { DENO_V8_FLAGS: "--single-threaded" };

/** How long one test may take; Bun's own limit of 5 s is too short for leases that expire. */
const TEST_TIMEOUT = "120000";

/** Folders with tests that run in namespaces of their own. */
const LAB = ["test/lab", "test/e2e"];

/** Cases that are run a second time, with the agent from source on Deno instead of the binary. */
const ON_DENO = ["nodes", "repair", "restart", "cli", "extension", "traffic_events"].map((name) => `test/lab/${name}_test.ts`);

/** All TypeScript files below a folder, sorted. */
function files(folder) {
  const path = join(ROOT, folder);
  if (!existsSync(path)) return [];
  return readdirSync(path, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1).flatMap((entry) => {
    const name = `${folder}/${entry.name}`;
    return entry.isDirectory() ? files(name) : name.endsWith(".ts") ? [name] : [];
  });
}

const isTest = (file) => file.endsWith("_test.ts");
const inLab = (file) => LAB.some((folder) => file.startsWith(`${folder}/`));

function quickSteps() {
  const sources = ["src", "backends", "ffi", "scripts", "test", "bench"].flatMap(files);
  const units = sources.filter((file) => isTest(file) && !inLab(file)).map((file) => `./${file}`);
  const documented = ["src", "backends", "ffi"].flatMap(files).filter((file) =>
    !isTest(file) && readFileSync(join(ROOT, file), "utf8").includes("* @example")
  );
  return [
    step("format", "deno", ["fmt", "--check"]),
    step("lint and layers", "deno", ["lint"], { env: LINT_ENV }),
    step("types", "deno", ["check", "--quiet"]),
    step("examples in the documentation", "deno", ["test", "--quiet", "-A", "--doc", ...documented], { report: "deno" }),
    step("unit tests on Bun", "bun", ["test", "--timeout", TEST_TIMEOUT, ...units], { report: "bun", timeout: 10 * MINUTE }),
    step("unit tests on Deno", "deno", ["test", "-A", "--no-check", ...units], { report: "deno", timeout: 10 * MINUTE }),
  ];
}

/** The steps of the lab; the machine is asked once whether it lets us in. */
async function labSteps(options) {
  const enter = ["test/lab/run.ts"];
  const { code, output } = await run({ command: "bun", args: [...enter, "-e", "0"], timeout: MINUTE }, options);
  const refused = code !== 0 && output.startsWith("Cannot make private namespaces"); // any other failure is one of each test's
  const skip = refused ? output.trim().replaceAll("\n", " ") : undefined;
  const labStep = (file, name, env) => {
    const args = [...enter, "test", "--timeout", TEST_TIMEOUT, `./${file}`];
    return step(name, "bun", args, { report: "bun", timeout: 15 * MINUTE, skip, env });
  };
  return [
    ...LAB.flatMap(files).filter(isTest).map((file) => labStep(file, file, {})),
    ...ON_DENO.map((file) => labStep(file, `${file}, Deno`, { WEFT_AGENT: "deno" })),
  ];
}

async function testAll({ quick }) {
  const folder = mkdtempSync(join(tmpdir(), "weft-test-"));
  const total = { passed: [], failed: [], skipped: [] };
  const perform = async (steps) => {
    for (const it of steps) {
      const results = await it({ folder });
      for (const [outcome, list] of Object.entries(total)) list.push(...results.filter((result) => result.outcome === outcome));
    }
  };
  try {
    await perform(quickSteps());
    if (quick) return total;
    await perform([step("build", process.execPath, ["scripts/build.mjs"])]);
    for (const bring of [buildPrograms, buildImage]) { // needs the network, so not in the lab
      try {
        bring();
      } catch (error) {
        console.log(`going on without: ${error.message}`);
      }
    }
    await perform(await labSteps({ folder }));
    return total;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function summary({ passed, failed, skipped }) {
  const lines = (title, list, text) => list.length === 0 ? [] : ["", `${title}:`, ...new Set(list.map((it) => `  ${text(it)}`))];
  const counts = [
    `${passed.length} passed`,
    `${failed.length} failed`,
    ...(skipped.length > 0 ? [`${skipped.length} skipped`] : []),
  ];
  return [
    ...lines("skipped", skipped, ({ step, name, reason }) => `${step}: ${name}: ${reason}`),
    ...lines("failed", failed, ({ step, name }) => `${step}: ${name}`),
    "",
    counts.join(", "),
  ].join("\n");
}

try {
  const quick = process.argv.includes("--quick");
  setup(quick ? "build" : "test");
  const total = await testAll({ quick });
  console.log(summary(total));
  process.exitCode = total.failed.length > 0 || total.passed.length === 0 ? 1 : 0;
} catch (error) {
  console.error(error.message);
  console.log("0 passed, 1 failed");
  process.exitCode = 1;
}
