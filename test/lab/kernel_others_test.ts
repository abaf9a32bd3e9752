/**
 * What is not ours is neither seen as ours nor touched, and named where it is in the way; what a former flanneld left is adopted.
 *
 * @module
 */

import assert from "node:assert/strict";
import { parseCidr, parseIp, parseMac } from "../../src/model/ip.ts";
import { type Item, KINDS, type Nexthop } from "../../src/model/item.ts";
import { labTest } from "./case.ts";
import { run } from "./command.ts";
import { ADDRESS, hop, ip, OWN, Room, route, VXLAN } from "./kernel_room.ts";

/** All that the kernel holds, as `ip` and `bridge` tell it. */
async function state(): Promise<string[]> {
  const commands = ["ip route show table all", "ip -6 route show table all", "ip nexthop", "ip addr", "ip neigh", "bridge fdb"];
  const texts = await Promise.all(commands.map((command) => run(command.split(" "))));
  return texts.flatMap((text) => text.replace(/valid_lft .*|expires \d+sec/g, "").split("\n").map((line) => line.trim()));
}

const keys = (items: ReadonlyMap<string, Item>) => [...items.keys()].filter((key) => key !== "reverse-path d0").toSorted();

labTest("routes that only look like ours are not seen", async () => {
  using room = await Room.open();
  await ip(
    "route add 10.244.2.0/24 via 192.0.2.2 proto 87", // ours
    "route add 10.244.3.0/24 via 192.0.2.2 proto 4", // another protocol
    "route add 10.244.4.0/25 via 192.0.2.2 proto 87", // no lease's length
    "route add 10.245.0.0/24 via 192.0.2.2 proto 87", // another network
    "route add 10.244.5.0/24 via 192.0.2.2 proto 87 metric 5", // another key
    "route add 10.244.6.0/24 via 192.0.2.2 proto 87 tos 4", // another key
    "route add 10.244.7.0/24 via 192.0.2.2 proto 87 table 77",
    "route add 10.244.8.0/24 dev d0 proto boot", // not flanneld's: without a gateway
    "route add 10.0.0.0/8 via 192.0.2.2 proto boot",
    "route add fd00:244:0:2::/64 via 2001:db8::2 proto 87", // ours
    "route add fd00:244:0:3::/64 via 2001:db8::2 proto 87 metric 5",
    "route add fd00:244:0:4::/65 via 2001:db8::2 proto 87",
  );
  assert.deepEqual(keys(room.look().items), ["route 10.244.2.0/24", "route fd00:244:0:2::/64"]);
});

labTest("nexthop objects are ours by protocol and id, by the plan, by our device, or by a route of ours", async () => {
  using room = await Room.open();
  await room.put(VXLAN, ADDRESS);
  await ip(
    `nexthop add id ${0x0af40200} via 192.0.2.2 dev d0 proto 87`, // 10.244.2.0
    `nexthop add id ${0xf0000002} via 2001:db8::2 dev d0 proto 87`, // planned
    `nexthop add id ${0xf0000009} via 10.244.9.0 dev flannel.1 onlink proto 87`, // on our device
    `nexthop add id ${0xf0000008} via 192.0.2.2 dev d0 proto 87`, // a route of ours uses it
    `route add 10.244.8.0/24 nhid ${0xf0000008} proto 87`,
    `nexthop add id ${0x0af40300} via 192.0.2.2 dev d0 proto 4`, // another protocol
    `nexthop add id ${0x0af50200} via 192.0.2.2 dev d0 proto 87`, // 10.245.2.0
    `nexthop add id ${0x0af40201} via 192.0.2.2 dev d0 proto 87`, // no subnet's address
    `nexthop add id ${0xf0000077} via 192.0.2.2 dev d0 proto 87`, // any IPv6 id
    `nexthop add id ${0x0af40400} group ${0x0af40200} proto 87`,
  );
  const { items, foreign } = room.look();
  const seen = keys(items).filter((key) => key.startsWith("nexthop")).map((key) => Number(key.split(" ")[1]));
  assert.deepEqual(new Set(seen), new Set([0x0af40200, 0xf0000002, 0xf0000009, 0xf0000008]));
  const others = [0x0af40300, 0x0af50200, 0x0af40201, 0xf0000077, 0x0af40400];
  assert.deepEqual(new Set(foreign.keys()), new Set(others.map((id) => `nexthop ${id}`)));
  assert.equal(foreign.get(`nexthop ${0x0af40300}`), `nexthop ${0x0af40300} belongs to protocol 4 on d0`);
});

