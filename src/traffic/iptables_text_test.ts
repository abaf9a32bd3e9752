import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr } from "../model/ip.ts";
import { chainChange, CHAINS, parseSpec, plainRemoval, renderSpec, seenIn } from "./iptables_text.ts";
import { intentOf, type Rule } from "./rules.ts";

const [MASQ, FWD] = [CHAINS[0]!, CHAINS[1]!];
const RANGE = { network: parseCidr("10.244.0.0/16"), subnet: parseCidr("10.244.1.0/24") };
const OWN = [RANGE.network];
const RULES = intentOf({ masquerade: true, forward: true, fullyRandom: true, mode: "iptables", resync: 5 }, [RANGE]).families[0]!;
const REFILL = [":FLANNEL-POSTRTG - [0:0]", ...RULES.masquerade.map((rule) => `-A FLANNEL-POSTRTG ${renderSpec(rule, MASQ)}`)];
const JUMP = '-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG';
const SAVED = [":POSTROUTING ACCEPT [0:0]", ":FLANNEL-POSTRTG - [0:0]", JUMP, ...REFILL.slice(1)];

test("renderSpec() writes what parseSpec() reads", () => {
  for (const rule of [...RULES.masquerade, ...RULES.forward]) {
    const parsed = parseSpec(renderSpec(rule, MASQ));
    assert.deepEqual(parsed.rule, rule);
    assert.equal(parsed.comment, "flanneld masq");
  }
});

test("parseSpec() does not care for the order in which matches are printed", () => {
  const texts = [
    '-m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN',
    '-m comment --comment "flanneld masq" -m mark --mark 0x4000/0x4000 -j RETURN',
  ];
  for (const text of texts) assert.deepEqual(parseSpec(text).rule, RULES.masquerade[0]);
});

test("parseSpec() gives no rule for what says more or less than ours", () => {
  const strange = [
    "",
    "-s 10.244.0.0/16",
    "-p tcp -j RETURN",
    "-s 10.244.0.0/16 -o eth0 -j ACCEPT",
    "-s 10.244.0.0/255.0.255.0 -j ACCEPT",
    "-m mark ! --mark 0x4000/0x4000 -j RETURN",
    "-m mark --mark 0x4000 -j RETURN",
    "-m mark --mark 0x4000/0xffff -j RETURN",
    "-s 10.244.0.0/16 -j ACCEPT --random-fully",
    "-s 10.244.0.0/16 -j MASQUERADE --to-ports 1024-65535",
    "-s 10.244.0.0/16 -j MASQUERADE --random",
    "-s 10.244.0.0/16 -j DROP",
    "-s 10.244.0.0/16 -g ACCEPT",
    "-f -j ACCEPT",
  ];
  for (const text of strange) assert.equal(parseSpec(text).rule, null, text);
});

test("parseSpec() reads a comment with quotes and what follows it", () => {
  const parsed = parseSpec(String.raw`-s 10.244.0.0/16 -m comment --comment "a \"b\" -j DROP" -j ACCEPT`);
  assert.deepEqual([parsed.comment, parsed.target, parsed.rule?.verdict], ['a "b" -j DROP', "ACCEPT", "accept"]);
});

test("chainChange() writes nothing where all is right", () => {
  assert.deepEqual(chainChange(MASQ, seenIn(SAVED, MASQ), RULES.masquerade, OWN), []);
});

test("chainChange() adds the jump only where it is missing, and refills the chain only where it differs", () => {
  assert.deepEqual(chainChange(MASQ, { rules: null, jump: false }, RULES.masquerade, OWN), [...REFILL, JUMP]);
  const noJump = SAVED.filter((line) => line !== JUMP);
  assert.deepEqual(chainChange(MASQ, seenIn(noJump, MASQ), RULES.masquerade, OWN), [JUMP]);
  const foreign = [...SAVED, "-A FLANNEL-POSTRTG -s 10.0.0.1/32 -j ACCEPT"];
  assert.deepEqual(chainChange(MASQ, seenIn(foreign, MASQ), RULES.masquerade, OWN), REFILL);
  const commentless = SAVED.map((line) =>
    line.startsWith("-A FLANNEL-POSTRTG -s") ? line.replace('-m comment --comment "flanneld masq" ', "") : line
  );
  assert.deepEqual(chainChange(MASQ, seenIn(commentless, MASQ), RULES.masquerade, OWN), REFILL);
  const conditional = SAVED.map((line) => line === JUMP ? line.replace("-m comment", "-o eth0 -m comment") : line);
  assert.deepEqual(chainChange(MASQ, seenIn(conditional, MASQ), RULES.masquerade, OWN), [JUMP]);
});

test("chainChange() removes every jump before the chain that it leads to", () => {
  const jumps = ['-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG', "-o eth0 -j FLANNEL-POSTRTG"];
  assert.deepEqual(chainChange(MASQ, seenIn(SAVED, MASQ), [], OWN, jumps), [
    '-D POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
    "-D POSTROUTING -o eth0 -j FLANNEL-POSTRTG",
    "-F FLANNEL-POSTRTG",
    "-X FLANNEL-POSTRTG",
  ]);
  assert.deepEqual(chainChange(MASQ, { rules: null, jump: false }, [], OWN), []);
});

test("plainRemoval() deletes flannel's own rules as they are printed, with and without its comment", () => {
  const lines = [
    "-A FORWARD -s 10.244.0.0/16 -j ACCEPT",
    "-A FORWARD -s 10.9.0.0/16 -j ACCEPT",
    '-A FORWARD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT',
    '-A FORWARD -d 10.244.0.0/16 -m comment --comment "by hand" -j ACCEPT',
  ];
  assert.deepEqual(plainRemoval(FWD, lines, [RANGE]), [lines[0]!, lines[2]!].map((line) => line.replace("-A", "-D")));
});

test("parseSpec() takes any text without an error", () => {
  const words = [
    "-s",
    "-d",
    "!",
    "-m",
    "mark",
    "--mark",
    '"',
    "\\",
    "-j",
    "RETURN",
    "10.0.0.0/8",
    "--comment",
    "0x4000/0x4000",
    "x",
  ];
  let seed = 1;
  const next = () => seed = seed * 48271 % 2147483647;
  for (let i = 0; i < 5000; i++) {
    const text = Array.from({ length: next() % 10 }, () => words[next() % words.length]).join(" ");
    const { rule } = parseSpec(text);
    const again: Rule | null = rule === null ? null : parseSpec(renderSpec(rule, MASQ)).rule;
    assert.deepEqual(again, rule, text);
  }
});
