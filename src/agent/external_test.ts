/**
 * The choice of the device that leads to the other nodes, rule by rule.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import type { InterfaceChoice } from "../config/flag_types.ts";
import { type Ip, parseIp } from "../model/ip.ts";
import type { AddressFact, LinkFact } from "../model/kernel.ts";
import { chooseExternal, type ExternalInput } from "./external.ts";

const link = (name: string, mtu = 1500): LinkFact => ({
  ...{ name, index: 1, kind: "", mac: null, mtu, up: true, carrier: true, loopback: false },
});

const address = (link: string, ip: string, odd: Partial<AddressFact> = {}): AddressFact => ({
  ...{ link, ip: parseIp(ip), length: 24, scope: 0, temporary: false, deprecated: false, permanent: true, ...odd },
});

const BASE: ExternalInput = {
  families: [4],
  choices: [],
  publicIps: [],
  facts: {
    links: [link("lo"), link("eth0"), link("eth1", 9000), link("wlan0")],
    addresses: [
      address("lo", "127.0.0.1", { scope: 254 }),
      address("eth0", "192.0.2.1"),
      address("eth0", "192.0.2.2"),
      address("eth0", "2001:db8::1"),
      address("eth1", "198.51.100.1"),
      address("eth1", "fe80::1", { scope: 253 }),
    ],
  },
  defaultRoute: () => "eth0",
  lookup: (ip) => ({
    onLink: null,
    link: ip.startsWith("203.") ? "eth1" : null,
    src: ip === "203.0.113.7" ? parseIp("198.51.100.1") : null,
  }),
};

/** The chosen device with its addresses, or the reason, in one line. */
function choice(odd: Partial<ExternalInput>): string {
  const found = chooseExternal({ ...BASE, ...odd });
  return "reason" in found ? found.reason : [found.link.name, ...found.addresses.values()].join(" ");
}

const name = (name: string): InterfaceChoice => ({ by: "name", name });
const regex = (text: string): InterfaceChoice => ({ by: "regex", regex: new RegExp(text) });
const reach = (ip: string): InterfaceChoice => ({ by: "reach", ip: parseIp(ip) });
const ip = (ip: string): InterfaceChoice => ({ by: "address", ip: parseIp(ip) });
const withAddresses = (...addresses: readonly AddressFact[]) => ({ facts: { ...BASE.facts, addresses } });

const CASES: readonly (readonly [string, Partial<ExternalInput>, string | RegExp])[] = [
  ["the device of the default route, with its first address", {}, "eth0 192.0.2.1"],
  ["both families' addresses", { families: [4, 6] }, "eth0 192.0.2.1 2001:db8::1"],
  ["IPv6 alone", { families: [6] }, "eth0 2001:db8::1"],
  ["the device that has the public address", { publicIps: [parseIp("198.51.100.1")] }, "eth1 198.51.100.1"],
  [
    "the default route's for a public address that no device has, as behind NAT",
    { publicIps: [parseIp("203.0.113.5")] },
    "eth0 192.0.2.1",
  ],
  ["the public address, though it is not the first", { publicIps: [parseIp("192.0.2.2")] }, "eth0 192.0.2.2"],
  ["a name", { choices: [name("eth1")] }, "eth1 198.51.100.1"],
  ["an address", { choices: [ip("192.0.2.2")] }, "eth0 192.0.2.2"],
  ["the device that a route leads over, with the kernel's source", { choices: [reach("203.0.113.7")] }, "eth1 198.51.100.1"],
  ["... or with its own address, where the kernel names none", { choices: [reach("203.0.113.8")] }, "eth1 198.51.100.1"],
  ["an expression for an address before one for a name", { choices: [regex("^198\\.|eth0")] }, "eth1 198.51.100.1"],
  ["an expression for a name", { choices: [regex("^eth1$")] }, "eth1 198.51.100.1"],
  [
    "the first choice that leads somewhere",
    { choices: [name("eth7"), regex("nothing"), name("eth1"), name("eth0")] },
    "eth1 198.51.100.1",
  ],
  [
    "a global address before a link-local one, a permanent before a leased, a lasting before a temporary",
    {
      families: [6],
      ...withAddresses(
        address("eth0", "fe80::1", { scope: 253 }),
        address("eth0", "2001:db8::d", { deprecated: true }),
        address("eth0", "2001:db8::2", { temporary: true }),
        address("eth0", "2001:db8::3", { permanent: false }),
        address("eth0", "2001:db8::4"),
      ),
    },
    "eth0 2001:db8::4",
  ],
  ["a link-local address if there is no other", { families: [6], choices: [name("eth1")] }, "eth1 fe80::1"],
  [
    "nothing without a default route",
    { defaultRoute: () => null },
    /^there is no default route \(IPv4\); name the device with --iface$/,
  ],
  [
    "nothing where the families leave over different devices",
    { families: [4, 6], defaultRoute: (family) => `eth${family === 4 ? 0 : 1}` },
    /^the families' default routes leave over different devices \(IPv4 and IPv6\)/,
  ],
  [
    "nothing where one family has no default route",
    { families: [4, 6], defaultRoute: (family) => family === 4 ? "eth0" : null },
    /default route/,
  ],
  ["nothing of a device that does not exist", { choices: [name("eth7")] }, /^device eth7 does not exist$/],
  ["nothing of a device without an address", { choices: [name("wlan0")] }, /^device wlan0 has no usable IPv4 address$/],
  ["nothing of a device without one of the families", { families: [4, 6], choices: [regex("^198\\.")] }, /no address and no name/],
  ["nothing of a device without an MTU", { facts: { ...BASE.facts, links: [link("eth0", 0)] } }, /^device eth0 has no MTU$/],
  ["nothing by an address that nobody has", { choices: [ip("192.0.2.9")] }, /^no device has the address 192\.0\.2\.9$/],
  ["nothing where no route leads", { choices: [reach("8.8.8.8")] }, /^the kernel has no route to 8\.8\.8\.8$/],
  [
    "all reasons, where no choice leads anywhere",
    { choices: [name("a"), ip("192.0.2.9"), regex("^b$")] },
    /^device a .*; no device .*; no address/,
  ],
];

for (const [what, odd, expected] of CASES) {
  test(`chooseExternal() takes ${what}`, () => {
    const found = choice(odd);
    if (typeof expected === "string") assert.equal(found, expected);
    else assert.match(found, expected);
  });
}

test("chooseExternal() does not depend on the order of addresses that differ in worth", () => {
  const addresses = [
    address("eth0", "2001:db8::2", { temporary: true }),
    address("eth0", "2001:db8::4"),
    address("eth0", "fe80::1", { scope: 253 }),
  ];
  for (const order of [addresses, [...addresses].reverse()]) {
    assert.equal(choice({ families: [6], ...withAddresses(...order) }), "eth0 2001:db8::4" satisfies string as Ip);
  }
});
