/**
 * Texts that each type of flag allows, and texts that it does not.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import type { FlagType } from "./flag.ts";
import * as t from "./flag_types.ts";

interface Row {
  readonly type: FlagType<unknown>;
  readonly good: readonly (readonly [text: string, value: unknown])[];
  readonly bad: readonly string[];
}

const ROWS: Readonly<Record<string, Row>> = {
  boolean: {
    type: t.boolean,
    good: [
      ...["1", "t", "T", "true", "TRUE", "True"].map((text) => [text, true] as const),
      ...["0", "f", "F", "false", "FALSE", "False"].map((text) => [text, false] as const),
    ],
    bad: ["", "yes", "no", "on", "tRUE", " true", "2", "toString", "__proto__"],
  },
  margin: {
    type: t.integer(1, 1439, "minutes"),
    good: [["1", 1], ["60", 60], ["1439", 1439]],
    bad: ["0", "1440", "-1", "60m", "1.5", "1e2", "0x10", "010", "", " 60", "+60", "99999999999999999999"],
  },
  port: { type: t.port, good: [["0", 0], ["8081", 8081], ["65535", 65535]], bad: ["65536", "-1", "http", ""] },
  choice: { type: t.choice("text", "json"), good: [["text", "text"], ["json", "json"]], bad: ["", "JSON", "xml", "text|json"] },
  path: { type: t.path, good: [["/run/x", "/run/x"], ["x", "x"]], bad: [""] },
  optional: { type: t.optional(t.ip), good: [["", null], ["10.0.0.1", "10.0.0.1"]], bad: ["x"] },
  ip: {
    type: t.ip,
    good: [["0.0.0.0", "0.0.0.0"], ["2001:DB8::0:1", "2001:db8::1"]],
    bad: ["", "localhost", "10.0.0", "10.0.0.01", "10.0.0.1/8", "fe80::1%eth0", "[::1]"],
  },
  "public IPv4": {
    type: t.publicIp(4),
    good: [["192.0.2.1", "192.0.2.1"], ["10.1.2.3", "10.1.2.3"]],
    bad: ["2001:db8::1", "::ffff:192.0.2.1", "0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "node1"],
  },
  "public IPv6": {
    type: t.publicIp(6),
    good: [["2001:DB8::1", "2001:db8::1"]],
    bad: ["192.0.2.1", "::", "::1", "fe80::1", "ff02::1"],
  },
  backend: {
    type: t.backendName,
    good: [["vxlan", "vxlan"], ["Host-GW", "host-gw"], ["my_1", "my_1"]],
    bad: ["", "../evil", "a b", "-x", "a/b", "x".repeat(64), "ü"],
  },
  iface: {
    type: t.iface,
    good: [
      ["eth0", { by: "name", name: "eth0" }],
      ["bond0.100", { by: "name", name: "bond0.100" }],
      ["a".repeat(15), { by: "name", name: "a".repeat(15) }],
      ["192.0.2.1", { by: "address", ip: "192.0.2.1" }],
      ["2001:DB8::1", { by: "address", ip: "2001:db8::1" }],
    ],
    bad: ["", "a".repeat(16), "ü".repeat(8), "eth 0", "a/b", ".", "..", "a\nb", "2001:db8::x"],
  },
  "reachable address": {
    type: t.ifaceReach,
    good: [["192.0.2.1", { by: "reach", ip: "192.0.2.1" }]],
    bad: ["", "gateway", "192.0.2.0/24"],
  },
  "listen address": {
    type: t.listenAddress,
    good: [
      ["127.0.0.1:8473", { ip: "127.0.0.1", port: 8473 }],
      ["[::1]:0", { ip: "::1", port: 0 }],
      ["unix:/run/weft.sock", { path: "/run/weft.sock" }],
      [`unix:/${"x".repeat(106)}`, { path: `/${"x".repeat(106)}` }],
      ["off", null],
    ],
    bad: [
      "",
      "8473",
      ":8473",
      "localhost:8473",
      "127.0.0.1",
      "127.0.0.1:",
      "127.0.0.1:70000",
      "::1:80",
      "unix:run/x",
      "unix:",
      "unix:/",
      "OFF",
      `unix:/${"x".repeat(107)}`,
    ],
  },
  endpoints: {
    type: t.endpoints,
    good: [
      ["http://127.0.0.1:4001,http://127.0.0.1:2379", ["http://127.0.0.1:4001", "http://127.0.0.1:2379"]],
      ["https://etcd-1.example:2379/, https://[2001:db8::1]:2379,", ["https://etcd-1.example:2379", "https://[2001:db8::1]:2379"]],
      ["10.0.0.1:2379", ["//10.0.0.1:2379"]],
    ],
    bad: [
      "",
      ",",
      "ftp://x",
      "unix:///run/etcd.sock",
      "http://u:p@h:1",
      "http://h:1/path",
      "http://h:1?x",
      "http://h:1#x",
      "http://h:99999",
      "http://h h",
      "http:\\\\h",
    ],
  },
  url: {
    type: t.url,
    good: [["https://10.0.0.1:6443", "https://10.0.0.1:6443"], ["http://h/prefix/", "http://h/prefix"]],
    bad: ["", "10.0.0.1:6443", "https://u:p@h", "https://h?x=1", "file:///x"],
  },
  "key prefix": {
    type: t.keyPrefix,
    good: [["/coreos.com/network", "/coreos.com/network"], ["/a//b/", "/a/b"], ["a", "a"], ["/", ""]],
    bad: [""],
  },
};

test("a type gives each text that it allows its value", () => {
  for (const [name, { type, good }] of Object.entries(ROWS)) {
    for (const [text, value] of good) assert.deepEqual(type.parse(text), value, `${name} ${text}`);
  }
});

test("a type has no value for other texts, and throws at none", () => {
  for (const [name, { type, bad }] of Object.entries(ROWS)) {
    for (const text of bad) assert.equal(type.parse(text), undefined, `${name} ${text}`);
  }
});

test("an interface regex matches anywhere, as flannel's does", () => {
  const matches = (pattern: string, text: string) => {
    const choice = t.ifaceRegex.parse(pattern);
    return choice?.by === "regex" && choice.regex.test(text);
  };
  assert.ok(matches("th0", "eth0"));
  assert.ok(matches("^10\\.1\\.", "10.1.2.3"));
  assert.ok(!matches("^10\\.1\\.", "10.11.2.3"));
  assert.ok(matches("(?i)ETH", "eth0"));
  assert.ok(matches("eth0|ens", "ens3"));
});

test("an interface regex that means something else to flannel is refused", () => {
  for (const text of ["", "(", "[[:digit:]]", "eth\\z", "\\Aeth", "(?P<n>a)", "a{2,1}"]) {
    assert.equal(t.ifaceRegex.parse(text), undefined, text);
  }
});
