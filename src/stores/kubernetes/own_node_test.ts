/**
 * The patches, byte for byte those of flannel (flannel.md 4.3 and 4.5), and what goes into them.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr, parseIp } from "../../model/ip.ts";
import type { LeaseRequest } from "../../model/lease.ts";
import { annotationNames, type Annotations } from "./annotations.ts";
import type { NodeObject } from "./node.ts";
import { annotationPatch, changedAnnotations, conditionPatch, leaseFor, overwriteOf, wrongAddresses } from "./own_node.ts";

const NAMES = annotationNames("flannel.alpha.coreos.com");

function node(annotations: Annotations = {}, podCidrs: readonly string[] = ["10.244.1.0/24"]): NodeObject {
  return { name: "a", uid: "u", version: "1", annotations, podCidrs, endsInitialEvents: false };
}

function request(given: Partial<LeaseRequest> = {}): LeaseRequest {
  return {
    network: {
      ranges: [{ network: parseCidr("10.244.0.0/16"), allocation: null }],
      backendType: "host-gw",
      backendOptions: {},
      nftables: false,
    },
    backendType: "host-gw",
    endpoints: [{ publicIp: parseIp("192.168.100.1"), data: null }],
    previous: [],
    ...given,
  };
}

const DUAL = request({
  network: {
    ...request().network,
    ranges: [{ network: parseCidr("10.244.0.0/16"), allocation: null }, { network: parseCidr("fd00:244::/48"), allocation: null }],
  },
  backendType: "vxlan",
  endpoints: [
    { publicIp: parseIp("192.168.100.1"), data: { VNI: 1, VtepMAC: "12:c6:00:00:00:01" } },
    { publicIp: parseIp("2001:db8::1"), data: { VNI: 1, VtepMAC: "12:c6:00:00:00:02" } },
  ],
});

function patched(to: NodeObject, given: LeaseRequest): string {
  return annotationPatch(changedAnnotations(to, leaseFor(to, given), NAMES));
}

test("the patch of a new node is flannel's, with keys in order", () => {
  assert.equal(
    patched(node(), request()),
    '{"metadata":{"annotations":{"flannel.alpha.coreos.com/backend-data":"null","flannel.alpha.coreos.com/backend-type":"host-gw",' +
      '"flannel.alpha.coreos.com/kube-subnet-manager":"true","flannel.alpha.coreos.com/public-ip":"192.168.100.1"}}}',
  );
});

test("the patch of a node in both families has the data of each", () => {
  assert.equal(
    patched(node({}, ["10.244.1.0/24", "fd00:244:0:1::/64"]), DUAL),
    '{"metadata":{"annotations":{"flannel.alpha.coreos.com/backend-data":"{\\"VNI\\":1,\\"VtepMAC\\":\\"12:c6:00:00:00:01\\"}",' +
      '"flannel.alpha.coreos.com/backend-type":"vxlan","flannel.alpha.coreos.com/backend-v6-data":"{\\"VNI\\":1,\\"VtepMAC\\":\\"12:c6:00:00:00:02\\"}",' +
      '"flannel.alpha.coreos.com/kube-subnet-manager":"true","flannel.alpha.coreos.com/public-ip":"192.168.100.1",' +
      '"flannel.alpha.coreos.com/public-ipv6":"2001:db8::1"}}}',
  );
});

test("only what differs is written, and nothing if nothing does", () => {
  const written = {
    "kube-subnet-manager": "true",
    "backend-type": "host-gw",
    "backend-data": "null",
    "public-ip": "192.168.100.9",
  };
  assert.equal(
    patched(node(written), request()),
    '{"metadata":{"annotations":{"flannel.alpha.coreos.com/public-ip":"192.168.100.1"}}}',
  );
  const same = node({ ...written, "public-ip": "192.168.100.1" });
  assert.deepEqual(changedAnnotations(same, leaseFor(same, request()), NAMES), {});
});

test("the manager's annotation is taken away with null", () => {
  assert.equal(annotationPatch({ "x/kube-subnet-manager": null }), '{"metadata":{"annotations":{"x/kube-subnet-manager":null}}}');
});

test("characters that Go escapes are escaped", () => {
  assert.equal(annotationPatch({ "x/y": "<&>\u2028" }), '{"metadata":{"annotations":{"x/y":"\\u003c\\u0026\\u003e\\u2028"}}}');
});

test("an address that the administrator sets is published, and the lease keeps the node's own", () => {
  const overwritten = node({ "public-ip-overwrite": "203.0.113.7", "public-ipv6-overwrite": "2001:DB8::99" }, [
    "10.244.1.0/24",
    "fd00:244:0:1::/64",
  ]);
  const lease = leaseFor(overwritten, DUAL);
  assert.deepEqual(lease.endpoints.map(({ publicIp }) => publicIp), ["192.168.100.1", "2001:db8::1"]);
  const changed = changedAnnotations(overwritten, lease, NAMES);
  assert.equal(changed["flannel.alpha.coreos.com/public-ip"], "203.0.113.7");
  assert.equal(changed["flannel.alpha.coreos.com/public-ipv6"], "2001:db8::99");
  assert.deepEqual(wrongAddresses(overwritten, NAMES), []);
});

for (const wrong of ["nonsense", "127.0.0.1", "2001:db8::7", "0.0.0.0"]) {
  test(`an overwrite with ${wrong} is not used, and is told`, () => {
    const overwritten = node({ "public-ip-overwrite": wrong, "node-public-ip": wrong });
    const changed = changedAnnotations(overwritten, leaseFor(overwritten, request()), NAMES);
    assert.equal(changed["flannel.alpha.coreos.com/public-ip"], "192.168.100.1");
    assert.equal(overwriteOf(overwritten, "node-public-ip", 4), null);
    const [first, second] = wrongAddresses(overwritten, NAMES);
    assert.match(first!, /flannel\.alpha\.coreos\.com\/public-ip-overwrite is not used: ".*" is no IPv4 address that other nodes/);
    assert.match(second!, /flannel\.alpha\.coreos\.com\/node-public-ip is not used/);
  });
}

for (
  const [what, podCidrs, given, says] of [
    ["outside of the network", ["10.99.1.0/24"], request(), /podCIDR 10\.99\.1\.0\/24 is outside of the network 10\.244\.0\.0\/16/],
    ["wider than the network", ["10.0.0.0/8"], request(), /outside of the network/],
    [
      "missing in one family",
      ["10.244.1.0/24"],
      DUAL,
      /has podCIDR 10\.244\.1\.0\/24 and none of IPv6; give kube-controller-manager/,
    ],
    ["no prefix", ["10.244.1.0"], request(), /podCIDR "10\.244\.1\.0" is no prefix/],
  ] as const
) {
  test(`a podCIDR that is ${what} is refused, with what to do`, () => {
    assert.throws(() => leaseFor(node({}, podCidrs), given), says);
  });
}

test("a family that the network does not have is left out of the lease", () => {
  assert.deepEqual(leaseFor(node({}, ["fd00:244:0:1::/64", "10.244.1.0/24"]), request()).endpoints, [
    { subnet: parseCidr("10.244.1.0/24"), publicIp: parseIp("192.168.100.1"), data: null },
  ]);
});

test("the condition of a node that is ready is flannel's, byte for byte", () => {
  assert.equal(
    conditionPatch(null, Date.UTC(2026, 0, 2, 3, 4, 5, 678)),
    '{"status":{"conditions":[{"type":"NetworkUnavailable","status":"False","lastHeartbeatTime":"2026-01-02T03:04:05Z",' +
      '"lastTransitionTime":"2026-01-02T03:04:05Z","reason":"FlannelIsUp","message":"Flannel is running on this node"}]}}',
  );
});

test("the condition of a node that is not says why", () => {
  const { status } = JSON.parse(conditionPatch("the kernel lost a route", 0));
  assert.deepEqual(status.conditions, [{
    type: "NetworkUnavailable",
    status: "True",
    lastHeartbeatTime: "1970-01-01T00:00:00Z",
    lastTransitionTime: "1970-01-01T00:00:00Z",
    reason: "WeftIsNotReady",
    message: "the kernel lost a route",
  }]);
});
