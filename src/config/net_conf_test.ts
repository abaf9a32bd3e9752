/**
 * Network configurations: flannel's rules as tables, and what is said of wrong ones.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { ConfigError } from "./errors.ts";
import { type NetConf, parseNetConf } from "./net_conf.ts";

const SOURCE = "/etc/kube-flannel/net-conf.json";

function parse(text: string, allocates = true): NetConf {
  return parseNetConf(text, { source: SOURCE, allocates });
}

/** What is said against a text, without the part that is always the same. */
function refusal(text: string, allocates = true): string {
  try {
    parse(text, allocates);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    const start = `Cannot use the network configuration "${SOURCE}": `;
    assert.ok(error.message.startsWith(start), error.message);
    assert.match(error.message, /^[^\p{Cc}\u2028\u2029]+$/u);
    return error.message.slice(start.length);
  }
  assert.fail(`${text} is not refused`);
}

test("the walk-through's net-conf.json", () => {
  const text = '{\n  "Network": "172.16.0.0/16",\n  "Backend": {\n    "Type": "vxlan"\n  }\n}\n';
  assert.deepEqual(parse(text, false), {
    network: {
      ranges: [{ network: "172.16.0.0/16", allocation: null }],
      backendType: "vxlan",
      backendOptions: { Type: "vxlan" },
      nftables: false,
    },
    warnings: [],
  });
});

test("keys count whatever their case, and the last of several wins", () => {
  const { network, warnings } = parse(
    '{"network":"10.1.0.0/16","BACKEND":{"type":"Host-GW"},"enablenftables":true,"NETWORK":"10.2.0.0/16","SubnetLen":20,"subnetlen":null}',
  );
  assert.deepEqual([network.ranges[0]?.network, network.backendType, network.nftables, warnings], [
    "10.2.0.0/16",
    "host-gw",
    true,
    [],
  ]);
  assert.equal(network.ranges[0]?.allocation?.length, 20, "null changes nothing");
  assert.equal(
    parse('{"Network":"10.1.0.0/16","network":"10.2.0.0/16","Network":"10.3.0.0/16"}').network.ranges[0]?.network,
    "10.3.0.0/16",
  );
});

test("unknown keys are warned of, never refused", () => {
  const { network, warnings } = parse(
    '{"Network":"10.1.0.0/16","SUBNETLENGHT":25,"__proto__":{"Backend":{"Type":"x"}},"x\\n":null}',
  );
  assert.deepEqual(warnings, [
    'Key "SUBNETLENGHT" of the network configuration is not known; the nearest is "SubnetLen"',
    'Key "__proto__" of the network configuration is not known',
    'Key "x\\n" of the network configuration is not known',
  ]);
  assert.equal(network.backendType, "vxlan");
});

test("without Backend it is vxlan; options are kept as they are written", () => {
  assert.deepEqual(parse('{"Network":"10.1.0.0/16"}').network.backendOptions, { Type: "vxlan" });
  const { network } = parse('{"Network":"10.1.0.0/16","Backend":{"TYPE":"VXLAN","vni":7,"Colour":"red"}}');
  assert.deepEqual([network.backendType, network.backendOptions], ["vxlan", { TYPE: "VXLAN", vni: 7, Colour: "red" }]);
});

const CUT: readonly (readonly [conf: string, length: number, min: string, max: string])[] = [
  ['"10.3.0.0/16"', 24, "10.3.1.0", "10.3.255.0"],
  ['"10.3.4.5/16"', 24, "10.3.1.0", "10.3.255.0"],
  ['"10.3.0.0/22"', 24, "10.3.1.0", "10.3.3.0"],
  ['"10.3.0.0/23"', 25, "10.3.0.128", "10.3.1.128"],
  ['"10.3.0.0/28"', 30, "10.3.0.4", "10.3.0.12"],
  ['"10.0.0.0/8"', 24, "10.0.1.0", "10.255.255.0"],
  ['"128.0.0.0/1"', 24, "128.0.1.0", "255.255.255.0"],
  ['"10.3.0.0/16", "SubnetLen": 0', 24, "10.3.1.0", "10.3.255.0"],
  ['"10.3.0.0/16", "SubnetLen": 18', 18, "10.3.64.0", "10.3.192.0"],
  ['"10.3.0.0/16", "SubnetLen": 30', 30, "10.3.0.4", "10.3.255.252"],
  ['"10.3.0.0/16", "SubnetMin": "10.3.0.0", "SubnetMax": "10.3.5.0"', 24, "10.3.0.0", "10.3.5.0"],
  ['"10.3.0.0/16", "SubnetMin": "0.0.0.0", "SubnetMax": "0.0.0.0"', 24, "10.3.1.0", "10.3.255.0"],
  ['"10.3.0.0/16", "SubnetMin": "10.3.9.0", "SubnetMax": "10.3.9.0"', 24, "10.3.9.0", "10.3.9.0"],
];

