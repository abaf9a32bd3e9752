import assert from "node:assert/strict";
import { test } from "node:test";
import { VirtualClock } from "../../test/virtual_clock.ts";
import { keepNodeCondition, type NodeConditionOptions } from "./node_condition.ts";

/** A keeper, an agent that is as it is told, and an API server that answers when it is told to. */
class Bed {
  readonly clock = new VirtualClock();
  readonly over = new AbortController();
  why: string | null = "the lease is not there yet";
  uid: string | null = null;
  /** What was told to the end, in order. */
  readonly heard: (string | null)[] = [];
  /** What is being told. */
  readonly asked: { readonly why: string | null; readonly signal: AbortSignal; readonly answer: () => void }[] = [];
  readonly log: string[] = [];
  answers = true;

  constructor() {
    const store: NodeConditionOptions["store"] = {
      node: "node-1",
      nodeUid: null,
      setNetworkUnavailable: (why, signal) =>
        new Promise((resolve, reject) => {
          const answer = () => resolve(void this.heard.push(why));
          signal.addEventListener("abort", () => reject(signal.reason));
          this.asked.push({ why, signal, answer });
          if (this.answers) answer();
        }),
    };
    Object.defineProperty(store, "nodeUid", { get: () => this.uid });
    const log = (_: string, message: string) => this.log.push(message);
    void keepNodeCondition({ store, notReady: () => this.why, clock: this.clock, log }, this.over.signal);
  }

  async pass(seconds: number): Promise<void> {
    await this.clock.pass(seconds * 1000);
  }
}

test("the network is available as soon as the agent is ready, and that is told once", async () => {
  const bed = new Bed();
  await bed.pass(30);
  assert.deepEqual(bed.heard, []);
  [bed.why, bed.uid] = [null, "1"];
  await bed.pass(1);
  assert.deepEqual(bed.heard, [null]);
  await bed.pass(3600);
  assert.deepEqual(bed.heard, [null]);
  assert.deepEqual(bed.log, ["The condition NetworkUnavailable of node node-1 is False"]);
  bed.over.abort();
});

test("an agent that is not ready for more than a minute makes the network unavailable, with the reason", async () => {
  const bed = new Bed();
  bed.why = null;
  await bed.pass(1);
  bed.why = "the device is gone";
  await bed.pass(50);
  bed.why = null;
  await bed.pass(10);
  bed.why = "the lease is lost";
  await bed.pass(50);
  assert.deepEqual(bed.heard, [null]);
  await bed.pass(20);
  assert.deepEqual(bed.heard, [null, "the lease is lost"]);
  bed.why = null;
  await bed.pass(6);
  assert.deepEqual(bed.heard, [null, "the lease is lost", null]);
  bed.over.abort();
});

test("an agent that is never ready makes the network unavailable too: the last run may have left it available", async () => {
  const bed = new Bed();
  bed.why = `${"x".repeat(2000)}`;
  await bed.pass(61);
  assert.deepEqual(bed.heard, ["x".repeat(1000)]);
  bed.over.abort();
});

test("a Node that was deleted and made again is told anew", async () => {
  const bed = new Bed();
  [bed.why, bed.uid] = [null, "1"];
  await bed.pass(10);
  bed.uid = "2";
  await bed.pass(10);
  assert.deepEqual(bed.heard, [null, null]);
  bed.over.abort();
});

test("what the API server has not heard is given up for what is true now", async () => {
  const bed = new Bed();
  bed.answers = false;
  bed.why = null;
  await bed.pass(1);
  bed.why = "gone";
  await bed.pass(70);
  assert.deepEqual(bed.asked.map(({ why, signal }) => [why, signal.aborted]), [[null, true], ["gone", false]]);
  bed.asked[1]!.answer();
  await bed.pass(1);
  assert.deepEqual(bed.heard, ["gone"]);
  bed.over.abort();
});

test("the end of the agent writes nothing", async () => {
  const bed = new Bed();
  bed.why = null;
  await bed.pass(1);
  bed.over.abort();
  bed.why = "it has ended";
  await bed.pass(600);
  assert.deepEqual(bed.heard, [null]);
});
