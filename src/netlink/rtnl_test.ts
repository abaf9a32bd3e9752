/**
 * Each message against bytes written by hand from the kernel's C structs, in both directions.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { ADDRESS, LINK, LINK_CONF, NEIGHBOUR, NETCONF, NEXTHOP, ROUTE } from "./rtnl.ts";
import type { Attributes, Fields, Message, Of } from "./schema.ts";
import { Writer } from "./wire.ts";

/** Bytes of hexadecimal text; what stands behind `;` is for the reader. */
function bytesOf(text: string): Uint8Array {
  const digits = text.replace(/;.*$/gm, "").replace(/\s/g, "");
  return Uint8Array.from({ length: digits.length / 2 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16));
}

function hexOf(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

function written<F extends Fields, A extends Attributes>(message: Message<F, A>, value: Of<Message<F, A>>): string {
  const writer = new Writer(16); // so small that it has to grow
  message.write(writer, value);
  return hexOf(writer.bytes.subarray(0, writer.at));
}

function read<F extends Fields, A extends Attributes>(message: Message<F, A>, bytes: Uint8Array): Of<Message<F, A>> | null {
  return message.read(new DataView(bytes.buffer, bytes.byteOffset, bytes.length), 0, bytes.length);
}

/** Declares that a value and its bytes stand for each other. */
function both<F extends Fields, A extends Attributes>(
  name: string,
  message: Message<F, A>,
  value: Of<Message<F, A>>,
  text: string,
): void {
  test(`${name} is written and read byte by byte`, () => {
    const bytes = bytesOf(text);
    assert.equal(written(message, value), hexOf(bytes));
    assert.deepEqual(read(message, bytes), value);
  });
}

both(
  "a vxlan device over IPv4",
  LINK,
  {
    family: 0,
    pad: 0,
    deviceType: 0,
    index: 0,
    flags: 1,
    change: 1,
    address: parseMac("02:11:22:33:44:55"),
    name: "flannel.1",
    mtu: 1450,
    txQueueLength: 0,
    linkInfo: {
      kind: "vxlan",
      data: {
        id: 0x123456,
        local: parseIp("192.0.2.1"),
        ttl: 0,
        tos: 0,
        learning: 1,
        proxy: 0,
        rsc: 0,
        l2miss: 0,
        l3miss: 0,
        port: 8472,
        zeroCsumTx: 0,
        zeroCsumRx: 0,
        gbp: true,
      },
    },
  },
  `00 00 00 00  00 00 00 00  01 00 00 00  01 00 00 00  ; ifi_family, pad, ifi_type; ifi_index; ifi_flags; ifi_change
   0a 00 01 00  02 11 22 33 44 55 00 00                ; IFLA_ADDRESS, padded
   0e 00 03 00  66 6c 61 6e 6e 65 6c 2e 31 00 00 00    ; IFLA_IFNAME "flannel.1"
   08 00 04 00  aa 05 00 00                            ; IFLA_MTU
   08 00 0d 00  00 00 00 00                            ; IFLA_TXQLEN
   78 00 12 00                                         ; IFLA_LINKINFO, 120 bytes
   0a 00 01 00  76 78 6c 61 6e 00 00 00                ; IFLA_INFO_KIND "vxlan"
   68 00 02 00                                         ; IFLA_INFO_DATA, 104 bytes
   08 00 01 00  56 34 12 00                            ; IFLA_VXLAN_ID
   08 00 04 00  c0 00 02 01                            ; IFLA_VXLAN_LOCAL
   05 00 05 00  00 00 00 00                            ; IFLA_VXLAN_TTL
   05 00 06 00  00 00 00 00                            ; IFLA_VXLAN_TOS
   05 00 07 00  01 00 00 00                            ; IFLA_VXLAN_LEARNING
   05 00 0b 00  00 00 00 00                            ; IFLA_VXLAN_PROXY
   05 00 0c 00  00 00 00 00                            ; IFLA_VXLAN_RSC
   05 00 0d 00  00 00 00 00                            ; IFLA_VXLAN_L2MISS
   05 00 0e 00  00 00 00 00                            ; IFLA_VXLAN_L3MISS
   06 00 0f 00  21 18 00 00                            ; IFLA_VXLAN_PORT, in network order
   05 00 13 00  00 00 00 00                            ; IFLA_VXLAN_UDP_ZERO_CSUM6_TX
   05 00 14 00  00 00 00 00                            ; IFLA_VXLAN_UDP_ZERO_CSUM6_RX
   04 00 17 00                                         ; IFLA_VXLAN_GBP`,
);

both(
  "a vxlan device over IPv6",
  LINK,
  {
    family: 0,
    pad: 0,
    deviceType: 1,
    index: -1,
    flags: 0x11043,
    change: 0,
    operationalState: 6,
    linkInfo: { kind: "vxlan", data: { id: 1, link: 2, local6: parseIp("2001:db8::1") } },
    extMask: 8,
  },
  `00 00 01 00  ff ff ff ff  43 10 01 00  00 00 00 00
   05 00 10 00  06 00 00 00                            ; IFLA_OPERSTATE
   38 00 12 00  0a 00 01 00  76 78 6c 61 6e 00 00 00   ; IFLA_LINKINFO, IFLA_INFO_KIND
   28 00 02 00                                         ; IFLA_INFO_DATA
   08 00 01 00  01 00 00 00                            ; IFLA_VXLAN_ID
   08 00 03 00  02 00 00 00                            ; IFLA_VXLAN_LINK
   14 00 11 00  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 01 ; IFLA_VXLAN_LOCAL6
   08 00 1d 00  08 00 00 00                            ; IFLA_EXT_MASK`,
);

both(
  "a reverse-path filter",
  LINK,
  { family: 0, pad: 0, deviceType: 0, index: 3, flags: 0, change: 0, afSpec: { inet: { conf: { rpFilter: 2 } } } },
  `00 00 00 00  03 00 00 00  00 00 00 00  00 00 00 00
   14 00 1a 00  10 00 02 00  0c 00 01 00  08 00 08 00  02 00 00 00 ; IFLA_AF_SPEC, AF_INET, IFLA_INET_CONF, IPV4_DEVCONF_RP_FILTER`,
);

both(
  "an IPv4 address",
  ADDRESS,
  {
    family: 2,
    prefixLength: 32,
    flags8: 0x80,
    scope: 0,
    index: 5,
    address: parseIp("10.244.1.0"),
    local: parseIp("10.244.1.0"),
    flags: 0x80,
  },
  `02 20 80 00  05 00 00 00                             ; ifa_family, ifa_prefixlen, ifa_flags, ifa_scope; ifa_index
   08 00 01 00  0a f4 01 00                             ; IFA_ADDRESS
   08 00 02 00  0a f4 01 00                             ; IFA_LOCAL
   08 00 08 00  80 00 00 00                             ; IFA_FLAGS`,
);

both(
  "an IPv6 address",
  ADDRESS,
  { family: 10, prefixLength: 128, flags8: 0, scope: 253, index: 5, address: parseIp("fe80::1") },
  `0a 80 00 fd  05 00 00 00
   14 00 01 00  fe 80 00 00 00 00 00 00 00 00 00 00 00 00 00 01`,
);

both(
  "a route with a gateway",
  ROUTE,
  {
    family: 2,
    dstLength: 24,
    srcLength: 0,
    tos: 0,
    table: 254,
    protocol: 87,
    scope: 0,
    type: 1,
    flags: 4,
    dst: parseIp("10.244.2.0"),
    oif: 7,
    gateway: parseIp("10.244.2.0"),
    prefSrc: parseIp("10.244.1.0"),
  },
  `02 18 00 00  fe 57 00 01  04 00 00 00                ; rtm_family, dst_len, src_len, tos; table, protocol, scope, type; flags
   08 00 01 00  0a f4 02 00                             ; RTA_DST
   08 00 04 00  07 00 00 00                             ; RTA_OIF
   08 00 05 00  0a f4 02 00                             ; RTA_GATEWAY
   08 00 07 00  0a f4 01 00                             ; RTA_PREFSRC`,
);

both(
  "an IPv6 route through a nexthop object",
  ROUTE,
  {
    family: 10,
    dstLength: 64,
    srcLength: 0,
    tos: 0,
    table: 254,
    protocol: 87,
    scope: 0,
    type: 1,
    flags: 0,
    dst: parseIp("fd00:244:0:2::"),
    priority: 1024,
    tableId: 254,
    nexthopId: 0xf2345678,
  },
  `0a 40 00 00  fe 57 00 01  00 00 00 00
   14 00 01 00  fd 00 02 44 00 00 00 02 00 00 00 00 00 00 00 00
   08 00 06 00  00 04 00 00                             ; RTA_PRIORITY
   08 00 0f 00  fe 00 00 00                             ; RTA_TABLE
   08 00 1e 00  78 56 34 f2                             ; RTA_NH_ID`,
);

both(
  "an IPv4 neighbour",
  NEIGHBOUR,
  {
    family: 2,
    pad1: 0,
    pad2: 0,
    index: 7,
    state: 0x80,
    flags: 0,
    type: 1,
    dst: parseIp("10.244.2.0"),
    lladdr: parseMac("02:00:00:00:00:02"),
  },
  `02 00 00 00  07 00 00 00  80 00 00 01                ; ndm_family, pad; ndm_ifindex; ndm_state, ndm_flags, ndm_type
   08 00 01 00  0a f4 02 00                             ; NDA_DST
   0a 00 02 00  02 00 00 00 00 02 00 00                 ; NDA_LLADDR`,
);

both(
  "a forwarding entry to an IPv6 remote",
  NEIGHBOUR,
  {
    family: 7,
    pad1: 0,
    pad2: 0,
    index: 7,
    state: 0x80,
    flags: 2,
    type: 0,
    dst: parseIp("2001:db8::2"),
    lladdr: parseMac("0a:0b:0c:0d:0e:0f"),
    ifindex: 9,
  },
  `07 00 00 00  07 00 00 00  80 00 02 00
   14 00 01 00  20 01 0d b8 00 00 00 00 00 00 00 00 00 00 00 02
   0a 00 02 00  0a 0b 0c 0d 0e 0f 00 00
   08 00 08 00  09 00 00 00                             ; NDA_IFINDEX`,
);

both(
  "a nexthop object",
  NEXTHOP,
  { family: 2, scope: 0, protocol: 87, reserved: 0, flags: 4, id: 0x0af40200, oif: 7, gateway: parseIp("10.244.2.0") },
  `02 00 57 00  04 00 00 00                             ; nh_family, nh_scope, nh_protocol, resvd; nh_flags
   08 00 01 00  00 02 f4 0a                             ; NHA_ID
   08 00 05 00  07 00 00 00                             ; NHA_OIF
   08 00 06 00  0a f4 02 00                             ; NHA_GATEWAY`,
);

both(
  "an IPv6 nexthop object over a link-local gateway",
  NEXTHOP,
  { family: 10, scope: 0, protocol: 87, reserved: 0, flags: 4, id: 0xffffffff, oif: 7, gateway: parseIp("fe80::ff:fe00:2") },
  `0a 00 57 00  04 00 00 00
   08 00 01 00  ff ff ff ff
   08 00 05 00  07 00 00 00
   14 00 06 00  fe 80 00 00 00 00 00 00 00 00 00 ff fe 00 00 02`,
);

both(
  "a device's settings, behind a header of one byte",
  NETCONF,
  { family: 2, ifindex: -1, rpFilter: 1 },
  `02 00 00 00  08 00 01 00  ff ff ff ff  08 00 03 00  01 00 00 00`,
);

test("a prefix is written as its address", () => {
  const short = { family: 2, dstLength: 24, dst: parseIp("10.244.2.0") };
  assert.equal(written(ROUTE, { ...short, dst: parseCidr("10.244.2.0/24") }), written(ROUTE, short));
  const long = { family: 10, dstLength: 64, dst: parseIp("fd00:0:0:2::") };
  assert.equal(written(ROUTE, { ...long, dst: parseCidr("fd00:0:0:2::/64") }), written(ROUTE, long));
});

test("the settings of a device in a link dump are an array, of which a kernel may know fewer", () => {
  const head = "00 00 00 00  03 00 00 00  00 00 00 00  00 00 00 00";
  const bytes = bytesOf(`${head} 18 00 1a 00  14 00 02 00  10 00 01 00  01 00 00 00  02 00 00 00  03 00 00 00`);
  assert.deepEqual(read(LINK_CONF, bytes)!.afSpec, { inet: { conf: [1, 2, 3] } });
});

test("what is absent reads as undefined, and is not written", () => {
  const value = read(ROUTE, bytesOf("02 18 00 00  fe 57 00 01  00 00 00 00"))!;
  assert.equal(value.dst, undefined);
  assert.ok(!("dst" in value) && !("nexthopId" in value));
  assert.equal(written(ROUTE, { family: 2, dst: undefined }), "02 00 00 00 00 00 00 00 00 00 00 00");
});

test("the kernel's marks in an attribute's type are not part of its number", () => {
  const head = "00 00 00 00  03 00 00 00  00 00 00 00  00 00 00 00";
  const bytes = bytesOf(`${head} 10 00 12 80  0a 00 01 00  76 65 74 68 00 00 00 00`); // NLA_F_NESTED
  assert.deepEqual(read(LINK, bytes)!.linkInfo, { kind: "veth" });
});

test("attributes of a wrong length are left out, and those behind them are read", () => {
  const bytes = bytesOf(`02 18 00 00  fe 57 00 01  00 00 00 00
    07 00 01 00  0a f4 02 00                            ; RTA_DST of three bytes
    06 00 04 00  07 00 00 00                            ; RTA_OIF of two bytes
    0c 00 05 00  0a f4 02 00 00 00 00 00                ; RTA_GATEWAY of eight bytes
    04 00 07 00                                         ; RTA_PREFSRC of none
    08 00 1e 00  01 00 00 00                            ; RTA_NH_ID`);
  const value = read(ROUTE, bytes)!;
  assert.deepEqual([value.dst, value.oif, value.gateway, value.prefSrc, value.nexthopId], [
    undefined,
    undefined,
    undefined,
    undefined,
    1,
  ]);
});

test("hardware addresses of other lengths are left out", () => {
  const head = "00 00 00 00  03 00 00 00  00 00 00 00  00 00 00 00";
  assert.equal(read(LINK, bytesOf(`${head} 08 00 01 00  7f 00 00 01`))!.address, undefined);
  assert.equal(read(LINK, bytesOf(`${head} 0c 00 01 00  01 02 03 04 05 06 07 08`))!.address, undefined);
});

test("a message that is cut short anywhere gives what was whole, or null where its header was not", () => {
  const bytes = bytesOf(`02 18 00 00  fe 57 00 01  04 00 00 00
    08 00 01 00  0a f4 02 00  08 00 04 00  07 00 00 00  08 00 05 00  0a f4 02 01`);
  for (let length = 0; length <= bytes.length; length++) {
    const value = read(ROUTE, bytes.slice(0, length));
    if (length < 12) assert.equal(value, null);
    else {
      const whole = [length >= 20, length >= 28, length >= 36];
      assert.deepEqual(
        [value!.dst !== undefined, value!.oif !== undefined, value!.gateway !== undefined],
        whole,
        `${length} bytes`,
      );
    }
  }
});
