import assert from "node:assert/strict";
import { test } from "node:test";
import { perform } from "./command.ts";
import { commandRunner } from "./run.ts";

const PATH = "/usr/bin:/bin";
const run = commandRunner({ PATH });

test("a command gets its input and gives its output and exit status", async () => {
  const text = "a\n".repeat(300_000);
  assert.deepEqual(await run(["cat"], text), { status: 0, stdout: text, stderr: "" });
  assert.deepEqual(await run(["sh", "-c", "echo no >&2; exit 3"], ""), { status: 3, stdout: "", stderr: "no\n" });
});

test("a command sees only the environment it is given", async () => {
  assert.equal((await run(["env"], ""))?.stdout.includes("HOME="), false);
});

test("a command that does not read its input does no harm", async () => {
  assert.equal((await run(["true"], "x".repeat(1_000_000)))?.status, 0);
});

test("a program that is not there is null", async () => {
  assert.equal(await run(["no-such-program-at-all"], ""), null);
});

test("a command that hangs is killed when its time is over", async () => {
  const from = performance.now();
  await assert.rejects(commandRunner({ PATH }, 100)(["sleep", "30"], ""), {
    message: "Cannot run sleep 30: it did not end within 0.1 s",
  });
  assert.ok(performance.now() - from < 5000);
});

test("a command that somebody kills says so", async () => {
  await assert.rejects(run(["sh", "-c", "kill -TERM $$"], ""), {
    message: "Cannot run sh -c kill -TERM $$: it was ended by SIGTERM",
  });
});

test("perform() stops at the first step that fails, and says which", async () => {
  const steps = [
    { what: "do nothing", argv: ["true"], stdin: "" },
    { what: "do harm", argv: ["sh", "-c", "echo 'line 3: bad' >&2; exit 2"], stdin: "" },
    { what: "go on", argv: ["no-such-program-at-all"], stdin: "" },
  ];
  await assert.rejects(perform(run, steps), { message: "Cannot do harm: sh ended with 2: line 3: bad" });
});