labTest("addresses, neighbours and entries of other devices, and addresses outside of our networks, are not seen", async () => {
  using room = await Room.open();
  await room.put(VXLAN);
  await ip(
    "addr add 10.244.1.0/32 dev d0",
    "addr add 192.168.7.7/32 dev flannel.1",
    "neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev d0 nud permanent",
    "neigh add 10.244.3.0 lladdr 02:00:00:00:00:03 dev flannel.1 nud reachable",
    "link add other1 type vxlan id 9 dstport 4789",
  );
  await run(["bridge", "fdb", "add", "02:00:00:00:00:09", "dev", "other1", "dst", "192.0.2.9"]);
  assert.deepEqual(keys(room.look().items), ["link flannel.1"]);
});

labTest("what others hold under our keys is neither overwritten nor dropped, and named", async () => {
  using room = await Room.open();
  await room.put(VXLAN, ADDRESS);
  await ip(
    "route add 10.244.2.0/24 via 192.0.2.7 proto 4",
    "route add fd00:244:0:2::/64 via 2001:db8::7 proto 4",
    `nexthop add id ${0x0af40300} via 192.0.2.7 dev d0 proto 4`,
    "link add flannel-v6.1 type veth peer name d9",
  );
  const before = await state();
  const nexthop: Nexthop = { kind: "nexthop", id: 0x0af40300, hop: hop("192.0.2.2", "d0") };
  const [near, near6] = [route("10.244.2.0/24", hop("192.0.2.2", "d0")), route("fd00:244:0:2::/64", hop("2001:db8::2", "d0"))];
  const other = { ...VXLAN, name: "flannel.9" };
  const expected: [Item, RegExp][] = [
    [
      near,
      /^Cannot add route 10\.244\.2\.0\/24 .*: EEXIST: a route of protocol 4 over d0 is there; remove it with: ip route del 10\.244\.2\.0\/24$/,
    ],
    [
      near6,
      /^Cannot add route fd00:244:0:2::\/64 .*: EEXIST: a route of protocol 4 over d0 is there; remove it with: ip route del fd00:244:0:2::\/64$/,
    ],
    [nexthop, /^Cannot add nexthop \d+ via 192\.0\.2\.2 dev d0: EEXIST/],
    [{ ...VXLAN, name: "flannel-v6.1", vni: 5 }, /^Cannot add link flannel-v6\.1 .*: EEXIST/],
    [other, /^Cannot add link flannel\.9 .*: EEXIST.*: device flannel\.1 has VNI 1 and port 8472 already$/],
  ];
  for (const [item, words] of expected) {
    const { error, foreign } = await room.refused(item);
    assert.match(error, words);
    assert.equal(foreign, true);
  }
  const dropped = await room.kernel.apply([near, near6].map((item) => ({ op: "drop", item })));
  assert.deepEqual([...dropped], []); // of ours there is none: so it is gone
  assert.deepEqual(await state(), before);
  assert.equal(room.look().foreign.get("link flannel-v6.1"), "a device of kind veth has this name");
});

