import assert from "node:assert/strict";
import { appendFileSync, mkdirSync, mkdtempSync, readdirSync, readlinkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { until } from "../test/lab/command.ts";
import { watchFolder } from "../test/watch_folder.ts";

/** Descriptors of inotify that this process holds. */
function instances(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).includes("inotify");
    } catch {
      return false; // the one of the listing itself
    }
  }).length;
}

test("watchFolder() tells the names that something happened to, and that the folder has gone", async () => {
  const root = mkdtempSync(join(tmpdir(), "weft-folder-"));
  const folder = join(root, "a");
  mkdirSync(folder);
  try {
    const [told, other]: [(string | null)[], (string | null)[]] = [[], []];
    using _one = watchFolder(folder, (name) => told.push(name), "contents");
    const second = watchFolder(folder, (name) => other.push(name), "contents");
    writeFileSync(join(folder, "x"), "1");
    await until("both hear of x", () => told.includes("x") && other.includes("x"));
    second[Symbol.dispose]();
    const heard = other.length;
    renameSync(join(folder, "x"), join(folder, "a longer name, with an ü"));
    await until("the new name is told", () => told.includes("a longer name, with an ü"));
    assert.equal(other.length, heard, "who has let go hears nothing more");
    assert.ok(!told.includes(null));
    renameSync(folder, join(root, "b"));
    await until("the end is told", () => told.includes(null));
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("watchFolder() tells who watches entries nothing of what is written, and who watches contents all, in any order", async () => {
  const root = mkdtempSync(join(tmpdir(), "weft-folder-"));
  const [log, file] = [join(root, "log"), join(root, "file")];
  writeFileSync(log, "1");
  try {
    const told: (string | null)[] = [];
    using _entries = watchFolder(root, (name) => told.push(name), "entries");
    appendFileSync(log, "2");
    writeFileSync(file, "1");
    await until("the new file is told", () => told.includes("file"));
    assert.ok(!told.includes("log"), "a file that grows wakes nobody");
    const all: (string | null)[] = [];
    using _contents = watchFolder(root, (name) => all.push(name), "contents");
    using _again = watchFolder(root, () => {}, "entries");
    appendFileSync(log, "3");
    await until("what is written is told", () => all.includes("log"));
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("watchFolder() shares one descriptor, which is closed with the last watch, also where folders go", async () => {
  const before = instances();
  const root = mkdtempSync(join(tmpdir(), "weft-folder-"));
  mkdirSync(join(root, "a"));
  let gone = false;
  const watches = [
    watchFolder(root, () => {}, "entries"),
    watchFolder(root, () => {}, "entries"),
    watchFolder(join(root, "a"), (name) => gone ||= name === null, "entries"),
  ];
  assert.equal(instances(), before + 1);
  rmSync(join(root, "a"), { recursive: true });
  await until("the end is told", () => gone);
  for (const watch of watches) watch[Symbol.dispose]();
  watches[0]![Symbol.dispose](); // once more does nothing
  await until("the descriptor is closed", () => instances() === before);
  assert.throws(
    () => watchFolder(join(root, "a"), () => {}, "entries"),
    /it is not there, can not be read, or the system gives no more/,
  );
  await until("a watch that failed leaves none open", () => instances() === before);
  rmSync(root, { recursive: true });
});
