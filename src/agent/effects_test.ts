/**
 * Effects on a virtual clock: what is called when, and what becomes of failures.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { leaseOf } from "../../test/leases.ts";
import { nodeSide } from "../../test/contracts/backend.ts";
import { VirtualClock } from "../../test/virtual_clock.ts";
import type { BackendPort } from "../model/backend_port.ts";
import type { EffectContext, Effects, PeerChanges, PeerFailures } from "../model/effects.ts";
import type { PlannedPeer } from "../reconcile/plan.ts";
import { inProcess } from "../reconcile/in_process.ts";
import { parseIp } from "../model/ip.ts";
import { EffectCalls } from "./effects.ts";

const SIDE = nodeSide(4);
const MOVED = { ...SIDE, address: parseIp("192.0.2.99") };

/** A backend that does nothing but what its effects do. */
function backend(effects: Effects, name = "one"): BackendPort {
  const nothing = () => null;
  const planners = {
    mtu: (it: number) => it,
    publish: nothing,
    node: () => [],
    peer: () => ({ path: name, items: [] }),
    links: () => [],
  };
  return inProcess({ name, api: 1, type: name, options: nothing, leaseData: nothing, ...planners, effects }, null);
}

/** A peer of the plan. */
function planned(n: number, state: "planned" | "pending" | "rejected" = "planned", data: unknown = null): PlannedPeer {
  const lease = leaseOf(n, { families: [4], data });
  const [{ subnet, publicIp }] = lease.endpoints as [typeof lease.endpoints[0]];
  return { lease, sides: [{ subnet, publicIp, path: "one", keys: [], state, reason: null }] };
}

/** Effects under way. */
class Stage {
  readonly clock = new VirtualClock();
  readonly log: string[] = [];
  readonly stop = new AbortController();
  readonly effects = new EffectCalls({
    node: () => "a1",
    clock: this.clock,
    log: (level, message) => this.log.push(`${level} ${message}`),
    changed: () => {},
  });
  readonly running = this.effects.run(this.stop.signal);

  /** Tells of a node and its peers, and lets all be called that can be. */
  async follow(peers: readonly PlannedPeer[], full = true, side = SIDE): Promise<void> {
    this.effects.follow([side], { peers }, full);
    await this.clock.settle();
  }

  async begin(port: BackendPort): Promise<void> {
    this.effects.prepare(port, [SIDE]);
    await this.clock.settle();
  }

  async end(): Promise<void> {
    this.stop.abort(new Error("the test is over"));
    await this.running;
  }
}

/** Effects for peers that write down what they are told; `fails` names those that fail. */
function listening(fails: ReadonlySet<string> = new Set()) {
  const told: { readonly put: string[]; readonly drop: string[]; readonly all: string[] }[] = [];
  const peers = (_: EffectContext, { put, drop, all }: PeerChanges): Promise<PeerFailures> => {
    const keys = (list: readonly { readonly key: string }[]) => list.map(({ key }) => key);
    told.push({ put: keys(put), drop: keys(drop), all: [...all.keys()].sort() });
    return Promise.resolve(new Map(keys(put).filter((key) => fails.has(key)).map((key) => [key, "no way"])));
  };
  return { told, peers };
}

test("start comes first, and ready and peers when the node's items are in place; stop comes last", async () => {
  const calls: string[] = [];
  const note = (name: string) => (_: EffectContext, { name: node, sides }: { name: string; sides: readonly unknown[] }) => {
    calls.push(`${name} ${node} ${sides.length}`);
    return Promise.resolve(7);
  };
  const { told, peers } = listening();
  const stage = new Stage();
  await stage.begin(backend({ start: note("start"), ready: note("ready") as never, peers, stop: note("stop") as never }));
  assert.deepEqual([calls, stage.effects.state], [["start a1 1"], { value: 7 }]);
  assert.match(stage.effects.unready!, /not ready yet/);
  await stage.follow([planned(2), planned(3)]);
  assert.deepEqual(calls, ["start a1 1", "ready a1 1"]);
  assert.deepEqual(told, [{ put: ["node-2", "node-3"], drop: [], all: ["node-2", "node-3"] }]);
  assert.deepEqual([stage.effects.unready, stage.effects.problem, stage.effects.missing("node-2")], [null, null, null]);
  await stage.end();
  assert.deepEqual(calls.slice(2), ["stop a1 1"]);
});

