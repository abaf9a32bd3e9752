import assert from "node:assert/strict";
import { test } from "node:test";
import { CHAIN, GENERATION, NFT, RULE, TABLE, Transaction } from "./nftables.ts";
import type { Attributes, Fields, Message, Of } from "./schema.ts";
import { Writer } from "./wire.ts";

const [INET, IPV4, IPV6] = [1, 2, 10];

function event<F extends Fields, A extends Attributes>(type: number, message: Message<F, A>, value: Of<Message<F, A>>) {
  const writer = new Writer();
  message.write(writer, value);
  return { type, view: writer.view, at: 0, length: writer.at };
}

const end = (by?: { pid: number; name: string }) => event(NFT.NEWGEN, GENERATION, { ...by });

test("a transaction names each chain that it touched once, the tables, and who made it", () => {
  const transaction = new Transaction();
  const messages = [
    event(NFT.NEWTABLE, TABLE, { family: IPV4, table: "nat" }),
    event(NFT.NEWCHAIN, CHAIN, { family: IPV4, table: "nat", chain: "POSTROUTING" }),
    event(NFT.NEWRULE, RULE, { family: IPV4, table: "nat", chain: "POSTROUTING" }),
    event(NFT.DELRULE, RULE, { family: IPV6, table: "nat", chain: "POSTROUTING" }),
    event(NFT.DELCHAIN, CHAIN, { family: IPV6, table: "nat", chain: "POSTROUTING" }),
    event(NFT.DELTABLE, TABLE, { family: IPV6, table: "nat" }),
  ];
  for (const message of messages) assert.equal(transaction.take(message), null);
  assert.deepEqual(transaction.take(end({ pid: 4711, name: "iptables" })), {
    touched: [
      { family: "ip", table: "nat", chain: null },
      { family: "ip", table: "nat", chain: "POSTROUTING" },
      { family: "ip6", table: "nat", chain: "POSTROUTING" },
      { family: "ip6", table: "nat", chain: null },
    ],
    by: "iptables (4711)",
  });
});

test("a transaction of other families is nothing, one whose maker is not told has none, and each begins anew", () => {
  const transaction = new Transaction();
  transaction.take(event(NFT.NEWRULE, RULE, { family: INET, table: "filter", chain: "input" }));
  assert.equal(transaction.take(end({ pid: 1, name: "firewalld" })), null);
  transaction.take(event(NFT.DELRULE, RULE, { family: IPV4, table: "mine", chain: "c" }));
  assert.deepEqual(transaction.take(end()), { touched: [{ family: "ip", table: "mine", chain: "c" }], by: null });
  transaction.take(event(NFT.DELRULE, RULE, { family: IPV4, table: "mine", chain: "c" }));
  transaction.forget();
  assert.equal(transaction.take(end()), null);
});

test("messages that are too short, have no names or are of other kinds touch nothing", () => {
  const transaction = new Transaction();
  for (const type of [...Object.values(NFT), 9 | 10 << 8, 3]) {
    assert.equal(transaction.take({ type, view: new DataView(new ArrayBuffer(3)), at: 0, length: 3 }), null);
    assert.equal(transaction.take(event(type, TABLE, { family: IPV4 })), null);
  }
  assert.equal(transaction.take(end()), null);
});
