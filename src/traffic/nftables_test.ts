import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr } from "../model/ip.ts";
import type { Run } from "./command.ts";
import { nftSteps, parseTable } from "./nftables.ts";
import { type FamilyRules, intentOf } from "./rules.ts";

const RANGE = { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") };
const OWN = [RANGE.network];
const SETTINGS = { masquerade: true, forward: true, fullyRandom: true, mode: "nftables", resync: 5 } as const;
const WANTED = intentOf(SETTINGS, [RANGE]).families[0]!;
const NOTHING: FamilyRules = { family: 4, masquerade: [], forward: [] };

const prefix = (addr: string, len: number) => ({ prefix: { addr, len } });
const address = (name: string, op: string, right: unknown) => ({
  match: { op, left: { payload: { protocol: "ip", field: name } }, right },
});
const [N, S] = [prefix("10.244.0.0", 16), prefix("10.244.1.0", 24)];
const mark = { match: { op: "==", left: { "&": [{ meta: { key: "mark" } }, 16384] }, right: 16384 } };
const masquerade = { masquerade: { flags: "fully-random" } };
const table = { table: { family: "ip", name: "flannel-ipv4", handle: 1 } };
const chain = (name: string, more: object) => ({ chain: { family: "ip", table: "flannel-ipv4", name, handle: 1, ...more } });
const postrtg = chain("postrtg", { type: "nat", hook: "postrouting", prio: 100, policy: "accept" });
const forward = chain("forward", { type: "filter", hook: "forward", prio: 0, policy: "accept" });
const rule = (name: string, expr: unknown[], more = {}) => ({
  rule: { family: "ip", table: "flannel-ipv4", chain: name, handle: 2, expr, ...more },
});
const POSTRTG = [
  rule("postrtg", [mark, { return: null }]),
  rule("postrtg", [address("saddr", "==", S), address("daddr", "==", N), { return: null }]),
  rule("postrtg", [address("saddr", "==", N), address("daddr", "==", S), { return: null }]),
  rule("postrtg", [address("saddr", "!=", N), address("daddr", "==", S), { return: null }]),
  rule("postrtg", [address("saddr", "==", N), address("daddr", "!=", prefix("224.0.0.0", 4)), masquerade]),
  rule("postrtg", [address("saddr", "!=", N), address("daddr", "==", N), masquerade]),
];
const FORWARD = [
  rule("forward", [address("saddr", "==", N), { accept: null }]),
  rule("forward", [address("daddr", "==", N), { accept: null }]),
];
/** What nft 1.0.6 prints of our table when all is right. */
const RIGHT = [{ metainfo: { version: "1.0.6", json_schema_version: 1 } }, table, postrtg, forward, ...POSTRTG, ...FORWARD];

const FILL_FORWARD = [
  'add chain ip flannel-ipv4 forward { type filter hook forward priority filter; policy accept; comment "chain to accept flannel traffic"; }',
  "add rule ip flannel-ipv4 forward ip saddr 10.244.0.0/16 accept",
  "add rule ip flannel-ipv4 forward ip daddr 10.244.0.0/16 accept",
];
const ADD_TABLE = 'add table ip flannel-ipv4 { comment "rules for flannel-ipv4"; }';

/** The lines that nft would be given where it prints these objects, or where there is no such table. */
async function linesFor(objects: readonly unknown[] | null, wanted: FamilyRules = WANTED): Promise<string[]> {
  const run: Run = (argv, stdin) => {
    assert.deepEqual([argv, stdin], [["nft", "-j", "list", "table", "ip", "flannel-ipv4"], ""]);
    if (objects !== null) return Promise.resolve({ status: 0, stdout: JSON.stringify({ nftables: objects }), stderr: "" });
    return Promise.resolve({ status: 1, stdout: "", stderr: "Error: No such file or directory\nlist table ip flannel-ipv4\n" });
  };
  const steps = await nftSteps(run, wanted, OWN);
  assert.ok(steps.length <= 1, "one transaction");
  return steps.flatMap(({ stdin }) => stdin.trimEnd().split("\n"));
}

test("nftSteps() writes nothing where all is right", async () => {
  assert.deepEqual(await linesFor(RIGHT), []);
});

test("nftSteps() makes table, chains and rules where there is nothing", async () => {
  assert.deepEqual(await linesFor(null), [
    ADD_TABLE,
    'add chain ip flannel-ipv4 postrtg { type nat hook postrouting priority srcnat; policy accept; comment "chain to manage traffic masquerading by flannel"; }',
    "add rule ip flannel-ipv4 postrtg meta mark & 0x4000 == 0x4000 return",
    "add rule ip flannel-ipv4 postrtg ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return",
    "add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return",
    "add rule ip flannel-ipv4 postrtg ip saddr != 10.244.0.0/16 ip daddr 10.244.1.0/24 return",
    "add rule ip flannel-ipv4 postrtg ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
    "add rule ip flannel-ipv4 postrtg ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random",
    ...FILL_FORWARD,
  ]);
});

test("nftSteps() flushes and refills a chain that differs in anything, and only that", async () => {
  const refill = [ADD_TABLE, "flush chain ip flannel-ipv4 forward", ...FILL_FORWARD];
  const start = [table, postrtg, forward, ...POSTRTG];
  const [from, to] = [FORWARD[0]!, FORWARD[1]!];
  const wrong = [
    [],
    [from],
    [to, from],
    [from, to, to],
    [from, rule("forward", [address("daddr", "==", N), { drop: null }])],
    [from, rule("forward", [address("daddr", "==", N), { counter: { packets: 0, bytes: 0 } }, { accept: null }])],
    [from, rule("forward", [address("daddr", "==", N), { accept: null }], { comment: "x" })],
    [from, rule("forward", [address("daddr", "==", { set: ["10.244.0.0"] }), { accept: null }])],
    [from, rule("forward", [address("daddr", "<", N), { accept: null }])],
    [from, rule("forward", [mark, address("daddr", "==", N), { accept: null }])],
  ];
  for (const rules of wrong) assert.deepEqual(await linesFor([...start, ...rules]), refill, JSON.stringify(rules));
});

test("nftSteps() makes a chain anew that hangs elsewhere or drops", async () => {
  const anew = [ADD_TABLE, "flush chain ip flannel-ipv4 forward", "delete chain ip flannel-ipv4 forward", ...FILL_FORWARD];
  for (const wrong of [{ policy: "drop" }, { prio: 10 }, { hook: "input" }, { type: "nat" }]) {
    const broken = chain("forward", { ...forward.chain, ...wrong });
    assert.deepEqual(await linesFor([table, postrtg, broken, ...POSTRTG, ...FORWARD]), anew);
  }
  assert.deepEqual(await linesFor([table, postrtg, chain("forward", {}), ...POSTRTG, ...FORWARD]), anew);
});

test("nftSteps() wakes a table that sleeps", async () => {
  const asleep = { table: { ...table.table, flags: "dormant" } };
  assert.deepEqual(await linesFor([asleep, postrtg, forward, ...POSTRTG, ...FORWARD]), [ADD_TABLE]);
});

test("nftSteps() removes the chain that is not wanted, and the table with the last one", async () => {
  const onlyForward = intentOf({ ...SETTINGS, masquerade: false }, [RANGE]).families[0]!;
  assert.deepEqual(await linesFor(RIGHT, onlyForward), [
    ADD_TABLE,
    "flush chain ip flannel-ipv4 postrtg",
    "delete chain ip flannel-ipv4 postrtg",
  ]);
  assert.deepEqual(await linesFor(RIGHT, NOTHING), ["delete table ip flannel-ipv4"]);
  assert.deepEqual(await linesFor([table], NOTHING), ["delete table ip flannel-ipv4"]);
  assert.deepEqual(await linesFor(null, NOTHING), []);
});

test("nftSteps() reads masquerade flags as a word or a list", async () => {
  const listed = JSON.parse(JSON.stringify(RIGHT).replaceAll('"fully-random"', '["fully-random"]'));
  assert.deepEqual(await linesFor(listed), []);
  const two = JSON.parse(JSON.stringify(RIGHT).replaceAll('"fully-random"', '["fully-random","persistent"]'));
  assert.notDeepEqual(await linesFor(two), []);
});

test("nftSteps() says what is missing and what nft said", async () => {
  await assert.rejects(nftSteps(() => Promise.resolve(null), WANTED, OWN), {
    message: 'Cannot read table ip flannel-ipv4: there is no program "nft"; install it',
  });
  const refused = { status: 1, stdout: "", stderr: "# Warning: x\nOperation not permitted (you must be root)\n" };
  await assert.rejects(nftSteps(() => Promise.resolve(refused), WANTED, OWN), {
    message: "Cannot read table ip flannel-ipv4: nft ended with 1: Operation not permitted (you must be root)",
  });
});

test("parseTable() takes any JSON and never throws anything but SyntaxError", () => {
  for (const text of ["", "{", "[]", "null", '{"nftables":{}}', "7"]) assert.throws(() => parseTable(text, "ip"), SyntaxError);
  const parts = [null, 1, "x", [], {}, { expr: null }, { expr: [null, 3, {}] }, { chain: 1 }, {
    rule: { chain: "forward", expr: [7] },
  }];
  for (const a of parts) {
    for (const b of parts) {
      const objects = [
        forward,
        a,
        { chain: b },
        { table: a },
        { rule: b },
        rule("forward", [{ match: a }, { match: { left: b } }, b]),
      ];
      const seen = parseTable(JSON.stringify({ nftables: objects }), "ip");
      assert.ok(seen.chains.get("forward")?.rules.every((rule) => rule === null));
    }
  }
});
