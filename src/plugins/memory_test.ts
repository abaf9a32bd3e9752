/**
 * What a plugin is asked and when, and which answer counts until the next one comes.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import type { PeerAnswer } from "../model/backend_port.ts";
import { type Cidr, type Ip, parseMac } from "../model/ip.ts";
import { macsOf, peerOf, sideOf } from "./check/world.ts";
import { Memory } from "./memory.ts";
import type { BatchAnswer, PeerSaid, Said } from "./protocol.ts";

const side = sideOf(1, 4, 1450, null);

function memory() {
  const log: string[] = [];
  const chosen: string[] = [];
  let asked = 0;
  const macs = { ...macsOf(() => 1), choose: (link: string, mac: string) => void chosen.push(`${link} ${mac}`) };
  const it = new Memory({ name: "mine", macs, log: (level, line) => log.push(`${level} ${line}`), asked: () => asked++ });
  it.links = ["mine0"];
  return { it, log, chosen, asked: () => asked };
}

function routeTo(subnet: Cidr, via: Ip, path = "mine"): Said<PeerSaid> {
  return {
    value: {
      path,
      items: [{ kind: "route", dst: subnet, to: { via, link: "eth0", onlink: false }, src: null }],
      state: "planned",
      reason: null,
    },
  };
}

const NOTHING: BatchAnswer = { mtu: null, publish: [], node: [], peers: [], chosen: [] };
const pathOf = ({ path, state, reason }: PeerAnswer) => `${path} ${state} ${reason}`;

test("questions of one plan go together, each once, and are answered by the plugin's words", () => {
  const { it, chosen, asked } = memory();
  const [two, three] = [peerOf(2, 4, "two"), peerOf(3, 4, "three")];
  assert.equal(it.mtu(1500, [4]), null);
  assert.equal(it.publish(side), null);
  assert.equal(it.node(side), null);
  assert.equal(pathOf(it.peer(two, side)), "none pending backend mine has not answered yet");
  it.peer(two, side);
  it.peer(three, side);
  assert.ok(it.curious && asked() > 0);
  const { questions, batch } = it.ask();
  assert.equal(it.curious, false);
  assert.deepEqual(batch.peers.map(({ peer, side, onLink }) => [peer.data, side, onLink]), [["two", 0, "eth0"], [
    "three",
    0,
    "eth0",
  ]]);
  assert.equal(JSON.stringify(batch), JSON.stringify(structuredClone(batch)), "it can be sent");
  const mac = parseMac("02:00:00:00:00:01");
  it.take(questions, {
    mtu: { value: 1400 },
    publish: [{ value: { key: 1 } }],
    node: [{ value: [{ kind: "reverse-path", link: "eth0" }] }],
    peers: [routeTo(two.subnet, two.publicIp), { error: "boom" }],
    chosen: [["mine0", mac]],
  });
  assert.equal(it.mtu(1500, [4]), 1400);
  assert.deepEqual(it.publish(side), { data: { key: 1 } });
  assert.equal(it.node(side)!.length, 1);
  assert.equal(pathOf(it.peer(two, side)), "mine planned null");
  assert.equal(pathOf(it.peer(three, side)), "none pending backend mine failed for it: boom");
  assert.equal(it.peer(two, side), it.peer(peerOf(2, 4, "two"), sideOf(1, 4, 1450, null)), "the same question in other words");
  assert.deepEqual([it.curious, it.problem, chosen], [false, null, [`mine0 ${mac}`]]);
});

test("until a changed question is answered the last answer counts, also if the old question is answered meanwhile", () => {
  const { it } = memory();
  const answer = (questions: ReturnType<Memory["ask"]>["questions"], path: string) =>
    it.take(questions, {
      ...NOTHING,
      peers: [...questions.peers.values()].map(({ peer }) => routeTo(peer.subnet, peer.publicIp, path)),
    });
  it.peer(peerOf(2, 4, "first"), side);
  answer(it.ask().questions, "one");
  assert.equal(it.peer(peerOf(2, 4, "second"), side).path, "one");
  const second = it.ask().questions;
  assert.equal(it.peer(peerOf(2, 4, "third"), side).path, "one");
  answer(second, "two");
  assert.equal(it.peer(peerOf(2, 4, "third"), side).path, "two");
  assert.equal(it.curious, true, "the third has not been answered");
  answer(it.ask().questions, "three");
  assert.deepEqual([it.peer(peerOf(2, 4, "third"), side).path, it.curious], ["three", false]);
  it.peer(peerOf(2, 4, "fourth"), side);
  it.peer(peerOf(2, 4, "third"), side);
  assert.equal(it.curious, false, "what was answered need not be asked");
});

test("questions that were not answered come again, unless they have changed or their peers are gone", () => {
  const { it } = memory();
  for (const n of [2, 3, 4]) it.peer(peerOf(n, 4, "old"), side);
  it.node(side);
  const { questions } = it.ask();
  it.peer(peerOf(3, 4, "new"), side);
  it.forget([peerOf(4, 4, null).subnet]);
  it.putBack(questions);
  const { batch } = it.ask();
  assert.deepEqual(batch.peers.map(({ peer }) => peer.data).sort(), ["new", "old"]);
  assert.equal(batch.node.length, 1);
});

test("what is wrong with the node's answers is a problem until it is right, and is told once", () => {
  const { it, log } = memory();
  const other = sideOf(1, 4, 1400, null);
  const said = (asked: typeof side, answer: BatchAnswer["node"][number]) => {
    it.node(asked);
    it.take(it.ask().questions, { ...NOTHING, node: [answer] });
  };
  said(side, { error: "boom" });
  assert.deepEqual([it.problem, it.node(side), it.curious], ["its node() failed: boom", null, false]);
  said(other, { error: "boom" });
  assert.deepEqual(log, ["error backend mine: its node() failed: boom"]);
  said(side, { value: [{ kind: "reverse-path", link: "eth9" }] as never });
  assert.match(it.problem!, /its node\(\) failed: boom|node\(\) answers what it may not/);
  said(sideOf(1, 4, 1300, null), { value: [] });
  assert.equal(it.problem, null);
});