test("a store that allocates gets length, first and last subnet", () => {
  for (const [conf, length, min, max] of CUT) {
    assert.deepEqual(parse(`{"Network": ${conf}}`).network.ranges[0]?.allocation, { length, min, max }, conf);
  }
});

const CUT6: readonly (readonly [conf: string, length: number, min: string, max: string])[] = [
  ['"fc00::/48"', 64, "fc00:0:0:1::", "fc00:0:0:ffff::"],
  ['"fc00::/62"', 64, "fc00:0:0:1::", "fc00:0:0:3::"],
  ['"fc00::/63"', 65, "fc00::8000:0:0:0", "fc00:0:0:1:8000::"],
  ['"fc00::/124"', 126, "fc00::4", "fc00::c"],
  ['"2001:cafe:42::/56", "IPv6SubnetLen": 80', 80, "2001:cafe:42:0:1::", "2001:cafe:42:ff:ffff::"],
  ['"fc00::/48", "IPv6SubnetMin": null, "IPv6SubnetMax": "::"', 64, "fc00:0:0:1::", "fc00:0:0:ffff::"],
  ['"fc00::/48", "IPv6SubnetMin": "fc00:0:0:20::"', 64, "fc00:0:0:20::", "fc00:0:0:ffff::"],
];

test("IPv6 is cut by the same rules", () => {
  for (const [conf, length, min, max] of CUT6) {
    const { network } = parse(`{"EnableIPv4": false, "EnableIPv6": true, "IPv6Network": ${conf}}`);
    assert.deepEqual(network.ranges.map((range) => range.allocation), [{ length, min, max }], conf);
  }
});

test("both families give two ranges, IPv4 first", () => {
  const text = '{"IPv6Network":"2001:cafe:42::7/56","EnableIPv6":true,"Network":"10.42.0.0/16"}';
  assert.deepEqual(parse(text).network.ranges.map((range) => range.network), ["10.42.0.0/16", "2001:cafe:42::/56"]);
});

test("a store that does not allocate gets no cut, and nobody checks one", () => {
  const text = '{"Network":"10.3.0.0/31","SubnetLen":31,"SubnetMin":"192.0.2.1"}';
  const { network, warnings } = parse(text, false);
  assert.deepEqual(network.ranges, [{ network: "10.3.0.0/31", allocation: null }]);
  assert.deepEqual(warnings, [
    'Key "SubnetLen" of the network configuration does nothing: the lease store does not cut the subnets itself',
    'Key "SubnetMin" of the network configuration does nothing: the lease store does not cut the subnets itself',
  ]);
});

test("keys of a family that is off are warned of", () => {
  assert.match(
    parse('{"Network":"10.3.0.0/16","IPv6Network":"fc00::/48"}').warnings[0]!,
    /"IPv6Network" .* does nothing: "EnableIPv6" is not true$/,
  );
  const off = '{"Network":"10.3.0.0/16","EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fc00::/48"}';
  assert.match(parse(off).warnings[0]!, /"Network" .* does nothing: "EnableIPv4" is false$/);
});

test("null is the same as absent where Go ignores it", () => {
  const text =
    '{"Network":"10.3.0.0/16","EnableIPv4":null,"EnableIPv6":null,"EnableNFTables":null,"SubnetLen":null,"IPv6SubnetLen":null}';
  assert.deepEqual(parse(text).network, parse('{"Network":"10.3.0.0/16"}').network);
});

