import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr, parseIp } from "../model/ip.ts";
import type { Lease, LeaseRecord } from "../model/lease.ts";
import { leaseKey, leaseRecord, leaseValue, LONGEST_VALUE, parseLeaseKey } from "./lease_value.ts";

const v4 = {
  subnet: parseCidr("10.12.13.0/24"),
  publicIp: parseIp("192.168.64.3"),
  data: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" },
};
const v6 = { subnet: parseCidr("fd00:12:13::/56"), publicIp: parseIp("fd00::3"), data: { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:45" } };

function lease(endpoints: Lease["endpoints"], backendType = "vxlan"): Lease {
  return { key: leaseKey(endpoints.map(({ subnet }) => subnet)), backendType, endpoints, expiresAt: 7 };
}

function reasonOf(record: LeaseRecord): string {
  assert.ok("reason" in record, `${JSON.stringify(record)} has no reason`);
  assert.doesNotMatch(record.reason, /[\p{Cc}\p{Zl}\p{Zp}]/u, "a reason is one line");
  assert.ok(record.reason.length < 400, `a reason of ${record.reason.length} characters`);
  return record.reason;
}

/** From flannel v0.28: `pkg/lease/lease.go` marshals these members in this order. */
const WRITTEN: readonly (readonly [string, string, Lease])[] = [
  [
    "10.12.13.0-24",
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
    lease([v4]),
  ],
  [
    "10.12.13.0-24&fd00:12:13::-56",
    '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}',
    lease([v4, v6]),
  ],
  [
    "0.0.0.0-0&fd00:12:13::-56",
    '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}',
    lease([v6]),
  ],
  [
    "10.12.13.0-24",
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
    lease([{ ...v4, data: null }], "host-gw"),
  ],
  ["10.12.13.0-24", '{"PublicIP":"192.168.64.3","PublicIPv6":null}', lease([{ ...v4, data: null }], "")],
  [
    "10.12.13.0-24",
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"extension","BackendData":"what a command said"}',
    lease([{ ...v4, data: "what a command said" }], "extension"),
  ],
];

test("leaseValue() and leaseKey() write what flannel writes, and leaseRecord() reads it", () => {
  for (const [key, value, lease] of WRITTEN) {
    assert.equal(lease.key, key);
    assert.equal(leaseValue(lease), value);
    assert.deepEqual(leaseRecord(key, value, 7), { key, lease });
  }
});

test("leaseRecord() reads values of older flannels and ignores what it does not know", () => {
  const expected = { key: "10.12.13.0-24", lease: lease([v4]) };
  const data = '{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}';
  for (
    const value of [
      `{"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":${data}}`,
      `{"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":${data},"BackendV6Data":null,"Later":[1,{}]}`,
      ` {\n"publicip":"192.168.64.3","BACKENDTYPE":"vxlan","backendData":${data},"PublicIPv6":"fd00::9"}\n`,
    ]
  ) assert.deepEqual(leaseRecord("10.12.13.0-24", value, 7), expected);
});

test("leaseRecord() passes BackendData on as it is, whatever it is", () => {
  for (const data of [0, false, "", [], {}, "text", [[1.5, null]], { a: { b: [] } }]) {
    const record = leaseRecord("10.12.13.0-24", `{"PublicIP":"192.168.64.3","BackendData":${JSON.stringify(data)}}`, 7);
    assert.deepEqual(record, { key: "10.12.13.0-24", lease: lease([{ ...v4, data }], "") });
  }
});

test("leaseValue() and leaseRecord() keep data that Go would call empty", () => {
  for (const data of [0, false, ""]) {
    const it = lease([{ ...v4, data }]);
    assert.deepEqual(leaseRecord(it.key, leaseValue(it), 7), { key: it.key, lease: it });
  }
});

test("parseLeaseKey() reads exactly what leaseKey() writes", () => {
  for (const subnets of [["10.0.0.0/8"], ["10.5.52.0/31"], ["10.5.52.0/24", "fd00:5::/64"], ["2001:db8:1:2:3:4:5:6/127"]]) {
    const cidrs = subnets.map(parseCidr);
    assert.deepEqual(parseLeaseKey(leaseKey(cidrs)), cidrs);
  }
});

const GOOD = '{"PublicIP":"192.168.64.3"}';
const BAD: readonly (readonly [key: string, value: string, reason: RegExp])[] = [
  ["", GOOD, /^the key "" is not a subnet such as 10\.5\.52\.0-24$/],
  ["config", GOOD, /^the key "config" is not a subnet/],
  ["x".repeat(100_000), GOOD, /^the key "xxx.*\.\.\." is not a subnet/],
  ["10.12.13.0-24\n", GOOD, /^the key "10\.12\.13\.0-24\\n" is not a subnet/],
  ["10.12.13.0-24hi", GOOD, /is not a subnet/],
  ["a10.12.13.0-24", GOOD, /is not a subnet/],
  ["10x12x13.0-24", GOOD, /is not a subnet/],
  ["10.12.13.0-24&", GOOD, /is not a subnet/],
  ["10.12.13.0-24&FD00::-56", GOOD, /is not a subnet/],
  ["10.12.13.0-32", GOOD, /"10\.12\.13\.0-32", which is no IPv4 subnet of length 1 to 31/],
  ["10.12.13.0-0", GOOD, /no IPv4 subnet/],
  ["10.12.300.0-24", GOOD, /no IPv4 subnet/],
  ["10.12.13-24", GOOD, /no IPv4 subnet/],
  ["10.12.13.7-24", GOOD, /"10\.12\.13\.7-24" instead of 10\.12\.13\.0\/24/],
  ["0.0.0.0-0", GOOD, /names no subnet/],
  ["0.0.0.0-0&::-0", GOOD, /no IPv6 subnet of length 1 to 127/],
  ["0.0.0.0-0&fd00::-128", GOOD, /no IPv6 subnet/],
  ["0.0.0.0-0&fd00::1-64", GOOD, /instead of fd00::\/64/],
  ["0.0.0.0-0&fd00:0:0::-64", GOOD, /instead of fd00::\/64/],
  ["0.0.0.0-0&:::-64", GOOD, /no IPv6 subnet/],
  ["10.12.13.0-24&fd00::-64", GOOD, /^its value has no PublicIPv6, although its key has the subnet fd00::\/64$/],
  ["10.12.13.0-24", "", /^its value is not the JSON of a lease: line 1, column 1: expected an object in braces/],
  ["10.12.13.0-24", "{", /not the JSON of a lease: line 1, column 2/],
  ["10.12.13.0-24", "null", /not the JSON of a lease/],
  ["10.12.13.0-24", "[]", /not the JSON of a lease/],
  ["10.12.13.0-24", `${GOOD}}`, /not the JSON of a lease/],
  ["10.12.13.0-24", "\0\u2028\x1b[31m", /not the JSON of a lease/],
  ["10.12.13.0-24", '{"PublicIP":7}', /^PublicIP in its value: expected an IPv4 address, found "7"$/],
  ["10.12.13.0-24", '{"PublicIP":null}', /PublicIP in its value: expected an IPv4 address, found "null"/],
  ["10.12.13.0-24", '{"PublicIP":"fd00::1"}', /expected an IPv4 address/],
  ["10.12.13.0-24", '{"PublicIP":"10.0.0.1\\n10.0.0.2"}', /expected an IPv4 address/],
  ["10.12.13.0-24", '{"PublicIP":"10.0.0.1","PublicIPv6":"10.0.0.1"}', /^PublicIPv6 in its value: expected an IPv6 address/],
  ["10.12.13.0-24", '{"PublicIP":"10.0.0.1","BackendType":{}}', /^BackendType in its value: expected a string/],
  ["10.12.13.0-24", `{"PublicIP":"10.0.0.1","BackendType":"${"x".repeat(101)}"}`, /at most 100 characters/],
  ["10.12.13.0-24", `{"PublicIP":"10.0.0.1","BackendData":${"[".repeat(5000)}${"]".repeat(5000)}}`, /no more than 100 values/],
  ["10.12.13.0-24", `{"PublicIP":"10.0.0.1","BackendData":"${"x".repeat(LONGEST_VALUE)}"}`, /longer than 65536 characters/],
];

test("leaseRecord() says in one line why an entry is no lease", () => {
  for (const [key, value, reason] of BAD) {
    const record = leaseRecord(key, value, null);
    assert.equal(record.key, key);
    assert.match(reasonOf(record), reason);
  }
});

test("leaseRecord() survives any text", () => {
  const alphabet = [
    '{"PublicIP":"',
    "10.0.0.1",
    '"',
    "}",
    ",",
    "[",
    "]",
    '"BackendData":',
    "\\u0000",
    "\0",
    "-",
    "&",
    ":",
    "é",
    "\ud800",
    "9",
  ];
  let seed = 1;
  const next = (below: number) => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
  const text = () => Array.from({ length: next(12) }, () => alphabet[next(alphabet.length)]).join("");
  let leases = 0;
  for (let i = 0; i < 20_000; i++) {
    const record = leaseRecord(next(2) ? "10.12.13.0-24" : text(), next(4) ? text() : GOOD, null);
    if ("lease" in record) leases++;
    else reasonOf(record);
  }
  assert.ok(leases > 0);
});
