import assert from "node:assert/strict";
import { test } from "node:test";
import { type Seeded, seeded, withSeeds } from "../../test/seed.ts";
import { cidrOf, type Ip, ipBytes, ipFromBytes, parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { be16, type Field, flag, i32, ip, mac, prefix, text, u16, u32, u8, type Wire, Writer } from "./wire.ts";

function written<T>(type: Wire<T>, value: T): Uint8Array {
  const writer = new Writer(4);
  type.write(writer, value);
  return writer.bytes.slice(0, writer.at);
}

function read<T>(type: Wire<T>, bytes: Uint8Array, length = bytes.length): T | undefined {
  return type.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, length);
}

/** An IPv6 address with zero groups in many places, so that `::` stands everywhere it can. */
function ipv6(chance: Seeded): Ip {
  const bytes = new Uint8Array(16);
  const mask = chance.below(256);
  for (let group = 0; group < 8; group++) {
    if ((mask >> group & 1) === 0) continue;
    const value = chance.below(4) === 0 ? chance.below(16) : chance.below(0x10000);
    bytes.set([value >> 8, value & 255], 2 * group);
  }
  if (chance.below(8) === 0) bytes.set([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]); // IPv4-mapped, written with dots
  return ipFromBytes(bytes);
}

test("every IPv6 address is written as the model reads it", async () => {
  await withSeeds(20, (chance) => {
    const writer = new Writer();
    for (let i = 0; i < 2000; i++) {
      const address = ipv6(chance);
      writer.at = 0;
      writer.bytes.fill(0xa5, 0, 32); // what an earlier message left
      ip.write(writer, address);
      assert.deepEqual(writer.bytes.slice(0, 16), ipBytes(address), address);
      assert.equal(read(ip, writer.bytes.slice(0, 16)), address);
    }
  });
});

test("every pattern of zero groups in an IPv6 address is written right", () => {
  for (let mask = 0; mask < 256; mask++) {
    const address = ipFromBytes(Uint8Array.from({ length: 16 }, (_, i) => mask >> (i >> 1) & 1));
    assert.deepEqual(written(ip, address), ipBytes(address), address);
  }
});

test("every prefix of either family is written as its address", async () => {
  await withSeeds(5, (chance) => {
    for (let i = 0; i < 500; i++) {
      const long = cidrOf(ipv6(chance), chance.below(129));
      assert.deepEqual(written(prefix, long), ipBytes(long.split("/")[0] as Ip), long);
      const short = cidrOf(ipFromBytes(Uint8Array.from({ length: 4 }, () => chance.below(256))), chance.below(33));
      assert.deepEqual(written(prefix, short), ipBytes(short.split("/")[0] as Ip), short);
    }
  });
});

test("put() writes over an address in a copy of a message, whatever stood there", () => {
  const writer = new Writer(64);
  writer.reserve(64);
  writer.bytes.fill(0xff);
  for (const address of ["::", "::1", "fe80::ff:fe00:1", "::ffff:192.0.2.1", "1:2:3:4:5:6:7:8"].map(parseIp)) {
    ip.put!(writer, 20, address);
    assert.deepEqual(writer.bytes.slice(20, 36), ipBytes(address));
  }
  ip.put!(writer, 40, parseIp("255.254.0.1"));
  prefix.put!(writer, 44, parseCidr("10.244.0.0/16"));
  mac.put!(writer, 48, parseMac("0f:a9:b8:c7:d6:e5"));
  assert.deepEqual([...writer.bytes.slice(36)], [
    255,
    255,
    255,
    255,
    255,
    254,
    0,
    1,
    10,
    244,
    0,
    0,
    0x0f,
    0xa9,
    0xb8,
    0xc7,
    0xd6,
    0xe5,
    ...new Array<number>(10).fill(255),
  ]);
});

test("IPv4 and MAC addresses come back as they were", () => {
  for (const address of ["0.0.0.0", "255.255.255.255", "10.244.1.0", "9.19.199.200"].map(parseIp)) {
    assert.deepEqual(written(ip, address), ipBytes(address));
    assert.equal(read(ip, ipBytes(address)), address);
  }
  for (const address of ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "0a:1b:2c:3d:4e:5f"].map(parseMac)) {
    assert.equal(read(mac, written(mac, address).slice(0, 6)), address);
  }
});

test("numbers keep their order of bytes, their sign and their limits", () => {
  const cases: [Field, number, number[]][] = [
    [u8, 255, [255, 0, 0, 0]],
    [u16, 0x1234, [0x34, 0x12, 0, 0]],
    [be16, 8472, [0x21, 0x18, 0, 0]],
    [u32, 0xfedcba98, [0x98, 0xba, 0xdc, 0xfe]],
    [i32, -2, [0xfe, 0xff, 0xff, 0xff]],
  ];
  for (const [type, value, bytes] of cases) {
    assert.deepEqual([...written(type, value)], bytes);
    assert.equal(read(type, Uint8Array.from(bytes), type.size), value);
    for (let length = 0; length <= 8; length++) {
      if (length !== type.size) assert.equal(read(type, new Uint8Array(8), length), undefined);
    }
  }
});

test("a text ends at its first zero, or with its attribute", () => {
  assert.equal(read(text, Uint8Array.of(0x61, 0x62, 0, 0x63)), "ab");
  assert.equal(read(text, Uint8Array.of(0x61, 0x62)), "ab");
  assert.equal(read(text, new Uint8Array(0)), "");
  assert.deepEqual([...written(text, "äb")], [0xc3, 0xa4, 0x62, 0]);
  assert.deepEqual([...written(text, "abcd")], [0x61, 0x62, 0x63, 0x64, 0, 0, 0, 0]);
});

test("a flag is there or not", () => {
  assert.equal(read(flag, new Uint8Array(0)), true);
  assert.equal(written(flag, true).length, 0);
});

test("a writer that grows keeps what it holds, and pads with zeros over what was there", () => {
  const writer = new Writer(8);
  for (let i = 0; i < 1000; i++) u32.write(writer, i);
  for (let i = 0; i < 1000; i++) assert.equal(writer.view.getUint32(4 * i, true), i);
  writer.at = 0;
  u8.write(writer, 1);
  assert.deepEqual([...writer.bytes.slice(0, 4)], [1, 0, 0, 0]);
  const [odd] = [seeded(1).below(3) + 1];
  writer.bytes.fill(0xff);
  writer.at = 0;
  writer.reserve(odd);
  assert.deepEqual([...writer.bytes.slice(odd, 4)], new Array<number>(4 - odd).fill(0));
});
