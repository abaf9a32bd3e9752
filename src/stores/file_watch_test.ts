import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import type { WatchFolder } from "../../ffi/mod.ts";
import { watchFolder } from "../../test/watch_folder.ts";
import { Child } from "../../test/contracts/child.ts";
import { FileWatch } from "./file_watch.ts";

/** Waits longer than any change needs to be noticed. */
const LONG = 10_000;
/** Long enough for a change that matters to be noticed even on a busy machine. */
const QUIET = 300;

/** A folder and a watch on a path in it. */
class Watched implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-watch-"));
  readonly watch: FileWatch;

  constructor(path: string, prepare: (folder: string) => void = () => {}) {
    prepare(this.folder);
    this.watch = new FileWatch(join(this.folder, path), 1, watchFolder);
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  /** Waits until the file leads to this text, looking only when told to. */
  async until(path: string, text: string | null): Promise<void> {
    const signal = AbortSignal.timeout(LONG);
    const read = () => {
      try {
        return readFileSync(this.at(path), "utf8");
      } catch {
        return null;
      }
    };
    while (read() !== text) await this.watch.next(signal);
  }

  /** Waits for looks to end. */
  async calm(): Promise<void> {
    while (await this.rings(QUIET));
  }

  /** Whether it asks for a look within some time. */
  async rings(milliseconds: number): Promise<boolean> {
    const signal = AbortSignal.timeout(milliseconds);
    try {
      await this.watch.next(signal);
      return true;
    } catch (error) {
      assert.equal(error, signal.reason);
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.watch[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("FileWatch asks for a look at once, and then when the file changes", async () => {
  using it = new Watched("file", (folder) => writeFileSync(join(folder, "file"), "1"));
  assert.ok(await it.rings(LONG));
  await it.calm();
  writeFileSync(it.at("file"), "2");
  assert.ok(await it.rings(LONG));
  await it.calm();
  writeFileSync(it.at("file.new"), "3");
  renameSync(it.at("file.new"), it.at("file"));
  assert.ok(await it.rings(LONG), "replaced");
  await it.calm();
  rmSync(it.at("file"));
  assert.ok(await it.rings(LONG), "removed");
  assert.equal(it.watch.problem, null);
});

test("FileWatch is quiet about other files", async () => {
  using it = new Watched("file", (folder) => writeFileSync(join(folder, "file"), "1"));
  await it.calm();
  writeFileSync(it.at("other"), "1");
  writeFileSync(it.at("file-journal"), "1");
  assert.ok(!await it.rings(QUIET));
});

test("FileWatch is not woken by what grows in the folders above, and sees the folder replaced all the same", async () => {
  using it = new Watched("a/file", (folder) => {
    mkdirSync(join(folder, "a"));
    writeFileSync(join(folder, "a/file"), "1");
    writeFileSync(join(folder, "log"), "1");
  });
  const told: (string | null)[] = [];
  const listening: WatchFolder = (folder, changed, of) =>
    watchFolder(folder, (name) => {
      told.push(name);
      changed(name);
    }, of);
  it.watch[Symbol.dispose]();
  using watch = new FileWatch(it.at("a/file"), 1, listening);
  const next = () => watch.next(AbortSignal.timeout(LONG));
  await next();
  appendFileSync(it.at("log"), "2");
  writeFileSync(it.at("a/file"), "2");
  await next();
  mkdirSync(it.at("b"));
  writeFileSync(it.at("b/file"), "3");
  renameSync(it.at("a"), it.at("c"));
  renameSync(it.at("b"), it.at("a"));
  while (!told.includes("a")) await next();
  assert.ok(told.includes("file") && !told.includes("log"), told.join(" "));
});

test("FileWatch loses no change that comes while the last one is looked at", async () => {
  using it = new Watched("file");
  await it.calm();
  for (let i = 0; i < 20; i++) {
    writeFileSync(it.at("file"), String(i));
    await it.until("file", String(i));
    await new Promise((resolve) => setTimeout(resolve, i));
    appendFileSync(it.at("file"), "+");
    await new Promise((resolve) => setTimeout(resolve, 20)); // nobody waits now
    assert.ok(await it.rings(LONG));
  }
});

test("FileWatch waits for folders that are missing, and comes back with them", async () => {
  using it = new Watched("a/b/file");
  await it.calm();
  mkdirSync(it.at("a"));
  await it.calm();
  mkdirSync(it.at("a/b"));
  writeFileSync(it.at("a/b/file"), "1");
  await it.until("a/b/file", "1");
  rmSync(it.at("a"), { recursive: true });
  await it.until("a/b/file", null);
  mkdirSync(it.at("a/b"), { recursive: true });
  writeFileSync(it.at("a/b/file"), "2");
  await it.until("a/b/file", "2");
  renameSync(it.at("a/b"), it.at("a/c"));
  await it.until("a/b/file", null);
  renameSync(it.at("a/c"), it.at("a/b"));
  await it.until("a/b/file", "2");
  await it.calm();
  writeFileSync(it.at("a/b/file"), "3");
  await it.until("a/b/file", "3");
});

test("FileWatch follows the links of a ConfigMap's volume", async () => {
  const fill = (folder: string, name: string, text: string) => {
    mkdirSync(join(folder, name));
    writeFileSync(join(folder, name, "net-conf.json"), text);
  };
  using it = new Watched("net-conf.json", (folder) => {
    fill(folder, "..1", "1");
    symlinkSync("..1", join(folder, "..data"));
    symlinkSync("..data/net-conf.json", join(folder, "net-conf.json"));
  });
  await it.calm();
  for (const text of ["2", "3", "4"]) {
    fill(it.folder, `..${text}`, text);
    symlinkSync(`..${text}`, it.at("..data_tmp"));
    renameSync(it.at("..data_tmp"), it.at("..data"));
    rmSync(it.at(`..${Number(text) - 1}`), { recursive: true });
    await it.until("net-conf.json", text);
  }
});

test("FileWatch follows links to other folders, wherever one is changed", async () => {
  using it = new Watched("link", (folder) => {
    for (const name of ["x", "y", "z"]) mkdirSync(join(folder, name));
    writeFileSync(join(folder, "y/file"), "1");
    symlinkSync("../y/file", join(folder, "x/link"));
    symlinkSync(join(folder, "x/link"), join(folder, "link"));
  });
  await it.calm();
  writeFileSync(it.at("y/file"), "2");
  await it.until("link", "2");
  writeFileSync(it.at("z/file"), "3");
  symlinkSync("../z/file", it.at("x/new"));
  renameSync(it.at("x/new"), it.at("x/link"));
  await it.until("link", "3");
  rmSync(it.at("x/link"));
  await it.until("link", null);
  symlinkSync("../link", it.at("x/link"));
  await it.calm();
  assert.equal(it.watch.problem, null, "a circle of links is no reason to give up");
  rmSync(it.at("link"));
  writeFileSync(it.at("link"), "4");
  await it.until("link", "4");
});

test("FileWatch leaves locks on the file that this process holds alone", async () => {
  using it = new Watched("file");
  const db = new DatabaseSync(it.at("file"));
  try {
    db.exec("CREATE TABLE a (b)");
    await it.calm();
    const { ino } = statSync(it.at("file"));
    const locks = () => readFileSync("/proc/locks", "utf8").split("\n").filter((line) => line.includes(`:${ino} `)).length;
    db.exec("BEGIN EXCLUSIVE");
    const held = locks();
    assert.ok(held > 0);
    utimesSync(it.at("file"), 1, 1);
    assert.ok(await it.rings(LONG), "it heard of it");
    await it.calm();
    assert.equal(locks(), held);
  } finally {
    db.close();
  }
});

test("FileWatch stops when its signal says so, with its reason", async () => {
  using it = new Watched("file");
  await it.calm();
  const controller = new AbortController();
  const enough = new Error("enough");
  const waiting = it.watch.next(controller.signal);
  controller.abort(enough);
  await assert.rejects(waiting, (error) => error === enough);
  await assert.rejects(it.watch.next(controller.signal), (error) => error === enough);
  writeFileSync(it.at("file"), "1");
  assert.ok(await it.rings(LONG), "and can be used again");
});

const noWatches = [
  "unshare",
  "--user",
  "--map-root-user",
  "sh",
  "-c",
  'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"',
  "sh",
];
const canForbid = spawnSync(noWatches[0]!, [...noWatches.slice(1), "true"]).status === 0;

test(
  "FileWatch looks every second where the system gives no watches, and says so",
  { skip: canForbid ? false : "user namespaces are not allowed", timeout: 60_000 },
  async () => {
    using it = new Watched("file");
    await using child = new Child(
      new URL("../../test/contracts/watch_child.ts", import.meta.url).pathname,
      [it.at("file")],
      noWatches,
    );
    await child.until(2);
    const { problem } = child.lines[1] as { problem: string }; // a watch may also fail some time after it was made
    assert.match(problem, /^Cannot watch the folder "\/.*": /);
    assert.ok(problem.includes(`; "${it.at("file")}" is looked at every second instead (fs.inotify.max_user_instances`), problem);
    const start = performance.now();
    await child.until(5);
    const took = performance.now() - start;
    assert.ok(took > 1500 && took < 20_000, `three looks in ${took} ms`);
  },
);

test("FileWatch hears of a change that comes as soon as the watch is made", { timeout: 60_000 }, async () => {
  for (const delay of [0, 1, 3, 6, 12]) {
    using it = new Watched("file", (folder) => writeFileSync(join(folder, "file"), "1"));
    assert.ok(await it.rings(LONG));
    await new Promise((resolve) => setTimeout(resolve, delay));
    writeFileSync(it.at("file"), "2");
    assert.ok(await it.rings(LONG), `after ${delay} ms`);
  }
});

test("FileWatch goes on when its folder is replaced by another", { timeout: 60_000 }, async () => {
  using it = new Watched("a/file", (folder) => mkdirSync(join(folder, "a")));
  using second = new FileWatch(it.at("a/file"), 1, watchFolder);
  await second.next(AbortSignal.timeout(LONG));
  await it.calm();
  for (const text of ["1", "2", "3"]) {
    rmSync(it.at("a"), { recursive: true });
    mkdirSync(it.at("a"));
    await it.calm();
    writeFileSync(it.at("a/file"), text);
    await it.until("a/file", text);
  }
});