const v4 = (more: string) => `{"Network":"10.3.0.0/16",${more}}`;
const WRONG: readonly (readonly [text: string, message: string])[] = [
  ["", "line 1, column 1: expected an object in braces, found the end of the text"],
  ['{"Network":"10.3.0.0/16"} x', "line 1, column 27: expected nothing more, found x"],
  ['{\n  "Network": "10.3.0.0/16"\n  "Backend": {}\n}', 'line 3, column 3: expected "," or "}", found "'],
  ["{}", '"Network" is missing: expected a prefix such as 10.244.0.0/16'],
  ['{"Network":""}', '"Network" is "": expected an IPv4 prefix such as 10.244.0.0/16'],
  ['{"Network":null}', '"Network" is null: expected an IPv4 prefix such as 10.244.0.0/16'],
  ['{"Network":"10.3.0.0"}', '"Network" is "10.3.0.0": expected an IPv4 prefix such as 10.244.0.0/16'],
  ['{"Network":"10.3.0.0/33"}', '"Network" is "10.3.0.0/33": expected an IPv4 prefix such as 10.244.0.0/16'],
  ['{"Network":"fc00::/48"}', '"Network" is "fc00::/48": expected an IPv4 prefix such as 10.244.0.0/16'],
  ['{"Network":["10.3.0.0/16"]}', '"Network" is ["10.3.0.0/16"]: expected an IPv4 prefix such as 10.244.0.0/16'],
  ['{"Network":"0.0.0.0/0"}', '"Network" is 0.0.0.0/0: expected a prefix such as 10.244.0.0/16'],
  [
    '{"Network":"10.3.0.0/29"}',
    '"Network" is 10.3.0.0/29: expected a prefix of at most /28: it must hold four subnets, each with four addresses',
  ],
  [
    '{"Network":"10.3.0.0/32"}',
    '"Network" is 10.3.0.0/32: expected a prefix of at most /28: it must hold four subnets, each with four addresses',
  ],
  [v4('"SubnetLen":17'), '"SubnetLen" is 17: expected a number from 18 to 30, for four subnets or more in 10.3.0.0/16'],
  [v4('"SubnetLen":31'), '"SubnetLen" is 31: expected a number from 18 to 30, for four subnets or more in 10.3.0.0/16'],
  [v4('"SubnetLen":24.0'), '"SubnetLen" is 24.0: expected a whole number such as 24'],
  [v4('"SubnetLen":2e1'), '"SubnetLen" is 2e1: expected a whole number such as 24'],
  [v4('"SubnetLen":-1'), '"SubnetLen" is -1: expected a whole number such as 24'],
  [v4('"SubnetLen":"24"'), '"SubnetLen" is "24": expected a whole number such as 24'],
  [v4('"SubnetMin":"10.3.0.5"'), '"SubnetMin" is 10.3.0.5: expected the first address of a /24, such as 10.3.0.0'],
  [v4('"SubnetMin":"10.4.0.0"'), '"SubnetMin" is 10.4.0.0: expected an address in 10.3.0.0/16'],
  [v4('"SubnetMax":"10.3.9.1"'), '"SubnetMax" is 10.3.9.1: expected the first address of a /24, such as 10.3.9.0'],
  [v4('"SubnetMax":"10.2.255.0"'), '"SubnetMax" is 10.2.255.0: expected an address in 10.3.0.0/16'],
  [
    v4('"SubnetMin":"10.3.9.0","SubnetMax":"10.3.8.0"'),
    '"SubnetMax" is 10.3.8.0: expected an address not before SubnetMin, which is 10.3.9.0',
  ],
  [v4('"SubnetMin":null'), '"SubnetMin" is null: expected an IPv4 address'],
  [v4('"SubnetMin":"::"'), '"SubnetMin" is "::": expected an IPv4 address'],
  [v4('"IPv6SubnetMin":"10.3.0.0"'), '"IPv6SubnetMin" is "10.3.0.0": expected an IPv6 address'],
  [v4('"EnableIPv4":"true"'), '"EnableIPv4" is "true": expected true or false'],
  [v4('"EnableIPv6":1'), '"EnableIPv6" is 1: expected true or false'],
  [v4('"EnableIPv4":false'), '"EnableIPv4" and "EnableIPv6" are false: expected true for one of them'],
  [v4('"EnableIPv6":true'), '"IPv6Network" is missing: expected a prefix such as fd00:10:244::/48'],
  [
    v4('"EnableIPv6":true,"IPv6Network":"10.4.0.0/16"'),
    '"IPv6Network" is "10.4.0.0/16": expected an IPv6 prefix such as fd00:10:244::/48',
  ],
  [v4('"IPv6Network":""'), '"IPv6Network" is "": expected an IPv6 prefix such as fd00:10:244::/48'],
  [
    v4('"EnableIPv6":true,"IPv6Network":"fc00::/48","IPv6SubnetLen":127'),
    '"IPv6SubnetLen" is 127: expected a number from 50 to 126, for four subnets or more in fc00::/48',
  ],
  [
    v4('"EnableIPv6":true,"IPv6Network":"fc00::/125"'),
    '"IPv6Network" is fc00::/125: expected a prefix of at most /124: it must hold four subnets, each with four addresses',
  ],
  [
    v4('"EnableIPv6":true,"IPv6Network":"fc00::/48","IPv6SubnetMax":"fc01::"'),
    '"IPv6SubnetMax" is fc01::: expected an address in fc00::/48',
  ],
];

