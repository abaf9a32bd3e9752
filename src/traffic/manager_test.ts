import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr } from "../model/ip.ts";
import type { Run } from "./command.ts";
import type { RulesetChange } from "../model/kernel.ts";
import { TrafficManager, type TrafficState } from "./manager.ts";
import { intentOf, type TrafficSettings } from "./rules.ts";

const RANGE = { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") };
const OTHER = { network: parseCidr("10.12.0.0/16"), subnet: parseCidr("10.12.5.0/24") };
const SETTINGS: TrafficSettings = { masquerade: false, forward: true, fullyRandom: true, mode: "nftables", resync: 5 };
/** Writes within a minute that are made without waiting. */
const FREE_WRITES = 20;
const TOUCHED: RulesetChange = { touched: [{ family: "ip", table: "flannel-ipv4", chain: "forward" }], by: "someone (42)" };

/**
 * A node with a virtual clock, on which only nft exists. It holds the last forward chain it was given, for IPv4.
 * What the real nft does with it is the lab's affair; here it is when the manager runs it.
 */
class Node {
  time = 0;
  /** The networks that the forward chain accepts; `null` if there is no table. */
  held: string[] | null = null;
  writes: number[] = [];
  reads = 0;
  /** Said instead of a success by whatever writes. */
  refusal: string | null = null;
  /** Held back until the test lets it go on. */
  gate: Promise<void> | null = null;
  readonly states: TrafficState[] = [];
  readonly manager: TrafficManager;
  #timer: { at: number; callback: () => void } | null = null;
  #tell: ((change: RulesetChange | null) => void) | null = null;

  constructor(tells = true) {
    const clock = {
      now: () => this.time,
      after: (ms: number, callback: () => void) => {
        const timer = { at: this.time + ms, callback };
        assert.ok(ms > 0 && this.#timer === null, "one timer at a time");
        this.#timer = timer;
        return () => this.#timer = this.#timer === timer ? null : this.#timer;
      },
    };
    const onRulesetChange = (callback: (change: RulesetChange | null) => void) => {
      this.#tell = callback;
      return () => this.#tell = null;
    };
    const onState = (state: TrafficState) => void this.states.push(state);
    this.manager = new TrafficManager({ run: this.#run, clock, onRulesetChange: tells ? onRulesetChange : null, onState });
  }

  readonly #run: Run = async (argv, stdin) => {
    if (argv[0] !== "nft") return null;
    await this.gate;
    if (argv.includes("list")) return this.#list(argv.includes("flannel-ipv4"));
    if (this.refusal !== null) return { status: 1, stdout: "", stderr: this.refusal };
    this.writes.push(this.time);
    this.held = stdin.includes("delete table")
      ? null
      : Array.from(stdin.matchAll(/saddr (\S+) accept/g), ([, network]) => network!);
    this.#tell?.({ ...TOUCHED, by: "nft (1)" });
    return { status: 0, stdout: "", stderr: "" };
  };

  #list(ipv4: boolean) {
    this.reads++;
    if (!ipv4 || this.held === null) return { status: 1, stdout: "", stderr: "Error: No such file or directory" };
    const rule = (field: string, network: string) => {
      const [addr, len] = network.split("/");
      const right = { prefix: { addr, len: Number(len) } };
      return {
        rule: {
          chain: "forward",
          expr: [{ match: { op: "==", left: { payload: { protocol: "ip", field } }, right } }, { accept: null }],
        },
      };
    };
    const chain = { name: "forward", type: "filter", hook: "forward", prio: 0, policy: "accept" };
    const rules = this.held.flatMap((network) => [rule("saddr", network), rule("daddr", network)]);
    return { status: 0, stdout: JSON.stringify({ nftables: [{ chain }, ...rules] }), stderr: "" };
  }

  /** Somebody empties the chain, and the kernel tells of it. */
  tamper(change: RulesetChange | null = TOUCHED): void {
    if (this.held !== null) this.held = [];
    this.#tell?.(change);
  }

  get subscribed(): boolean {
    return this.#tell !== null;
  }

  get nextTimer(): number | null {
    return this.#timer === null ? null : this.#timer.at - this.time;
  }

  /** Lets everything that is under way come to its end. */
  async rest(): Promise<void> {
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Moves the clock to the next timer and lets it ring. */
  async ring(): Promise<void> {
    const timer = this.#timer;
    assert.ok(timer !== null, "a timer is set");
    this.#timer = null;
    this.time = timer.at;
    timer.callback();
    await this.rest();
  }

  /** Lets time pass, with all timers that ring meanwhile. */
  async pass(ms: number): Promise<void> {
    const end = this.time + ms;
    await this.rest();
    while (this.#timer !== null && this.#timer.at <= end) await this.ring();
    this.time = end;
  }

  async keep(settings = SETTINGS, range = RANGE): Promise<void> {
    this.manager.keep(intentOf(settings, [range]));
    await this.rest();
  }
}

test("keep() puts the rules in place and says so", async () => {
  const node = new Node();
  await node.keep();
  assert.deepEqual(node.held, ["10.244.0.0/16"]);
  assert.deepEqual(node.manager.state, {
    held: "nftables",
    inPlace: true,
    clean: true,
    lastError: null,
    repairs: 0,
    lastRepair: null,
  });
  assert.deepEqual(node.states.at(-1), node.manager.state);
});

test("keep() writes nothing where the rules are in place already", async () => {
  const node = new Node();
  node.held = ["10.244.0.0/16"];
  await node.keep();
  assert.deepEqual([node.writes.length, node.manager.state.inPlace], [0, true]);
});

test("a change that the kernel tells of is repaired at once, and names who made it", async () => {
  const node = new Node();
  await node.keep();
  await node.pass(1_000);
  node.tamper();
  await node.rest();
  assert.deepEqual(node.held, ["10.244.0.0/16"]);
  const { repairs, lastRepair } = node.manager.state;
  assert.deepEqual([repairs, lastRepair, node.time], [
    1,
    "put the rules in table ip flannel-ipv4 in place, after a change by someone (42)",
    1_000,
  ]);
});

test("changes that may have been missed are looked for, and changes of other tables are not", async () => {
  const node = new Node();
  await node.keep();
  await node.pass(1_000);
  node.tamper(null);
  await node.pass(1_000);
  assert.equal(node.manager.state.repairs, 1);
  const { reads } = node;
  node.tamper({ touched: [{ family: "ip", table: "kube-proxy", chain: "services" }], by: null });
  node.tamper({ touched: [{ family: "ip6", table: "flannel-ipv4", chain: null }], by: null });
  await node.pass(1_000);
  assert.equal(node.reads, reads);
});

test("many changes at once cost one look more, not one each", async () => {
  const node = new Node();
  await node.keep();
  await node.pass(1_000);
  const { reads } = node;
  for (let i = 0; i < 1000; i++) node.tamper();
  await node.pass(1_000);
  assert.ok(node.reads - reads <= 5, `${node.reads - reads} looks`);
  assert.deepEqual(node.held, ["10.244.0.0/16"]);
});

test("the period is the resync period only where the kernel does not tell of changes", async () => {
  for (const [tells, period] of [[false, 5_000], [true, 300_000]] as const) {
    const node = new Node(tells);
    await node.keep();
    await node.pass(100);
    node.held = [];
    const { nextTimer } = node;
    await node.ring();
    assert.deepEqual([node.held, node.manager.state.repairs], [["10.244.0.0/16"], 1]);
    assert.ok(nextTimer === period || (nextTimer === period - 100 && !tells), `${nextTimer}`);
  }
  const node = new Node(false);
  await node.keep({ ...SETTINGS, resync: 0 });
  assert.equal(node.nextTimer, 1_000, "zero is no busy loop");
  const seldom = new Node();
  await seldom.keep({ ...SETTINGS, resync: 86_400 });
  await seldom.pass(100); // hears of its own write
  assert.equal(seldom.nextTimer, 86_400_000, "what is longer than a timer can be is none either");
});

test("an error is state, and is tried again after 1, 2, 4 and at most 30 seconds", async () => {
  const node = new Node();
  node.refusal = "Operation not permitted";
  await node.keep();
  const waits = [];
  for (let i = 0; i < 7; i++, await node.ring()) waits.push(node.nextTimer);
  assert.deepEqual(waits, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  assert.equal(node.manager.state.inPlace, false);
  assert.equal(
    node.manager.state.lastError,
    "Cannot put the rules in table ip flannel-ipv4 in place: nft ended with 1: Operation not permitted",
  );
  node.refusal = null;
  await node.ring();
  assert.deepEqual([node.manager.state.inPlace, node.manager.state.lastError, node.manager.state.repairs], [true, null, 0]);
});

test("who keeps changing the rules is answered more and more slowly, named, and answered at once again after a minute's peace", async () => {
  const node = new Node();
  await node.keep();
  let looks = 0;
  for (let i = 0; i < 600; i++) {
    node.tamper();
    const { reads } = node;
    await node.pass(1_000);
    looks += Number(node.reads > reads);
  }
  const perMinute = node.writes.filter((at) => at > node.time - 60_000).length;
  assert.ok(perMinute >= 1 && perMinute <= FREE_WRITES + 6, `${perMinute} writes in the last minute`);
  assert.ok(looks > 500, `it looks nevertheless: ${looks} times`);
  const fights = node.states.filter(({ lastError }) => lastError?.includes("changed each time"));
  assert.equal(fights.some(({ inPlace }) => inPlace), false);
  assert.match(
    fights.at(-1)?.lastError ?? "",
    /^Traffic rules in nftables were put in place 2\d times within a minute and changed each time \(last by someone \(42\)\): /,
  );
  await node.pass(120_000);
  assert.deepEqual([node.held, node.manager.state.lastError], [["10.244.0.0/16"], null]);
  const from = node.writes.length;
  node.tamper();
  await node.rest();
  assert.deepEqual([node.writes.length, node.manager.state.inPlace], [from + 1, true]);
});

test("rules that are not as they were written are an error, not a loop", async () => {
  const node = new Node();
  let writes = 0;
  Object.defineProperty(node, "held", { get: () => [], set: () => writes++ });
  await node.keep();
  assert.equal(node.manager.state.inPlace, false);
  assert.match(
    node.manager.state.lastError!,
    /^Traffic rules in nftables (are not as they were written just before|were put in place)/,
  );
  await node.pass(600_000);
  assert.ok(writes < 300, `${writes} writes in ten minutes`);
});

test("keep() replaces an earlier intent, also while that is being written", async () => {
  const node = new Node();
  let open = () => {};
  node.gate = new Promise((resolve) => open = resolve);
  await node.keep(SETTINGS, OTHER);
  await node.keep();
  assert.equal(node.manager.state.inPlace, false);
  node.gate = null;
  open();
  await node.rest();
  await node.pass(1_000);
  assert.deepEqual([node.held, node.manager.state.inPlace], [["10.244.0.0/16"], true]);
});

test("nothing is kept where nothing is wanted, and what was there goes", async () => {
  const node = new Node();
  await node.keep();
  await node.keep({ ...SETTINGS, forward: false });
  await node.pass(1_000);
  const { held, inPlace, clean } = node.manager.state;
  assert.deepEqual([node.held, held, inPlace, clean, node.nextTimer], [null, null, true, true, null]);
});

test("close() waits for what is under way, leaves the rules and looks no more", async () => {
  const node = new Node();
  await node.keep();
  await node.pass(1_000);
  let open = () => {};
  node.gate = new Promise((resolve) => open = resolve);
  node.tamper();
  let closed = false;
  const closing = node.manager.close().then(() => closed = true);
  await node.rest();
  assert.equal(closed, false);
  open();
  await closing;
  const { reads } = node;
  node.tamper();
  await node.keep();
  assert.deepEqual([node.subscribed, node.nextTimer, node.reads], [false, null, reads]);
});
