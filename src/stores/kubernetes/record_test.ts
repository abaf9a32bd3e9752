/**
 * Which annotations and pod subnets are a lease (flannel.md 4.2 and 4.4), and what is said of those that are none.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Annotations } from "./annotations.ts";
import { TOO_LONG } from "./node.ts";
import { recordOf } from "./record.ts";

const V4: Annotations = {
  "kube-subnet-manager": "true",
  "backend-type": "vxlan",
  "public-ip": "192.168.0.1",
  "backend-data": "null",
};
const V6: Annotations = { "public-ipv6": "2001:db8::1", "backend-v6-data": '{"VNI":1}' };

function of(annotations: Annotations, ...podCidrs: string[]) {
  return recordOf({ name: "a", annotations, podCidrs });
}

function endpoints(annotations: Annotations, ...podCidrs: string[]) {
  const record = of(annotations, ...podCidrs);
  assert.ok(record !== null && "lease" in record, JSON.stringify(record));
  return record.lease.endpoints;
}

test("a node is a lease under its name, which does not expire", () => {
  const lease = {
    key: "a",
    backendType: "vxlan",
    endpoints: [{ subnet: "10.1.0.0/24", publicIp: "192.168.0.1", data: null }],
    expiresAt: null,
  };
  assert.deepEqual(of(V4, "10.1.0.0/24"), { key: "a", lease });
});

test("a node that no agent manages is nothing, whatever else it says", () => {
  assert.equal(of({}, "10.1.0.0/24"), null);
  for (const flag of ["True", "1", "", "false"]) assert.equal(of({ ...V4, "kube-subnet-manager": flag }, "10.1.0.0/24"), null);
});

test("flannel v0.11's data without VNI, and a type that publishes none, are read", () => {
  assert.deepEqual(endpoints({ ...V4, "backend-data": '{"VtepMAC":"12:c6:00:00:00:01"}' }, "10.1.0.0/24")[0]!.data, {
    VtepMAC: "12:c6:00:00:00:01",
  });
  const { "backend-type": _, "backend-data": __, ...bare } = V4;
  assert.deepEqual(endpoints(bare, "10.1.0.0/24")[0]!.data, null);
});

test("each family stands for itself", () => {
  const both = { ...V4, ...V6 };
  assert.equal(endpoints(both, "10.1.0.0/24", "fd00:1::/64").length, 2);
  assert.deepEqual(
    endpoints(both, "fd00:1::/64", "10.1.0.0/24").map(({ subnet }) => subnet),
    ["10.1.0.0/24", "fd00:1::/64"],
    "IPv4 first",
  );
  assert.deepEqual(endpoints(both, "fd00:1::/64").map(({ publicIp }) => publicIp), ["2001:db8::1"], "no IPv4 podCIDR");
  assert.deepEqual(endpoints(V4, "10.1.0.0/24", "fd00:1::/64").map(({ subnet }) => subnet), ["10.1.0.0/24"], "no IPv6 address");
  const six = { ...V6, "kube-subnet-manager": "true", "public-ip": "0.0.0.0" };
  assert.deepEqual(
    endpoints(six, "10.1.0.0/24", "fd00:1::/64").map(({ subnet }) => subnet),
    ["fd00:1::/64"],
    "an address that is unset",
  );
});

test("host bits of a podCIDR are cleared", () => {
  assert.equal(endpoints(V4, "10.1.0.7/24")[0]!.subnet, "10.1.0.0/24");
});

for (
  const [what, annotations, podCidrs, reason] of [
    ["no podCIDR", V4, [], /no podCIDR is assigned/],
    ["a podCIDR that is none", V4, ["10.1.0.0"], /podCIDR "10\.1\.0\.0" is no prefix/],
    ["two podCIDRs of one family", V4, ["10.1.0.0/24", "10.2.0.0/24"], /more than one IPv4 podCIDR/],
    ["no public address", { ...V4, "public-ip": "" }, ["10.1.0.0/24"], /no public address of that family/],
    ["an IPv6 address for IPv4", { ...V4, "public-ip": "::1" }, ["10.1.0.0/24"], /public-ip "::1" is no IPv4 address/],
    ["a name for an address", { ...V4, "public-ip": "node1" }, ["10.1.0.0/24"], /public-ip "node1" is no IPv4 address/],
    ["an address with a line break", { ...V4, "public-ip": "1.2.3.4\n" }, ["10.1.0.0/24"], /public-ip "1\.2\.3\.4\\n" is no IPv4/],
    ["data that is no JSON", { ...V4, "backend-data": "{" }, ["10.1.0.0/24"], /backend-data "\{" is no JSON/],
    ["data that is too long", { ...V4, "backend-data": TOO_LONG }, ["10.1.0.0/24"], /backend-data is longer than 1024 bytes/],
    ["a type that is too long", { ...V4, "backend-type": TOO_LONG }, ["10.1.0.0/24"], /backend-type is longer/],
    [
      "an IPv4 address for IPv6",
      { ...V4, ...V6, "public-ipv6": "1.2.3.4" },
      ["10.1.0.0/24", "fd00::/64"],
      /public-ipv6 "1\.2\.3\.4"/,
    ],
  ] as const
) {
  test(`${what} makes a record with that reason`, () => {
    const record = of(annotations, ...podCidrs);
    assert.ok(record !== null && "reason" in record, JSON.stringify(record));
    assert.match(record.reason, reason);
    assert.ok(record.reason.length < 300);
  });
}
