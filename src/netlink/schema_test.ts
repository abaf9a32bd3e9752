import assert from "node:assert/strict";
import { test } from "node:test";
import { type Seeded, withSeeds } from "../../test/seed.ts";
import { parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { messagesOf } from "./frame.ts";
import { ADDRESS, LINK, LINK_CONF, NEIGHBOUR, NETCONF, NEXTHOP, ROUTE, RTM } from "./rtnl.ts";
import { eachAttribute, findAttribute, message, nested } from "./schema.ts";
import { template } from "./template.ts";
import { flag, ip, text, u16, u32, u8, Writer } from "./wire.ts";

const MESSAGES = [ADDRESS, LINK, LINK_CONF, NEIGHBOUR, NETCONF, NEXTHOP, ROUTE];

/** A view that ends where its message ends, with memory of others on both sides. */
function viewOf(bytes: Uint8Array): DataView {
  const memory = new Uint8Array(bytes.length + 128).fill(0xee);
  memory.set(bytes, 64);
  return new DataView(memory.buffer, 64, bytes.length);
}

/** Attributes whose lengths are sometimes right. */
function randomAttributes(chance: Seeded, depth = 0): number[] {
  const bytes: number[] = [];
  for (let i = chance.below(6); i > 0; i--) {
    const inside = depth < 4 && chance.below(2) === 0
      ? randomAttributes(chance, depth + 1)
      : Array.from({ length: chance.of([0, 1, 2, 4, 6, 8, 16, 20]) }, () => chance.below(256));
    const length = chance.below(8) === 0 ? chance.below(0x10000) : inside.length + 4;
    bytes.push(length & 255, length >> 8, chance.below(33), chance.of([0, 0, 0x80, 0x40]), ...inside);
    while (bytes.length % 4 !== 0) bytes.push(chance.below(256));
  }
  return bytes;
}

test("random bytes are read to an end, never past their own", async () => {
  await withSeeds(50, (chance) => {
    for (let i = 0; i < 200; i++) {
      const bytes = Uint8Array.from({ length: chance.below(200) }, () => chance.below(chance.of([4, 32, 256])));
      // A DataView throws for what lies outside of it: a read past the end fails here.
      for (const each of MESSAGES) each.read(viewOf(bytes), 0, bytes.length);
    }
  });
});

test("random attributes, nested and with wrong lengths, are read to an end", async () => {
  await withSeeds(50, (chance) => {
    for (let i = 0; i < 200; i++) {
      const each = chance.of(MESSAGES);
      const bytes = Uint8Array.from([...new Array<number>(each.headerSize).fill(0), ...randomAttributes(chance)]);
      const cut = chance.below(3) === 0 ? bytes.slice(0, chance.below(bytes.length + 1)) : bytes;
      each.read(viewOf(cut), 0, cut.length);
    }
  });
});

test("what stands behind a message in its datagram is not read as a part of it", () => {
  const writer = new Writer();
  ROUTE.write(writer, { family: 2, dst: parseIp("10.0.0.0") });
  const length = writer.at;
  ROUTE.write(writer, { family: 2, gateway: parseIp("10.0.0.1") });
  const first = ROUTE.read(writer.view, 0, length)!;
  assert.equal(first.dst, "10.0.0.0");
  assert.equal(first.gateway, undefined);
});

test("random datagrams come to an end, and every message lies inside", async () => {
  await withSeeds(50, (chance) => {
    for (let i = 0; i < 100; i++) {
      const bytes = Uint8Array.from({ length: chance.below(400) }, () => chance.below(chance.of([2, 24, 256])));
      for (const { at, length, view } of messagesOf(bytes)) {
        assert.ok(at >= 16 && at + length <= bytes.length);
        eachAttribute(view, at, length, (_, start, size) => assert.ok(start >= at && start + size <= at + length));
      }
    }
  });
});

test("messages of a datagram are told apart, up to the first that is cut short", () => {
  const bytes = new Uint8Array(16 + 20 + 24);
  const view = new DataView(bytes.buffer);
  for (const [at, length, type] of [[0, 16, 3], [16, 18, 24], [36, 99, 25]] as const) {
    view.setUint32(at, length, true);
    view.setUint16(at + 4, type, true);
    view.setUint16(at + 6, 2, true);
    view.setUint32(at + 8, 0xffffff00 + type, true);
    view.setUint32(at + 12, 4242, true);
  }
  const found = messagesOf(bytes).map(({ type, flags, seq, port, at, length }) => ({ type, flags, seq, port, at, length }));
  assert.deepEqual(found, [
    { type: 3, flags: 2, seq: 0xffffff03, port: 4242, at: 16, length: 0 },
    { type: 24, flags: 2, seq: 0xffffff18, port: 4242, at: 32, length: 2 },
  ]);
  assert.deepEqual(messagesOf(new Uint8Array(64)), [], "a length of 0 is no message");
});

test("a table may hold any nesting; a flag inside it is kept", () => {
  const TABLE = message({ a: u8, b: u16 }, {
    outer: [7, nested({ inner: [1, nested({ on: [2, flag], name: [3, text], to: [4, ip] })] })],
  });
  const value = { a: 1, b: 2, outer: { inner: { on: true as const, name: "é", to: parseIp("::1") } } };
  const writer = new Writer(4);
  TABLE.write(writer, value);
  assert.deepEqual(TABLE.read(writer.view, 0, writer.at), value);
});

test("the last of two attributes with one number counts", () => {
  const TABLE = message({}, { id: [1, u32] });
  const writer = new Writer();
  TABLE.write(writer, { id: 1 });
  TABLE.write(writer, { id: 2 });
  assert.deepEqual(TABLE.read(writer.view, 0, writer.at), { id: 2 });
});

test("findAttribute() says where a value stands, or that there is none", () => {
  const writer = new Writer();
  ROUTE.write(writer, { family: 2, dst: parseIp("10.0.0.0"), nexthopId: 5 });
  assert.equal(findAttribute(writer.view, 12, writer.at - 12, 30), 24);
  assert.throws(() => findAttribute(writer.view, 12, writer.at - 12, 5), /There is no attribute 5/);
});

test("a template gives the same bytes as its table", async () => {
  const fixed = { family: 10, dstLength: 64, table: 254, protocol: 87, type: 1, prefSrc: parseIp("fd00::1") };
  const sample = { ...fixed, dst: parseCidr("fd00:1::/64"), nexthopId: 1 };
  const made = template(RTM.NEWROUTE, 0x600, ROUTE, sample, ["dst", "nexthopId"]);
  const row = { family: 7, state: 0x80, flags: 2, index: 5, lladdr: parseMac("02:00:00:00:00:01"), dst: parseIp("192.0.2.1") };
  const fdb = template(RTM.NEWNEIGH, 0x500, NEIGHBOUR, row, ["lladdr", "dst"]);
  await withSeeds(10, (chance) => {
    const [one, other] = [new Writer(), new Writer()];
    for (let i = 0; i < 100; i++) {
      const dst = parseCidr(`fd00:${chance.below(0x10000).toString(16)}:${chance.below(0x10000).toString(16)}::/64`);
      const id = chance.below(2 ** 32);
      made.with(dst, id).write(one);
      ROUTE.write(other, { ...fixed, dst, nexthopId: id });
      const [lladdr, remote] = [chance.mac(), parseIp(`10.${chance.below(256)}.0.${chance.below(256)}`)];
      fdb.with(lladdr, remote).write(one);
      NEIGHBOUR.write(other, { ...row, lladdr, dst: remote });
    }
    assert.deepEqual(one.bytes.subarray(0, one.at), other.bytes.subarray(0, other.at));
  });
});

test("a template refuses an attribute whose length varies", () => {
  assert.throws(
    () => template(RTM.NEWLINK, 0, LINK, { index: 1, name: "a", mtu: 9 }, ["mtu", "name"]),
    /The length of name varies too/,
  );
});
