/**
 * Which file is a backend's, and that no path gets out of the folders.
 *
 * @module
 */

import { after, before, test } from "node:test";
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { findPlugin } from "./find.ts";
import { distrust } from "./trust.ts";

let folder = "";
before(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-plugins-"));
  for (const name of ["mine.ts", "script.js", "module.mjs", "twice.ts", "twice.js", "other.txt", ".ts"]) {
    writeFileSync(join(folder, name), "");
  }
});
after(() => rmSync(folder, { recursive: true }));

test("findPlugin() finds NAME.ts, .js and .mjs, and nothing else", () => {
  for (const [name, file] of [["mine", "mine.ts"], ["script", "script.js"], ["module", "module.mjs"]] as const) {
    assert.equal(findPlugin(name, ["/nonexistent", folder]), join(folder, file));
  }
  for (const name of ["other", "absent", "", "Mine", "mine.ts", "../mine", `${folder}/mine`, "mine\0", "-mine"]) {
    assert.equal(findPlugin(name, [folder]), null, name);
  }
});

test("findPlugin() refuses two files for one backend, and a folder that is none", () => {
  assert.throws(() => findPlugin("twice", [folder]), /more than one file for the backend "twice": ".*twice\.js" and ".*twice\.ts"/);
  assert.throws(() => findPlugin("mine", [folder, folder]), /more than one file/);
  assert.throws(() => findPlugin("mine", [join(folder, "mine.ts")]), /Cannot read the folder of plugins ".*mine\.ts": .*ENOTDIR/);
});

test("distrust() says who could change a file; a folder for everybody's files is enough", () => {
  assert.match(
    distrust(join(folder, "mine.ts"))!,
    /may be written by others than root|belongs to user \d+, who could change it; run: chown root/,
  );
  assert.throws(() => distrust("/absent/../absent.ts"), /ENOENT/);
});
