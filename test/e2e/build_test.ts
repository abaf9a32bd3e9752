/**
 * What `scripts/build.mjs` promises of an executable: deaf to files of the folder it starts in, and with a libnl of its own.
 *
 * @module
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, before, test } from "node:test";
import { build } from "../../scripts/build.mjs";
import { findLibrary, LIBNL, ROOT } from "../../scripts/needs.mjs";
import { insideLab } from "../lab/enter.ts";

const ENTRY = `
import { openDriver } from "../../ffi/mod.ts";
const driver = await openDriver();
using socket = driver.open(0);
console.log(JSON.stringify({ library: driver.library, open: socket.port !== 0, variable: process.env.WEFT_FROM_FILE ?? null, arguments: process.argv.slice(2) }));
`;

let folder = "";

/** Starts the executable in a folder with files that Bun would load by itself. */
function start(env: Record<string, string>): unknown {
  const { stdout, stderr, error } = spawnSync(join(folder, "program"), ["--one"], { cwd: folder, env, encoding: "utf8" });
  return error?.message ?? (stdout.startsWith("{") ? JSON.parse(stdout) : stdout + stderr);
}

before(() => {
  mkdirSync(join(ROOT, "dist"), { recursive: true });
  folder = mkdtempSync(join(ROOT, "dist", "build-test-"));
  writeFileSync(join(folder, "entry.ts"), ENTRY);
  build(join(folder, "entry.ts"), join(folder, "program"));
  writeFileSync(join(folder, ".env"), "WEFT_FROM_FILE=1\n");
  writeFileSync(join(folder, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  writeFileSync(join(folder, "preload.ts"), 'console.log("preloaded");\n');
});

after(() => rmSync(folder, { recursive: true, force: true }));

test("an executable heeds neither .env nor bunfig.toml, and takes the machine's libnl", () => {
  const env = { LD_LIBRARY_PATH: dirname(findLibrary(LIBNL)!) };
  assert.deepEqual(start(env), { library: LIBNL, open: true, variable: null, arguments: ["--one"] });
});

test("an executable brings its own libnl for a machine without one", () => {
  assert.ok(insideLab(), "this test hides a file of the machine: run it with test/lab/run.ts");
  const hidden = spawnSync("mount", ["--bind", "/dev/null", realpathSync(findLibrary(LIBNL)!)], {
    encoding: "utf8",
    env: process.env,
  });
  assert.equal(hidden.stderr, "");
  assert.deepEqual(start({ TMPDIR: "/proc" }), { library: "embedded", open: true, variable: null, arguments: ["--one"] });
});
