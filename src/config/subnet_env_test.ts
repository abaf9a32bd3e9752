/**
 * subnet.env as flannel writes it, as its CNI plugin reads it and as flanneld reads it.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { parseCidr } from "../model/ip.ts";
import { ConfigError } from "./errors.ts";
import { parseSubnetEnv, previousSubnets, renderSubnetEnv } from "./subnet_env.ts";

const PATH = "/run/flannel/subnet.env";
const cidrs = (...texts: string[]) => texts.map(parseCidr);

const DUAL = `FLANNEL_NETWORK=10.42.0.0/16
FLANNEL_SUBNET=10.42.0.1/24
FLANNEL_IPV6_NETWORK=2001:cafe:42::/56
FLANNEL_IPV6_SUBNET=2001:cafe:42::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`;

function refusal(text: string): string {
  try {
    parseSubnetEnv(text, PATH);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const start = `Cannot use the subnet file "${PATH}": `;
    assert.ok(error.message.startsWith(start), error.message);
    assert.match(error.message, /^[^\p{Cc}\u2028\u2029]+$/u);
    return error.message.slice(start.length);
  }
  assert.fail(`${text} is not refused`);
}

test("renderSubnetEnv() writes what flannel writes", () => {
  const both = {
    networks: cidrs("10.42.0.0/16", "2001:cafe:42::/56"),
    subnets: cidrs("10.42.0.0/24", "2001:cafe:42::/64"),
    mtu: 1450,
    ipMasq: true,
  };
  assert.equal(renderSubnetEnv(both), DUAL);
  assert.equal(
    renderSubnetEnv({ networks: cidrs("172.16.0.0/16"), subnets: cidrs("172.16.1.0/24"), mtu: 1500, ipMasq: false }),
    "FLANNEL_NETWORK=172.16.0.0/16\nFLANNEL_SUBNET=172.16.1.1/24\nFLANNEL_MTU=1500\nFLANNEL_IPMASQ=false\n",
  );
  assert.equal(
    renderSubnetEnv({ networks: cidrs("fd00:10:244::/48"), subnets: cidrs("fd00:10:244:1::/64"), mtu: 1430, ipMasq: false }),
    "FLANNEL_IPV6_NETWORK=fd00:10:244::/48\nFLANNEL_IPV6_SUBNET=fd00:10:244:1::1/64\nFLANNEL_MTU=1430\nFLANNEL_IPMASQ=false\n",
  );
});

test("parseSubnetEnv() reads back what renderSubnetEnv() writes", () => {
  const env = parseSubnetEnv(DUAL, PATH);
  assert.deepEqual(env, {
    networks: ["10.42.0.0/16", "2001:cafe:42::/56"],
    subnets: ["10.42.0.0/24", "2001:cafe:42::/64"],
    mtu: 1450,
    ipMasq: true,
  });
  assert.equal(renderSubnetEnv(env), DUAL);
});

test("parseSubnetEnv() takes lists of networks, other lines and any order", () => {
  const text =
    "# x\n\nFLANNEL_MTU=1450\r\nexport X\nFLANNEL_NETWORKS\nFLANNEL_IPMASQ=TRUE\nFLANNEL_SUBNET=10.1.2.3/24\nFLANNEL_NETWORK=10.2.0.0/16,10.1.0.0/16,10.2.0.9/16";
  assert.deepEqual(parseSubnetEnv(text, PATH), {
    networks: ["10.2.0.0/16", "10.1.0.0/16"],
    subnets: ["10.1.2.0/24"],
    mtu: 1450,
    ipMasq: false,
  });
});

const without = (name: string) => DUAL.split("\n").filter((line) => !line.startsWith(`${name}=`)).join("\n");
const withLine = (line: string) => DUAL.replace(new RegExp(`^${line.split("=")[0]}=.*$`, "m"), line);

const WRONG: readonly (readonly [text: string, message: string])[] = [
  [
    "",
    "it is missing FLANNEL_NETWORK, FLANNEL_IPV6_NETWORK, FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU, FLANNEL_IPMASQ; the agent writes the file once it holds a lease",
  ],
  [without("FLANNEL_MTU"), "it is missing FLANNEL_MTU; the agent writes the file once it holds a lease"],
  [without("FLANNEL_IPMASQ"), "it is missing FLANNEL_IPMASQ; the agent writes the file once it holds a lease"],
  [withLine("FLANNEL_SUBNET=10.42.0.1"), "FLANNEL_SUBNET is 10.42.0.1: expected one IPv4 prefix"],
  [withLine("FLANNEL_SUBNET=10.42.0.1/24,10.42.1.1/24"), "FLANNEL_SUBNET is 10.42.0.1/24,10.42.1.1/24: expected one IPv4 prefix"],
  [withLine("FLANNEL_SUBNET=fc00::1/64"), "FLANNEL_SUBNET is fc00::1/64: expected one IPv4 prefix"],
  [withLine("FLANNEL_IPV6_SUBNET="), "FLANNEL_IPV6_SUBNET is empty: expected one IPv6 prefix"],
  [withLine("FLANNEL_NETWORK=10.42.0.0/16,x"), "FLANNEL_NETWORK is 10.42.0.0/16,x: expected IPv4 prefixes with commas between"],
  [withLine("FLANNEL_IPV6_NETWORK=10.0.0.0/8"), "FLANNEL_IPV6_NETWORK is 10.0.0.0/8: expected IPv6 prefixes with commas between"],
  [withLine("FLANNEL_MTU=-1"), "FLANNEL_MTU is -1: expected a number of bytes such as 1450"],
  [withLine("FLANNEL_MTU="), "FLANNEL_MTU is empty: expected a number of bytes such as 1450"],
  [withLine("FLANNEL_MTU=4294967296"), "FLANNEL_MTU is 4294967296: expected a number of bytes such as 1450"],
  [withLine("FLANNEL_MTU"), 'FLANNEL_MTU has no value: expected "FLANNEL_MTU=..."'],
  [withLine("FLANNEL_SUBNET=a\u2028b"), "FLANNEL_SUBNET is a\\u{2028}b: expected one IPv4 prefix"],
];

test("parseSubnetEnv() names what is wrong or missing", () => {
  for (const [text, message] of WRONG) assert.equal(refusal(text), message);
});

test("parseSubnetEnv() is content with one family", () => {
  const text = without("FLANNEL_NETWORK").replace(/^FLANNEL_SUBNET=.*\n/m, "");
  assert.deepEqual(parseSubnetEnv(text, PATH).subnets, ["2001:cafe:42::/64"]);
});

const PREVIOUS: readonly (readonly [text: string, subnets: readonly string[]])[] = [
  [DUAL, ["10.42.0.0/24", "2001:cafe:42::/64"]],
  ["FLANNEL_SUBNET=10.5.52.1/24\n", ["10.5.52.0/24"]],
  ["FLANNEL_SUBNET=bad,10.5.52.1/24,10.5.52/24,fc00::1/64\n", ["10.5.52.0/24"]],
  ["FLANNEL_SUBNET=10.5.52.1/24,10.5.53.1/24\n", []],
  ["FLANNEL_SUBNET=bad\nFLANNEL_IPV6_SUBNET=10.1.0.0/16\n", []],
  ["FLANNEL_SUBNET=\n", []],
  ["FLANNEL_SUBNET\n", []],
  ["", []],
  ["#FLANNEL_SUBNET=10.5.52.1/24", []],
  ["XFLANNEL_SUBNET=10.5.52.1/24", []],
  [" export FLANNEL_SUBNET = \"10.5.52.1/24\" # mine\r\nFLANNEL_IPV6_SUBNET='fc00::1/64'", ["10.5.52.0/24", "fc00::/64"]],
  ["FLANNEL_SUBNET=10.5.52.1/24\nFLANNEL_SUBNET=10.5.53.1/24", ["10.5.53.0/24"]],
];

test("previousSubnets() finds the subnets of before, and nothing in what is malformed", () => {
  for (const [text, subnets] of PREVIOUS) assert.deepEqual(previousSubnets(text), subnets, text);
});

test("no text makes more than a ConfigError of one line", () => {
  const words = [
    "FLANNEL_NETWORK",
    "FLANNEL_SUBNET",
    "FLANNEL_IPV6_SUBNET",
    "FLANNEL_MTU",
    "FLANNEL_IPMASQ",
    "=",
    "=",
    "=",
    "\n",
    "\n",
    "10.1.0.0/16",
    "fc00::/64",
    "1450",
    "true",
    ",",
    "\r",
    "\0",
    "\u2028",
    "\ud800",
    '"',
    "#",
    " ",
  ];
  let seed = 3;
  const next = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  for (let i = 0; i < 30_000; i++) {
    const text = Array.from({ length: next(40) }, () => words[next(words.length)]).join("");
    previousSubnets(text);
    try {
      parseSubnetEnv(text, PATH);
    } catch (error) {
      assert.ok(error instanceof ConfigError, `${JSON.stringify(text)}: ${error}`);
      assert.match(error.message, /^[^\p{Cc}\u2028\u2029]{1,400}$/u);
    }
  }
});
