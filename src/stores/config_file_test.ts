import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { watchFolder } from "../../test/watch_folder.ts";
import { ConfigError } from "../config/errors.ts";
import { configText, DEFAULT_NETWORK } from "./config_file.ts";

/** A path, and who reads the configuration there. */
class Reader implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-config-"));
  readonly path = join(this.folder, "net-conf.json");
  readonly problems: (string | null)[] = [];
  readonly #controller = new AbortController();
  #texts: AsyncGenerator<string, never> | null = null;

  start(isDefault: boolean): this {
    const signal = AbortSignal.any([this.#controller.signal, AbortSignal.timeout(10_000)]);
    this.#texts = configText(this.path, isDefault, signal, (what) => this.problems.push(what), watchFolder);
    return this;
  }

  async next(): Promise<string> {
    return (await this.#texts!.next()).value;
  }

  replace(text: string): void {
    writeFileSync(join(this.folder, "new"), text);
    renameSync(join(this.folder, "new"), this.path);
  }

  async heard(problem: RegExp | null): Promise<void> {
    const isIt = (it: string | null | undefined) => problem === null ? it === null : problem.test(it ?? "");
    for (let i = 0; i < 500 && !isIt(this.problems.at(-1)); i++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(isIt(this.problems.at(-1)), `${this.problems.at(-1)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller.abort();
    await this.#texts?.next().catch(() => {});
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("configText() gives the text now, and each other one once", async () => {
  await using it = new Reader().start(false);
  it.replace("1");
  assert.equal(await it.next(), "1");
  it.replace("2");
  assert.equal(await it.next(), "2");
  const next = it.next();
  it.replace("2");
  await new Promise((resolve) => setTimeout(resolve, 200));
  it.replace("3");
  assert.equal(await next, "3", "not 2 again");
});

test("configText() does not show a file that is being written", async () => {
  await using it = new Reader().start(false);
  writeFileSync(it.path, "1");
  assert.equal(await it.next(), "1");
  const next = it.next();
  truncateSync(it.path, 0);
  writeFileSync(it.path, "2");
  assert.equal(await next, "2", "not the empty file");
});

test("configText() needs a file that was named", async () => {
  await using it = new Reader().start(false);
  const said = "it does not exist; write it or name another with --net-config-path";
  await assert.rejects(it.next(), (error) => {
    assert.ok(error instanceof ConfigError);
    assert.equal(error.message, `Cannot read the network configuration "${it.path}": ${said}`);
    return true;
  });
});

test("configText() has a default for a file that nobody named, until it is there", async () => {
  await using it = new Reader();
  rmSync(it.folder, { recursive: true });
  it.start(true);
  assert.equal(await it.next(), DEFAULT_NETWORK);
  assert.deepEqual(it.problems, [null]);
  const next = it.next();
  mkdirSync(it.folder);
  it.replace("1");
  assert.equal(await next, "1");
});

test("configText() never falls back to the default once there was a file", async () => {
  await using it = new Reader();
  it.replace("1");
  it.start(true);
  assert.equal(await it.next(), "1");
  const next = it.next();
  rmSync(it.path);
  await it.heard(/^Cannot read the network configuration .* it does not exist/);
  it.replace("1");
  await it.heard(null);
  it.replace("2");
  assert.equal(await next, "2");
});

test("configText() refuses what is no file or too large, also at the default path", async () => {
  const said = async (prepare: (path: string) => void) => {
    await using it = new Reader();
    prepare(it.path);
    it.start(true);
    let message = "";
    await assert.rejects(it.next(), (error: Error) => (message = error.message) !== "");
    return message;
  };
  assert.match(await said((path) => mkdirSync(path)), /: it is not a regular file; name one with --net-config-path$/);
  assert.match(await said((path) => assert.equal(spawnSync("mkfifo", [path]).status, 0)), /: it is not a regular file/);
  assert.match(await said((path) => writeFileSync(path, "x".repeat((1 << 20) + 1))), /: it is larger than 1048576 bytes$/);
});
