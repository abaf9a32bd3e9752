/**
 * Addresses and prefixes: what is accepted, how it is written, and the arithmetic held against big numbers.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { withSeeds } from "../../test/seed.ts";
import {
  bitsOf,
  type Cidr,
  cidrOf,
  compareCidrs,
  compareSpans,
  contains,
  familyOf,
  hostOf,
  type Ip,
  ipBytes,
  ipFromBytes,
  ipNumber,
  ipOf,
  isUnicastMac,
  lengthOf,
  linkLocalOf,
  macBytes,
  macFromBytes,
  networkOf,
  overlaps,
  parseCidr,
  parseIp,
  parseMac,
  plus,
  spanOf,
  tryParseIp,
  unusableAsPeer,
} from "./ip.ts";

const NOT_ADDRESSES = [
  ...["", " ", "1", "1.2", "1.2.3", "1.2.3.", ".1.2.3", "1..2.3", "1.2..3", "1.2.3.4.", "1.2.3.4.5", "...", "1.2.3.4/24"],
  ...["256.1.1.1", "1.2.3.256", "1.2.3.1000", "-1.2.3.4", "+1.2.3.4", "1.2.3.4e0", "0x10.1.1.1", "0b1.1.1.1", "1e1.1.1.1"],
  ...["01.2.3.4", "1.2.3.04", "00.0.0.0", " 1.2.3.4", "1.2.3.4 ", "1.2.3.4\n", "1. 2.3.4", "1.2.3.４", "١.2.3.4", "1,2,3,4"],
  ...[":", ":::", "::1::", "1::2::3", ":1", "1:", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8"],
  ...["fe80::1%eth0", "fe80::1%2", "[::1]", "::1/128", "12345::", "g::", "::0x1", "::-1", "::+1", ":: 1", "::1 ", "::1\n"],
  ...["::1.2.3", "::1.2.3.4.5", "::256.1.1.1", "::01.2.3.4", "1.2.3.4::", "::1.2.3.4:5", "1:2:3:4:5:6:7:1.2.3.4", "::1.2.3.4:"],
];

test("parseIp() refuses everything but strict text", () => {
  for (const text of NOT_ADDRESSES) {
    assert.throws(() => parseIp(text), { name: "SyntaxError", message: `"${text}" is not an IP address` }, JSON.stringify(text));
    assert.equal(tryParseIp(text), null);
  }
});

test("parseIp() writes addresses as RFC 5952 says", () => {
  const canonical: Readonly<Record<string, string>> = {
    "0.0.0.0": "0.0.0.0",
    "255.255.255.255": "255.255.255.255",
    "2001:DB8:0:0:0:0:0:1": "2001:db8::1", // 4.3 lower case
    "2001:0db8::0001": "2001:db8::1", // 4.1 leading zeros
    "2001:db8:0:0:0:0:2:1": "2001:db8::2:1", // 4.2.1 as short as can be
    "2001:db8::1:1:1:1:1": "2001:db8:0:1:1:1:1:1", // 4.2.2 not for one group
    "2001:0:0:1:0:0:0:1": "2001:0:0:1::1", // 4.2.3 the longest run
    "2001:db8:0:0:1:0:0:1": "2001:db8::1:0:0:1", // 4.2.3 the first of two
    "0:0:0:0:0:0:0:0": "::",
    "0:0:0:0:0:0:0:1": "::1",
    "1:0:0:0:0:0:0:0": "1::",
    "::ffff:1.2.3.4": "::ffff:1.2.3.4", // section 5
    "::FFFF:102:304": "::ffff:1.2.3.4",
    "64:ff9b::1.2.3.4": "64:ff9b::102:304",
    "1:2:3:4:5:6:1.2.3.4": "1:2:3:4:5:6:102:304",
    "::1.2.3.4": "::102:304",
    "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0",
    "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8",
  };
  for (const [text, expected] of Object.entries(canonical)) assert.equal(parseIp(text), expected, text);
});

test("an address is the same after bytes, number and text, and text is a fixed point", () =>
  withSeeds(2, (chance) => {
    for (let i = 0; i < 500; i++) {
      const bytes = Uint8Array.from({ length: chance.of([4, 16]) }, () => chance.of([0, 0, 0, 255, chance.below(256)]));
      const ip = ipFromBytes(bytes);
      assert.equal(parseIp(ip), ip);
      assert.deepEqual(ipBytes(ip), bytes);
      assert.equal(ipOf(ipNumber(ip), familyOf(ip)), ip);
      assert.equal(familyOf(ip), bytes.length === 4 ? 4 : 6);
      assert.equal(parseCidr(hostOf(ip)), hostOf(ip));
    }
  }));

test("parseCidr() clears host bits, and refuses malformed lengths", () => {
  const good: Readonly<Record<string, string>> = {
    "10.3.4.5/16": "10.3.0.0/16",
    "10.3.4.5/32": "10.3.4.5/32",
    "10.3.4.5/0": "0.0.0.0/0",
    "10.3.4.5/31": "10.3.4.4/31",
    "255.255.255.255/1": "128.0.0.0/1",
    "2001:db8:ffff::1/33": "2001:db8:8000::/33",
    "::1/128": "::1/128",
    "fd00::1/0": "::/0",
  };
  for (const [text, expected] of Object.entries(good)) assert.equal(parseCidr(text), expected, text);
  const bad = ["10.3.0.0", "10.3.0.0/", "/16", "10.3.0.0/33", "::/129", "10.3.0.0/-1", "10.3.0.0/+8", "10.3.0.0/08", "10.3.0.0/8 "];
  const worse = ["10.3.0.0/ 8", "10.3.0.0/8/8", "10.3/16", "10.3.0.0/1e1", "10.3.0.0/255.255.0.0", "::1%lo/64", "10.3.0.0\\16", ""];
  for (const text of [...bad, ...worse]) {
    assert.throws(() => parseCidr(text), { name: "SyntaxError", message: /is not an address prefix/ }, text);
  }
});

/** The first and the last address of a prefix, by number: what the arithmetic is held against. */
function span(cidr: Cidr): readonly [bigint, bigint] {
  const first = ipNumber(networkOf(cidr));
  return [first, first + (1n << BigInt(bitsOf(familyOf(cidr)) - lengthOf(cidr))) - 1n];
}