test("a start that fails is a problem, is told once, and comes again after growing pauses", async () => {
  const at: number[] = [];
  const stage = new Stage();
  const begin = stage.clock.now();
  const start = () => {
    at.push(stage.clock.now() - begin);
    return at.length < 4 ? Promise.reject(new Error("no key")) : Promise.resolve("key");
  };
  await stage.begin(backend({ start }));
  assert.deepEqual([stage.effects.state, stage.effects.problem], [null, "its start failed: no key"]);
  await stage.clock.pass(7_000);
  assert.deepEqual(at, [0, 1_000, 3_000, 7_000]);
  assert.deepEqual([stage.effects.state, stage.effects.problem], [{ value: "key" }, null]);
  assert.deepEqual(stage.log, ["error backend one: its start failed: no key"]);
  await stage.end();
});

test("a call that does not end is given up when its time is over, and its signal says so", async () => {
  const signals: AbortSignal[] = [];
  const stage = new Stage();
  const start = ({ signal }: EffectContext) => {
    signals.push(signal);
    return new Promise<never>(() => {});
  };
  await stage.begin(backend({ start }));
  await stage.clock.pass(59_999);
  assert.deepEqual([signals[0]!.aborted, stage.effects.problem], [false, null]);
  await stage.clock.pass(1);
  assert.deepEqual([signals[0]!.aborted, stage.effects.problem], [true, "its start failed: it did not end within 60 s"]);
  await stage.clock.pass(1_000);
  assert.equal(signals.length, 2);
  await stage.end();
  assert.ok(signals[1]!.aborted);
});

test("peers come when they are new or have changed, go when they are gone, and a hundred at a time", async () => {
  const { told, peers } = listening();
  const stage = new Stage();
  await stage.begin(backend({ peers }));
  await stage.follow([planned(2), planned(3)]);
  await stage.follow([planned(2), planned(3)]);
  await stage.follow([planned(2, "planned", "new"), planned(4)]);
  assert.deepEqual(told.slice(1), [{ put: ["node-2", "node-4"], drop: ["node-3"], all: ["node-2", "node-4"] }]);
  await stage.follow(Array.from({ length: 150 }, (_, n) => planned(100 + n)));
  assert.deepEqual(told.slice(2).map(({ put, drop, all }) => [put.length, drop.length, all.length]), [[98, 2, 150], [52, 0, 150]]);
  await stage.end();
});

test("a peer that failed comes again after growing pauses, alone; a changed one at once", async () => {
  const fails = new Set(["node-2"]);
  const { told, peers } = listening(fails);
  const stage = new Stage();
  await stage.begin(backend({ peers }));
  await stage.follow([planned(2), planned(3)]);
  assert.deepEqual(stage.effects.missing("node-2"), { failed: true, reason: "no way" });
  assert.equal(stage.effects.missing("node-3"), null);
  await stage.clock.pass(3_000);
  assert.deepEqual(told.slice(1).map(({ put }) => put), [["node-2"], ["node-2"]]);
  fails.clear();
  await stage.follow([planned(2, "planned", "other"), planned(3)]);
  assert.equal(told.length, 4);
  assert.equal(stage.effects.missing("node-2"), null);
  await stage.end();
});

test("the pause after a peer's failure begins when the call has ended", async () => {
  const at: number[] = [];
  const stage = new Stage();
  const begin = stage.clock.now();
  const peers = async () => {
    at.push(stage.clock.now() - begin);
    await new Promise<void>((resolve) => stage.clock.after(10_000, resolve));
    return new Map([["node-2", "too slow"]]);
  };
  await stage.begin(backend({ peers }));
  await stage.follow([planned(2)]);
  await stage.clock.pass(35_000);
  assert.deepEqual(at, [0, 11_000, 23_000]);
  await stage.end();
});

