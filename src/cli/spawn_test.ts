import assert from "node:assert/strict";
import { test } from "node:test";
import type { Command } from "../cni/io.ts";
import { spawn } from "./spawn.ts";

function shell(script: string, change: Partial<Command> = {}) {
  const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
  return spawn({ argv: ["/bin/sh", "-c", script], env, stdin: "", limitMs: 10_000, limitBytes: 1000, ...change });
}

async function isRunning(pid: string): Promise<boolean> {
  return (await shell(`kill -0 ${pid} 2>/dev/null && ! grep -q '^State:.Z' /proc/${pid}/status`)).code === 0;
}

test("spawn() gives standard input and environment, and both streams and the exit code back", async () => {
  const outcome = await shell('cat; echo "$A" >&2; exit 3', { stdin: "hello", env: { A: "b", PATH: "/usr/bin:/bin" } });
  assert.deepEqual(outcome, { code: 3, stdout: "hello", stderr: "b\n", exceeded: null });
});

test("spawn() has no exit code for a process that a signal ended", async () => {
  assert.deepEqual(await shell("kill -TERM $$"), { code: null, stdout: "", stderr: "", exceeded: null });
});

test("spawn() keeps letters whole that are cut between two reads", async () => {
  const { stdout } = await shell("printf '\\303'; sleep 0.1; printf '\\244'");
  assert.equal(stdout, "ä");
});

test("spawn() kills what takes too long, and what it started", async () => {
  const began = performance.now();
  const outcome = await shell("sleep 1000 & echo $! $$; wait", { limitMs: 300 });
  assert.deepEqual([outcome.code, outcome.exceeded], [null, "time"]);
  assert.ok(performance.now() - began < 5000);
  const [child, own] = outcome.stdout.trim().split(" ");
  await shell("sleep 0.1");
  assert.deepEqual([await isRunning(child!), await isRunning(own!)], [false, false]);
});

test("spawn() does not wait for a child that holds the streams", async () => {
  const { exceeded, stdout } = await shell("sleep 1000 & echo done", { limitMs: 300 });
  assert.deepEqual([exceeded, stdout], ["time", "done\n"]);
});

test("spawn() kills what says too much, on either stream", async () => {
  for (const script of ["yes", "yes >&2"]) {
    const { exceeded, stdout, stderr } = await shell(script);
    assert.equal(exceeded, "output");
    assert.ok(stdout.length + stderr.length < 1_000_000);
  }
});

test("spawn() says why a process can not be started", async () => {
  for (const [file, code] of [["/nowhere", "ENOENT"], ["/etc/passwd", "EACCES"]] as const) {
    const command = { argv: [file], env: {}, stdin: "x", limitMs: 1000, limitBytes: 1000 };
    await assert.rejects(async () => await spawn(command), { code });
  }
});
