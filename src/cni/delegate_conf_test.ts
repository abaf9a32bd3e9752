import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSubnetEnv } from "../config/subnet_env.ts";
import { canonicalJson, delegateConf } from "./delegate_conf.ts";
import { type JsonObject, readNetConf } from "./netconf.ts";

function delegateOf(conf: JsonObject, env: string): JsonObject {
  return JSON.parse(canonicalJson(delegateConf(readNetConf(conf), parseSubnetEnv(env, "subnet.env"))));
}

const END = "FLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
const V4 = `FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n`;
const V6 = `FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\n`;
const TWO = "FLANNEL_NETWORK=10.1.0.0/16,192.168.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n";

test("delegateConf() gives the walk-through's bridge the bytes that flannel's plugin gives it", () => {
  const conf = { name: "cbr0", type: "flannel", delegate: { hairpinMode: true, isDefaultGateway: true } };
  const env = "FLANNEL_NETWORK=172.16.0.0/16\nFLANNEL_SUBNET=172.16.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";
  assert.equal(
    canonicalJson(delegateConf(readNetConf(conf), parseSubnetEnv(env, "subnet.env"))),
    '{"hairpinMode":true,"ipMasq":false,"ipam":{"ranges":[[{"subnet":"172.16.1.0/24"}]],"routes":[{"dst":"172.16.0.0/16"}],' +
      '"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1450,"name":"cbr0","type":"bridge"}',
  );
});

for (
  const [what, env, ranges, routes] of [
    ["one IPv4 network", V4, [[{ subnet: "10.1.17.0/24" }]], [{ dst: "10.1.0.0/16" }]],
    ["two IPv4 networks", TWO, [[{ subnet: "10.1.17.0/24" }]], [{ dst: "10.1.0.0/16" }, { dst: "192.168.0.0/16" }]],
    ["IPv6", V6, [[{ subnet: "fc00::/64" }]], [{ dst: "fc00::/48" }]],
    [
      "both families",
      V6 + V4,
      [[{ subnet: "10.1.17.0/24" }], [{ subnet: "fc00::/64" }]],
      [{ dst: "10.1.0.0/16" }, { dst: "fc00::/48" }],
    ],
  ] as const
) {
  test(`delegateConf() fills in the ranges and routes of ${what}`, () => {
    assert.deepEqual(delegateOf({ name: "cni-flannel", type: "flannel" }, env + END), {
      ipMasq: false,
      ipam: { ranges, routes, type: "host-local" },
      isGateway: true,
      mtu: 1472,
      name: "cni-flannel",
      type: "bridge",
    });
  });

  test(`delegateConf() keeps what ipam says beside the ranges of ${what}, and its routes come first`, () => {
    const own = [{ dst: "10.96.0.0/12" }, { dst: "192.168.244.0/24", gw: "10.1.17.20" }];
    const ipam = { type: "my-ipam", "unknown-param": "unknown-value", routes: own, ranges: [[{ subnet: "1.0.0.0/8" }]] };
    const expected = { type: "my-ipam", "unknown-param": "unknown-value", routes: [...own, ...routes], ranges };
    assert.deepEqual(delegateOf({ name: "n", ipam }, env + END).ipam, expected);
    const { type: _, ...untyped } = ipam;
    assert.deepEqual(delegateOf({ name: "n", ipam: untyped }, env + END).ipam, { ...expected, type: "host-local" });
  });
}

test("delegateConf() overrides nothing of the delegate but name, ipam, version and runtimeConfig", () => {
  const delegate = {
    type: "bridge",
    ipMasq: true,
    mtu: 1300,
    isGateway: false,
    bridge: "br1",
    cniVersion: "0.1.0",
    runtimeConfig: {},
  };
  const made = delegateOf({ name: "n", cniVersion: "1.0.0", delegate, runtimeConfig: { mac: "x" }, prevResult: {} }, V4 + END);
  const { ipam: _, ...rest } = made;
  assert.deepEqual(rest, { ...delegate, name: "n", cniVersion: "1.0.0", runtimeConfig: { mac: "x" } });
});

test("delegateConf() makes no gateway of another delegate than bridge, and has it masquerade where the agent does not", () => {
  const made = delegateOf({ name: "n", delegate: { type: "ptp" } }, `${V4}FLANNEL_MTU=1400\nFLANNEL_IPMASQ=false\n`);
  assert.equal(made.isGateway, undefined);
  assert.equal(made.ipMasq, true);
});

test("delegateConf() leaves a key __proto__ a key", () => {
  const conf = JSON.parse('{"name":"n","delegate":{"__proto__":{"type":"evil"},"a":1}}');
  assert.equal(delegateConf(readNetConf(conf), parseSubnetEnv(V4 + END, "subnet.env")).type, "bridge");
});

for (
  const [conf, message] of [
    [{ delegate: { type: 1 } }, /delegate\.type must be a text/],
    [{ delegate: { type: null } }, /delegate\.type must be a text/],
    [{ delegate: { name: "x" } }, /delegate\.name must not be given/],
    [{ delegate: { ipam: {} } }, /delegate\.ipam must not be given/],
    [{ ipam: { routes: {} } }, /ipam\.routes must be a list/],
    [{ ipam: { routes: [{ dst: "10.0.0.0/8" }, { dst: "10.0.0.0" }] } }, /ipam\.routes\[1\]\.dst: "10\.0\.0\.0" is not/],
    [{ ipam: { routes: [null] } }, /ipam\.routes\[0\]\.dst/],
  ] as const
) {
  test(`delegateConf() refuses ${JSON.stringify(conf)}`, () => {
    assert.throws(() => delegateOf({ name: "n", ...conf }, V4 + END), { code: 7, message });
  });
}