test("after a start peers are told of also if there are none, but not before the first full list", async () => {
  const { told, peers } = listening();
  const stage = new Stage();
  await stage.begin(backend({ peers }));
  await stage.follow([], false);
  assert.deepEqual(told, []);
  await stage.follow([]);
  await stage.follow([]);
  assert.deepEqual(told, [{ put: [], drop: [], all: [] }]);
  await stage.end();
});

test("a peer that waits for a reason of its own is not gone, one that is rejected is", async () => {
  const { told, peers } = listening();
  const stage = new Stage();
  await stage.begin(backend({ peers }));
  await stage.follow([planned(2), planned(3), planned(4, "pending")]);
  assert.deepEqual(told, [{ put: ["node-2", "node-3"], drop: [], all: ["node-2", "node-3", "node-4"] }]);
  await stage.follow([planned(2, "pending"), planned(3, "rejected"), planned(4, "pending")]);
  assert.deepEqual(told.slice(1), [{ put: [], drop: ["node-3"], all: ["node-2", "node-4"] }]);
  await stage.end();
});

test("when the node has changed, ready comes again, and then all peers", async () => {
  let ready = 0;
  const { told, peers } = listening();
  const stage = new Stage();
  await stage.begin(backend({ ready: () => Promise.resolve(void ready++), peers }));
  await stage.follow([planned(2)]);
  await stage.follow([planned(2)], true, MOVED);
  assert.equal(ready, 2);
  assert.deepEqual(told.map(({ put }) => put), [["node-2"], ["node-2"]]);
  await stage.end();
});

test("health is asked every 30 s, and what it says is a problem until it says null", async () => {
  const says = ["the daemon is gone", null];
  const stage = new Stage();
  await stage.begin(backend({ health: () => Promise.resolve(says.shift() ?? null) }));
  await stage.follow([]);
  await stage.clock.pass(29_999);
  assert.deepEqual([says.length, stage.effects.problem], [2, null]);
  await stage.clock.pass(1);
  assert.equal(stage.effects.problem, "the daemon is gone");
  await stage.clock.pass(30_000);
  assert.equal(stage.effects.problem, null);
  await stage.end();
});

test("a backend that another takes the place of is stopped before that starts", async () => {
  const calls: string[] = [];
  const parts = (name: string): Effects => ({
    start: () => Promise.resolve(void calls.push(`start ${name}`)),
    stop: () => Promise.resolve(void calls.push(`stop ${name}`)),
  });
  const stage = new Stage();
  await stage.begin(backend(parts("one"), "one"));
  await stage.begin(backend(parts("two"), "two"));
  await stage.end();
  assert.deepEqual(calls, ["start one", "stop one", "start two", "stop two"]);
});

test("what is said while a call is under way is not lost", async () => {
  const told: number[] = [];
  const stage = new Stage();
  const peers = (_: EffectContext, { all }: PeerChanges) => {
    told.push(all.size);
    if (told.length === 1) queueMicrotask(() => stage.effects.follow([SIDE], { peers: [planned(2), planned(3)] }, true));
    return Promise.resolve();
  };
  await stage.begin(backend({ peers }));
  await stage.follow([planned(2)]);
  assert.deepEqual(told, [1, 2]);
  await stage.end();
});

test("effects that have lost their memory start anew, and planning goes on with what they had started with", async () => {
  let starts = 0;
  const start = () => ++starts === 2 ? Promise.reject(new Error("not yet")) : Promise.resolve(starts);
  const port = { ...backend({ start }), incarnation: 0 };
  const stage = new Stage();
  await stage.begin(port);
  assert.deepEqual(stage.effects.state, { value: 1 });
  port.incarnation++;
  await stage.begin(port);
  assert.deepEqual([stage.effects.state, stage.effects.problem], [{ value: 1 }, "its start failed: not yet"]);
  await stage.clock.pass(2_000);
  assert.deepEqual([stage.effects.state, stage.effects.problem], [{ value: 3 }, null]);
  await stage.end();
});
