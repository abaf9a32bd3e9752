import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Mender } from "./mender.ts";

test("what is found undone is mended once, soon, and the more slowly the more often that happens", async () => {
  const never = new AbortController().signal;
  const mended: number[] = [];
  let undone = () => {};
  const over = new Promise<void>((resolve) => {
    const mender = new Mender(() => {
      mended.push(performance.now());
      if (mended.length === 3) resolve();
      else setTimeout(undone); // somebody undoes it at once
      return Promise.resolve();
    }, () => 0);
    undone = () => mender.undone(never);
  });
  const start = performance.now();
  for (let i = 0; i < 100; i++) undone();
  await over;
  const pauses = mended.map((at, i) => Math.round((at - (mended[i - 1] ?? start)) / 250));
  assert.deepEqual(pauses, [1, 2, 4]);
});

test("an error is none of the mender's business, and the signal ends it", async () => {
  const end = new AbortController();
  let count = 0;
  const mender = new Mender(() => {
    count++;
    return Promise.reject(new Error("no"));
  }, () => 0);
  mender.undone(end.signal);
  await sleep(400);
  assert.equal(count, 1);
  mender.undone(end.signal);
  end.abort();
  mender.undone(end.signal);
  await sleep(700);
  assert.equal(count, 1);
});