labTest("what a former flanneld left is adopted: seen, kept where right, replaced in place, dropped", async () => {
  using room = await Room.open();
  await ip(
    "link add flannel.1 mtu 1450 address 02:00:00:00:00:01 type vxlan id 1 local 192.0.2.1 dev d0 dstport 8472 nolearning",
    "link set flannel.1 up",
    "addr add 10.244.1.0/32 dev flannel.1",
    "neigh add 10.244.2.0 lladdr 02:00:00:00:00:02 dev flannel.1 nud permanent",
    "route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    "route add 10.244.3.0/24 via 192.0.2.2",
    "route add fd00:244:0:3::/64 via 2001:db8::2",
  );
  await run(["bridge", "fdb", "add", "02:00:00:00:00:02", "dev", "flannel.1", "dst", "192.0.2.2"]);
  room.assertHeld(VXLAN);
  room.assertHeld(ADDRESS);
  room.assertHeld({ kind: "neighbour", link: "flannel.1", ip: parseIp("10.244.2.0"), mac: parseMac("02:00:00:00:00:02") });
  const far = route("10.244.2.0/24", hop("10.244.2.0", "flannel.1", true));
  const [near, near6] = [route("10.244.3.0/24", hop("192.0.2.2", "d0")), route("fd00:244:0:3::/64", hop("2001:db8::2", "d0"))];
  assert.deepEqual(
    [far, near, near6].map((item) => room.held(item)),
    [far, near, near6].map((item) => ({ ...item, adopted: true })),
  );
  for (const item of [far, near, near6]) {
    await room.put(item); // the protocol becomes ours
    assert.deepEqual(room.held(item), item);
  }
  await ip("route replace 10.244.3.0/24 via 192.0.2.3", "route add 10.244.4.0/24 via 192.0.2.3");
  for (const dst of ["10.244.3.0/24", "10.244.4.0/24"]) await room.drop(room.held(route(dst, 0))!);
  assert.equal((await run(["ip", "route", "show", "10.244.3.0/24"])).trim(), "");
});

labTest("a blackhole for this node's subnet that a former flanneld left is dropped, one for another subnet stays", async () => {
  using room = await Room.open();
  const blackholes = async () => (await run(["ip", "route"]) + await run(["ip", "-6", "route"])).match(/blackhole \S+/g) ?? [];
  for (const [own, other] of [["10.244.1.0/24", "10.244.9.0/24"], ["fd00:244:0:1::/64", "fd00:244:0:9::/64"]] as const) {
    await ip(`route add blackhole ${own}`, `route add blackhole ${other}`, `route add blackhole ${own} metric 77`);
    assert.equal(room.held(route(other, 0)), null);
    await room.drop(room.held(route(own, 0))!);
    assert.deepEqual((await blackholes()).sort(), [`blackhole ${own}`, `blackhole ${other}`]); // one has another metric
    await ip(`route del blackhole ${own} metric 77`, `route del blackhole ${other}`);
    // In the meantime another node may have the subnet.
    await ip(`route add blackhole ${own}`);
    await room.put(route(own, hop(own.includes(":") ? "2001:db8::2" : "192.0.2.2", "d0")));
    assert.deepEqual(await blackholes(), []);
  }
});

labTest("dropping leaves a route of the other owner alone, whoever came last", async () => {
  using room = await Room.open();
  await ip("route add 10.244.3.0/24 via 192.0.2.2"); // boot
  await room.kernel.apply([{ op: "drop", item: route("10.244.3.0/24", hop("192.0.2.2", "d0")) }]);
  assert.match(await run(["ip", "route", "show", "10.244.3.0/24"]), /via 192\.0\.2\.2/);
});

labTest("a look at some kinds sees those only, and a network of any length takes all below it", async () => {
  using room = await Room.open();
  await room.put(VXLAN, ADDRESS);
  await ip("route add 10.244.64.0/20 via 192.0.2.2 proto 87", "route add 10.244.0.0/16 via 192.0.2.2 proto 87");
  for (const kind of KINDS) {
    assert.ok([...room.kernel.observe(new Set([kind]), OWN).items.values()].every((item) => item.kind === kind), kind);
  }
  const own = { ...OWN, networks: [{ network: parseCidr("10.244.0.0/16"), length: null }] };
  assert.deepEqual([...room.kernel.observe(new Set(["route"]), own).items.keys()], ["route 10.244.64.0/20"]);
});