test("what is wrong is named by key, value and what is expected", () => {
  for (const [text, message] of WRONG) assert.equal(refusal(text), message);
});

test("a Backend without a usable Type is refused, and its options are not shown", () => {
  for (
    const backend of [
      "null",
      "{}",
      '"vxlan"',
      "[]",
      '{"Type":""}',
      '{"Type":1}',
      '{"Type":null,"PSK":"hunter2"}',
      '{"Type":"../x"}',
      '{"Type":"a\\nb"}',
    ]
  ) {
    const message = '"Backend" is null or has no usable "Type": expected an object with a "Type", such as {"Type": "vxlan"}';
    assert.equal(refusal(v4(`"Backend":${backend}`)), message, backend);
  }
});

test("a store that does not allocate is told of malformed values too", () => {
  for (const text of ['{"Network":""}', v4('"SubnetLen":"24"'), v4('"Backend":{}'), "{}"]) refusal(text, false);
});

test("values and sources can not break the line, nor make it long", () => {
  assert.equal(refusal(v4(`"SubnetLen":[\n"${"x".repeat(1000)}"]`)).split(":")[0], `"SubnetLen" is [\\u{a}"${"x".repeat(117)}...`);
  assert.throws(
    () => parseNetConf("{}", { source: "a\nb", allocates: true }),
    /^ConfigError: Cannot use the network configuration "a\\nb": /,
  );
  assert.match(refusal(" ".repeat(2 ** 20 + 1)), /^it is longer than 1048576 characters$/);
});

test("no text makes anything but a network or a ConfigError of one line", () => {
  const words = [
    "{",
    "}",
    '"Network"',
    '"SubnetLen"',
    '"SubnetMin"',
    '"EnableIPv6"',
    '"IPv6Network"',
    '"Backend"',
    '"Type"',
    ":",
    ",",
    '"10.3.0.0/16"',
    '"fc00::/48"',
    '"10.3.1.0"',
    "24",
    "null",
    "true",
    '"vxlan"',
    "[",
    "]",
    "\n",
    "\0",
    "\u2028",
    "\ud800",
    '"\\ud800"',
    "1e999",
    "-0",
  ];
  let seed = 7;
  const next = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  let good = 0;
  const word = () => words[next(words.length)]!;
  for (let i = 0; i < 30_000; i++) {
    const members = Array.from({ length: next(4) }, () => `${words[2 + next(6)]}:${next(4) === 0 ? word() + word() : word()}`);
    const text = next(2) === 0
      ? `{${['"network":"10.3.0.0/16"', ...members].join()}}`
      : Array.from({ length: next(12) }, word).join("");
    try {
      const { network } = parse(text, next(2) === 0);
      assert.ok(network.ranges.length > 0 && network.backendType !== "");
      good++;
    } catch (error) {
      assert.ok(error instanceof ConfigError, `${JSON.stringify(text)}: ${error}`);
      assert.match(error.message, /^[^\p{Cc}\u2028\u2029]{1,600}$/u);
    }
  }
  assert.ok(good > 500, `only ${good} texts were network configurations`);
});

test("no change of single characters makes anything else of a good text either", () => {
  const good =
    '{"Network":"10.3.0.0/16","SubnetLen":24,"EnableIPv6":true,"IPv6Network":"fc00::/48","Backend":{"Type":"vxlan","VNI":1}}';
  let seed = 11;
  const next = (below: number) => (seed = (seed * 48271) % 2147483647) % below;
  let accepted = 0;
  for (let i = 0; i < 30_000; i++) {
    const units = Array.from(good, (char) => char.charCodeAt(0));
    for (let changes = 1 + next(3); changes > 0; changes--) {
      units.splice(next(units.length), next(2), next(4) === 0 ? next(0x10000) : next(0x80));
    }
    try {
      parse(String.fromCharCode(...units));
      accepted++;
    } catch (error) {
      assert.ok(error instanceof ConfigError, String(error));
      assert.match(error.message, /^[^\p{Cc}\u2028\u2029]{1,600}$/u);
    }
  }
  assert.ok(accepted > 300 && accepted < 29_700, `${accepted} texts were accepted`);
});
