/**
 * What readers of a replaced file see, and what is left when replacing fails. Each test has a directory of its own.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeFileAtomically } from "./atomic_file.ts";

/** Runs a test in a directory of its own. */
async function inDirectory(body: (directory: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "weft-atomic-"));
  try {
    await body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const modeOf = (path: string) => statSync(path).mode & 0o777;

test("writeFileAtomically() makes directory and file, and leaves nothing beside it", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "run/flannel/subnet.env");
    await writeFileAtomically(path, "a=1\n");
    assert.equal(readFileSync(path, "utf8"), "a=1\n");
    assert.deepEqual(readdirSync(join(directory, "run/flannel")), ["subnet.env"]);
    assert.equal(modeOf(path), 0o644);
    assert.equal(modeOf(join(directory, "run/flannel")), 0o755);
  }));

test("writeFileAtomically() replaces a file, its mode and a link, not what the link leads to", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "state");
    writeFileSync(join(directory, "target"), "theirs");
    symlinkSync("target", path);
    await writeFileAtomically(path, "ours", { mode: 0o600 });
    assert.equal(readFileSync(path, "utf8"), "ours");
    assert.equal(modeOf(path), 0o600);
    assert.equal(readFileSync(join(directory, "target"), "utf8"), "theirs");
    await writeFileAtomically(path, "", { mode: 0o666 });
    assert.equal(readFileSync(path, "utf8"), "");
    assert.equal(modeOf(path), 0o666, "whatever the umask");
  }));

test("writeFileAtomically() gives new directories the mode that is asked for", () =>
  inDirectory(async (directory) => {
    await writeFileAtomically(join(directory, "private/x"), "", { mode: 0o600, directoryMode: 0o700 });
    assert.equal(modeOf(join(directory, "private")), 0o700);
  }));

test("writeFileAtomically() leaves the old file and no draft when it fails", () =>
  inDirectory(async (directory) => {
    mkdirSync(join(directory, "taken/inner"), { recursive: true });
    writeFileSync(join(directory, "file"), "old");
    const expected = { message: new RegExp(`^Cannot write "${join(directory, "taken")}": E`) };
    await assert.rejects(writeFileAtomically(join(directory, "taken"), "new"), expected);
    await assert.rejects(writeFileAtomically(join(directory, "file/x"), "new"), /Cannot write .*(ENOTDIR|EEXIST)/);
    assert.deepEqual(readdirSync(directory).sort(), ["file", "taken"]);
    assert.equal(readFileSync(join(directory, "file"), "utf8"), "old");
  }));

test("writeFileAtomically() says what the system said, and hands its error on", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "x".repeat(300));
    const error = await writeFileAtomically(path, "").then(() => null, (error) => error);
    assert.match(error.message, /^Cannot write ".*": ENAMETOOLONG/);
    assert.equal(error.cause.code, "ENAMETOOLONG");
    assert.ok(!/[\r\n]/.test(error.message));
  }));

test("readers see a whole file at every moment", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "subnet.env");
    const [a, b] = ["a".repeat(100_000), "b".repeat(200_000)];
    await writeFileAtomically(path, a);
    let writing = true;
    const writes = (async () => {
      for (let i = 0; i < 20; i++) await writeFileAtomically(path, i % 2 === 0 ? b : a);
      writing = false;
    })();
    let reads = 0;
    while (writing) {
      const text = readFileSync(path, "utf8");
      assert.ok(text === a || text === b, `${text.length} bytes`);
      reads++;
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    await writes;
    assert.ok(reads > 1);
  }));

test("two writers at once do not disturb each other", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "subnet.env");
    await Promise.all(Array.from({ length: 10 }, (_, i) => writeFileAtomically(path, String(i).repeat(1000))));
    assert.match(readFileSync(path, "utf8"), /^(\d)\1{999}$/);
    assert.deepEqual(readdirSync(directory), ["subnet.env"]);
  }));