test("contains(), overlaps() and compareCidrs() agree with the numbers", () =>
  withSeeds(2, (chance) => {
    const all = Array.from({ length: 60 }, () => {
      const family = chance.of([4, 6] as const);
      const bytes = Uint8Array.from({ length: family === 4 ? 4 : 16 }, () => chance.of([10, 10, 10, 11, 138]));
      return cidrOf(ipFromBytes(bytes), chance.below(bitsOf(family) + 1));
    });
    for (const a of all) {
      for (const b of all) {
        const [[a0, a1], [b0, b1]] = [span(a), span(b)];
        const one = familyOf(a) === familyOf(b);
        assert.equal(contains(a, b), one && a0 <= b0 && b1 <= a1, `${a} contains ${b}`);
        assert.equal(contains(a, networkOf(b)), one && a0 <= b0 && b0 <= a1, `${a} contains ${networkOf(b)}`);
        assert.equal(overlaps(a, b), one && a0 <= b1 && b0 <= a1, `${a} overlaps ${b}`);
        const order = familyOf(a) - familyOf(b) || (a0 < b0 ? -1 : a0 > b0 ? 1 : lengthOf(a) - lengthOf(b));
        assert.equal(Math.sign(compareCidrs(a, b)), Math.sign(order), `${a} before ${b}`);
        const [left, right] = [spanOf(a), spanOf(b)];
        assert.equal(Math.sign(compareSpans(left, right)), Math.sign(order), `${a} before ${b}, as spans`);
        assert.equal(left.first <= right.last && right.first <= left.last, overlaps(a, b), `${a} overlaps ${b}, as spans`);
      }
    }
  }));

test("plus() and ipOf() stay inside the family", () => {
  assert.equal(plus(parseIp("10.255.255.255"), 1), "11.0.0.0");
  assert.equal(plus(parseIp("fd00::ffff"), 1n), "fd00::1:0");
  assert.equal(plus(parseIp("10.0.0.1"), -1), "10.0.0.0");
  assert.throws(() => plus(parseIp("255.255.255.255"), 1), RangeError);
  assert.throws(() => plus(parseIp("::"), -1), RangeError);
  assert.throws(() => ipOf(1n << 128n, 6), RangeError);
});

test("parseMac() reads six pairs of digits and nothing else", () => {
  assert.equal(parseMac("0A-58-AC-10-00-01"), "0a:58:ac:10:00:01");
  assert.equal(macFromBytes(macBytes(parseMac("00:01:0f:f0:ff:10"))), "00:01:0f:f0:ff:10");
  const bad = [
    "",
    "0a:58:ac:10:00",
    "0a:58:ac:10:00:01:02:03",
    "0a58ac100001",
    "0a:58:ac:10:00:0g",
    "a:58:ac:10:00:01",
    " 0a:58:ac:10:00:01",
  ];
  for (const text of [...bad, "0a:58:ac:10:00:01\n", "0a.58.ac.10.00.01", "0a58.ac10.0001"]) {
    assert.throws(() => parseMac(text), { name: "SyntaxError", message: /is not a 48-bit MAC address/ }, text);
  }
});

test("isUnicastMac() is false for group addresses and for none", () => {
  for (const mac of ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01", "00:00:00:00:00:00"]) {
    assert.equal(isUnicastMac(parseMac(mac)), false, mac);
  }
  for (const mac of ["02:00:00:00:00:00", "00:00:00:00:00:01", "fe:ff:ff:ff:ff:ff"]) assert.ok(isUnicastMac(parseMac(mac)), mac);
});

test("linkLocalOf() inverts the universal bit and puts ff:fe in the middle", () => {
  assert.equal(linkLocalOf(parseMac("02:00:00:00:00:01")), "fe80::ff:fe00:1");
  assert.equal(linkLocalOf(parseMac("34:56:78:9a:bc:de")), "fe80::3656:78ff:fe9a:bcde"); // RFC 2464, section 5
});

test("unusableAsPeer() names what an address is for, at the edges of every range", () => {
  const unusable: Readonly<Record<string, RegExp>> = {
    "0.0.0.0": /unspecified/,
    "0.255.255.255": /unspecified/,
    "127.0.0.1": /loopback/,
    "127.255.255.255": /loopback/,
    "224.0.0.0": /multicast/,
    "239.255.255.255": /multicast/,
    "240.0.0.0": /reserved/,
    "255.255.255.255": /broadcast/,
    "::": /unspecified/,
    "::1": /loopback/,
    "::ffff:10.0.0.1": /IPv4-mapped/,
    "fe80::1": /link-local/,
    "febf::1": /link-local/,
    "ff00::": /multicast/,
    "ff02::1": /multicast/,
  };
  for (const [ip, why] of Object.entries(unusable)) assert.match(unusableAsPeer(parseIp(ip))!, why, ip);
  for (
    const ip of [
      "1.0.0.0",
      "126.255.255.255",
      "128.0.0.0",
      "223.255.255.255",
      "10.0.0.1",
      "::2",
      "fec0::1",
      "2001:db8::1",
      "fd00::1",
    ]
  ) {
    assert.equal(unusableAsPeer(parseIp(ip) as Ip), null, ip);
  }
});
