import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { runtimeCommand } from "../../test/lab/paths.ts";

test("who reads lines of JSON gets the last words so too", () => {
  const folder = mkdtempSync(join(tmpdir(), "weft-main-"));
  try {
    const [runtime, ...args] = runtimeCommand();
    const flags = ["--log-format=json", "--lease-db=/dev/null", `--subnet-file=${folder}/subnet.env`];
    const argv = [...args, resolve(import.meta.dirname!, "../cli.ts"), ...flags];
    const { status, stderr } = spawnSync(runtime!, argv, { encoding: "utf8", timeout: 30_000 });
    const last = JSON.parse(stderr.trim().split("\n").at(-1)!);
    assert.deepEqual([status, last.level], [1, "error"]);
    assert.match(last.message, /^Cannot use the lease database "\/dev\/null": it is not a regular file/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
