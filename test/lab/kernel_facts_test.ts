/**
 * What is read of the node: devices, addresses, default routes, where packets go; and which changes are told.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parseIp } from "../../src/model/ip.ts";
import type { Dirty } from "../../src/model/kernel.ts";
import { labTest } from "./case.ts";
import { run, until } from "./command.ts";
import { ADDRESS, ADDRESS6, ip, OWN, Room, route, VXLAN, VXLAN6 } from "./kernel_room.ts";

const NOWHERE = { onLink: null, link: null, src: null };

labTest("lookups: on a segment, over a gateway, here, nowhere, over a tunnel, over our own device", async () => {
  using room = await Room.open();
  await room.put(VXLAN, VXLAN6, ADDRESS, ADDRESS6);
  await ip(
    "route add 198.51.100.0/24 via 192.0.2.2",
    "route add unreachable 203.0.113.0/25",
    "route add blackhole 203.0.113.128/25",
    "route add 10.244.2.0/24 dev flannel.1 src 10.244.1.0",
    "link add other1 type vxlan id 9 dstport 4789",
    "link set other1 up",
    "route add 198.18.0.0/16 dev other1 src 192.0.2.1",
    "route add 2001:db8:5::/64 via 2001:db8::2",
    "route add 2001:db8:6::/64 dev flannel-v6.1",
    "route add unreachable 2001:db8:7::/64",
  );
  const src = parseIp("192.0.2.1");
  const src6 = parseIp("2001:db8::1");
  const expected = {
    "192.0.2.2": { onLink: "d0", link: "d0", src },
    "198.51.100.7": { onLink: null, link: "d0", src },
    "192.0.2.1": NOWHERE, // here
    "127.0.0.1": NOWHERE,
    "192.0.2.255": NOWHERE, // a broadcast
    "203.0.113.1": NOWHERE,
    "203.0.113.200": NOWHERE,
    "172.16.0.1": NOWHERE,
    "10.244.2.5": { onLink: null, link: "flannel.1", src: ADDRESS.ip },
    "198.18.0.1": { onLink: null, link: "other1", src },
    "2001:db8::2": { onLink: "d0", link: "d0", src: src6 },
    "2001:db8:5::1": { onLink: null, link: "d0", src: src6 },
    "2001:db8::1": NOWHERE,
    "2001:db8:7::1": NOWHERE,
    "fd99::1": NOWHERE,
  };
  const ips = Object.keys(expected).map(parseIp);
  room.kernel.facts(); // the table of devices
  assert.deepEqual(Object.fromEntries(room.kernel.lookup(ips, OWN.links)), expected);
  assert.deepEqual(room.kernel.lookup([parseIp("192.0.2.2")], ["d0"]).get(parseIp("192.0.2.2"))!.onLink, null);
  const over6 = room.kernel.lookup([parseIp("2001:db8:6::1")], OWN.links).get(parseIp("2001:db8:6::1"))!;
  assert.deepEqual([over6.onLink, over6.link], [null, "flannel-v6.1"]);
  assert.equal(room.kernel.lookup([], []).size, 0);
});

labTest("devices and addresses are what ip says of them", async () => {
  using room = await Room.open();
  await ip(
    "addr add 192.0.2.5/24 dev d0", // secondary, which is not temporary
    "addr add 2001:db8::5/64 dev d0 nodad preferred_lft 0",
    "addr add 2001:db8::6/64 dev d0 nodad valid_lft 1000 preferred_lft 900",
    "link add b0 type bridge",
    "link set d1 down",
  );
  const { links, addresses } = room.kernel.facts();
  const shown = JSON.parse(await run(["ip", "-j", "-d", "link", "show"]));
  for (const link of shown) {
    const fact = links.find(({ name }) => name === link.ifname)!;
    assert.deepEqual(
      [fact.index, fact.mtu, fact.kind, fact.up, fact.carrier, fact.loopback],
      [
        link.ifindex,
        link.mtu,
        link.linkinfo?.info_kind ?? "",
        link.flags.includes("UP"),
        link.flags.includes("LOWER_UP"),
        link.link_type === "loopback",
      ],
    );
    if (!fact.loopback) assert.equal(fact.mac, link.address);
  }
  assert.equal(links.length, shown.length);
  const of = (text: string) => {
    const { length, scope, temporary, deprecated, permanent } = addresses.find(({ link, ip }) => link === "d0" && ip === text)!;
    return { length, scope, temporary, deprecated, permanent };
  };
  const plain = { length: 24, scope: 0, temporary: false, deprecated: false, permanent: true };
  assert.deepEqual(of("192.0.2.1"), plain);
  assert.deepEqual(of("192.0.2.5"), plain);
  assert.deepEqual(of("2001:db8::1"), { ...plain, length: 64 });
  assert.deepEqual(of("2001:db8::5"), { ...plain, length: 64, deprecated: true });
  assert.deepEqual(of("2001:db8::6"), { ...plain, length: 64, permanent: false });
  assert.equal(addresses.find(({ ip }) => ip.startsWith("fe80::"))!.scope, 253);
});

labTest("the default route is the first of the main table; a multipath or a dead end is none", async () => {
  using room = await Room.open();
  assert.deepEqual([room.kernel.defaultRoute(4), room.kernel.defaultRoute(6)], [null, null]);
  await ip("route add default via 192.0.2.2 metric 50", "route add default via 2001:db8::2");
  assert.deepEqual([room.kernel.defaultRoute(4), room.kernel.defaultRoute(6)], ["d0", "d0"]);
  await ip("addr add 198.51.100.1/24 dev d1", "route add default via 198.51.100.2 dev d1 metric 10");
  assert.equal(room.kernel.defaultRoute(4), "d1");
  await ip("route flush default", "route add default nexthop via 192.0.2.2 nexthop via 192.0.2.3");
  assert.equal(room.kernel.defaultRoute(4), null);
  await ip("route flush default", "route add unreachable default", "route add default via 192.0.2.2 table 77");
  assert.equal(room.kernel.defaultRoute(4), null);
});

labTest("changes of others are told within moments, our own are not", async () => {
  using room = await Room.open();
  await room.put(VXLAN, ADDRESS);
  let told: Dirty[] = [];
  using _watch = room.kernel.watch(() => OWN, (dirty) => told.push(...dirty));
  const cases: [string, Dirty[]][] = [
    ["ip route add 10.244.7.0/24 via 192.0.2.2", ["route"]],
    ["ip neigh add 10.244.7.0 lladdr 02:00:00:00:00:07 dev flannel.1 nud permanent", ["neighbour"]],
    ["bridge fdb add 02:00:00:00:00:07 dev flannel.1 dst 192.0.2.7", ["fdb"]],
    ["ip nexthop add id 9 via 192.0.2.2 dev d0", ["nexthop", "route"]],
    ["ip addr del 10.244.1.0/32 dev flannel.1", ["address", "route"]],
    ["ip addr add 192.0.2.99/32 dev d0", ["facts", "route"]],
    ["ip link set flannel.1 mtu 1300", ["link"]],
    ["sysctl -qw net.ipv4.conf.d0.rp_filter=1", ["reverse-path"]],
  ];
  for (const [command, wanted] of cases) {
    told = [];
    await run(command.split(" "));
    await until(`"${command}" is told`, () => wanted.every((kind) => told.includes(kind)), { state: () => told.join(" ") });
  }
  await new Promise((resolve) => setTimeout(resolve, 200)); // until all that follows from it is told
  told = [];
  await room.put(route("10.244.8.0/24", { via: parseIp("192.0.2.2"), link: "d0", onlink: false }));
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(told, []);
});
