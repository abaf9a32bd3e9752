/**
 * Every kind of item against the kernel: put, seen equal, changed by others in all it holds and seen different, healed, dropped.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type Driver, openDriver } from "../../ffi/mod.ts";
import { keys } from "../../src/cli/adapters.ts";
import { openKernel } from "../../src/kernel/kernel.ts";
import { Connection } from "../../src/netlink/connection.ts";
import { FLAG, request } from "../../src/netlink/frame.ts";
import { AF, NEIGHBOUR, PERMANENT, RTM, SELF } from "../../src/netlink/rtnl.ts";
import { parseCidr, parseIp, parseMac } from "../../src/model/ip.ts";
import {
  type Blackhole,
  type Change,
  type Fdb,
  type Item,
  KINDS,
  type Neighbour,
  type Nexthop,
  rankOf,
  type ReversePath,
  type VxlanLink,
} from "../../src/model/item.ts";
import type { Ownership } from "../../src/model/kernel.ts";
import { run } from "./command.ts";
import { labTest } from "./case.ts";
import { ADDRESS, ADDRESS6, hop, ip, OWN, Room, route, VXLAN, VXLAN6 } from "./kernel_room.ts";

const words = (line: string) => line.split(" ");
const indexOf = (room: Room, name: string) => room.kernel.facts().links.find((link) => link.name === name)!.index;

labTest("vxlan devices of both families", async () => {
  using room = await Room.open();
  for (const [link, other] of [[VXLAN, "192.0.2.9"], [VXLAN6, "2001:db8::9"]] as const) {
    const { name } = link;
    await room.put(link);
    const index = indexOf(room, name);
    await room.survives(
      link,
      words(`ip link set ${name} mtu 1300`),
      words(`ip link set ${name} address 02:00:00:00:00:99`),
      words(`ip link set ${name} type vxlan local ${other}`),
      words(`ip link set ${name} type vxlan learning`),
      words(`ip link set ${name} down`),
    );
    assert.equal(indexOf(room, name), index, "the device was made anew for what can be changed");
    const anew = (
      options: string,
    ) => ["sh", "-c", `ip link del ${name}; ip link add ${name} mtu ${link.mtu} type vxlan ${options}`];
    await room.survives(
      link,
      words(`ip link del ${name}`),
      anew(`id 2 dstport 8472 local ${link.local} nolearning`),
      anew(`id 1 dstport 4789 local ${link.local} nolearning`),
      anew(`id 1 dstport 8472 local ${link.local} nolearning gbp`),
      anew(`id 1 dstport 8472 nolearning`),
    );
    await room.drop(link);
  }
});

labTest("a device changes in place where it can, and is made anew where it can not", async () => {
  using room = await Room.open();
  await room.put(VXLAN);
  let index = indexOf(room, VXLAN.name);
  const inPlace: Partial<VxlanLink>[] = [
    { local: parseIp("192.0.2.7") },
    { mtu: 1400 },
    { mac: parseMac("02:00:00:00:00:07") },
    { learning: true },
    { learning: false, mtu: 1380, mac: parseMac("02:00:00:00:00:08"), local: parseIp("192.0.2.8") }, // all at once
  ];
  for (const change of inPlace) {
    await room.put({ ...VXLAN, ...change });
    assert.equal(indexOf(room, VXLAN.name), index, JSON.stringify(change));
  }
  for (
    const change of [{ vni: 7 }, { port: 4789 }, { gbp: true }, { local: parseIp("2001:db8::1") }] satisfies Partial<VxlanLink>[]
  ) {
    await room.put({ ...VXLAN, ...change });
    assert.notEqual(indexOf(room, VXLAN.name), index, JSON.stringify(change));
    index = indexOf(room, VXLAN.name);
  }
});

labTest("addresses, forwarding entries and neighbours of both families", async () => {
  using room = await Room.open();
  await room.put(VXLAN, VXLAN6, ADDRESS, ADDRESS6);
  await room.survives(ADDRESS, words("ip addr del 10.244.1.0/32 dev flannel.1"));
  await room.survives(ADDRESS6, words("ip addr del fd00:244:0:1::/128 dev flannel-v6.1"));
  const mac = parseMac("02:00:00:00:02:02");
  for (
    const [link, dst, other] of [["flannel.1", "192.0.2.2", "192.0.2.3"], ["flannel-v6.1", "2001:db8::2", "2001:db8::3"]] as const
  ) {
    const fdb: Fdb = { kind: "fdb", link, mac, dst: parseIp(dst) };
    await room.put(fdb);
    const replace = `bridge fdb replace ${mac} dev ${link} dst`;
    await room.survives(
      fdb,
      words(`bridge fdb del ${mac} dev ${link}`),
      words(`${replace} ${other} self permanent`),
      words(`${replace} ${dst} self dynamic`),
    );
    const index = indexOf(room, link);
    using connection = new Connection(await openDriver());
    for (const wrong of [{ port: 9999 }, { vni: 99 }, { ifindex: indexOf(room, "d0") }, { state: 2 }]) { // NUD_REACHABLE
      const entry = { family: AF.BRIDGE, index, state: PERMANENT, flags: SELF, lladdr: mac, dst: fdb.dst, ...wrong };
      assert.deepEqual(connection.send([request(RTM.NEWNEIGH, FLAG.CREATE | FLAG.REPLACE, NEIGHBOUR, entry)]), [null]);
      assert.equal(room.held(fdb), null, `${JSON.stringify(wrong)} was not seen`);
      await room.put(fdb);
    }
    await room.put({ ...fdb, dst: parseIp(other) });
    await room.drop(fdb);
  }
  for (const [link, address] of [["flannel.1", "10.244.2.0"], ["flannel-v6.1", "fe80::ff:fe00:202"]] as const) {
    const neighbour: Neighbour = { kind: "neighbour", link, ip: parseIp(address), mac };
    await room.put(neighbour);
    await room.survives(
      neighbour,
      words(`ip neigh del ${address} dev ${link}`),
      words(`ip neigh replace ${address} lladdr 02:00:00:00:00:99 dev ${link} nud permanent`),
      words(`ip neigh replace ${address} lladdr ${mac} dev ${link} nud stale`),
    );
    await room.drop(neighbour);
  }
  await room.drop(ADDRESS);
  await room.drop(ADDRESS6);
});

/** A peer's two ways in a family. */
const WAYS = [
  {
    id: 0x0af40200,
    dst: "10.244.2.0/24",
    src: ADDRESS.ip,
    direct: hop("192.0.2.2", "d0"),
    vxlan: hop("10.244.2.0", "flannel.1", true),
  },
  {
    id: 0xf0000002,
    dst: "fd00:244:0:2::/64",
    src: ADDRESS6.ip,
    direct: hop("2001:db8::2", "d0"),
    vxlan: hop("fe80::ff:fe00:202", "flannel-v6.1", true),
  },
];

labTest("nexthop objects, and routes through them, of both families", async () => {
  using room = await Room.open();
  assert.ok(room.kernel.nexthopObjects);
  await room.put(VXLAN, VXLAN6, ADDRESS, ADDRESS6);
  for (const { id, dst, src, direct, vxlan } of WAYS) {
    const nexthop = (to: typeof direct): Nexthop => ({ kind: "nexthop", id, hop: to });
    await room.put(nexthop(vxlan));
    const replace = `ip nexthop replace id ${id} proto 87`;
    await room.survives(
      nexthop(vxlan),
      words(`ip nexthop del id ${id}`),
      words(`${replace} via ${direct.via} dev d0`),
      words(`${replace} blackhole`),
    );
    await room.put(nexthop(direct));
    await room.survives(
      nexthop(direct),
      words(`${replace} via ${direct.via} dev d0 onlink`),
      words(`${replace} via ${vxlan.via} dev ${vxlan.link} onlink`),
    );
    const wanted = route(dst, id, src);
    await room.put(wanted);
    await run(words(`ip nexthop add id 77 via ${direct.via} dev d0 proto 99`));
    const change = `ip route replace ${dst} proto 87`;
    await room.survives(
      wanted,
      words(`ip route del ${dst}`),
      words(`${change} nhid ${id}`), // without its source
      words(`${change} nhid 77 src ${src}`),
      words(`${change} via ${direct.via} dev d0 src ${src}`),
    );
    await run(words(`ip nexthop del id ${id}`)); // and the route with it
    assert.equal(room.held(wanted), null);
    await room.put(nexthop(direct), wanted);
    await room.put(nexthop(vxlan)); // a move leaves the route alone
    room.assertHeld(wanted);
    await room.drop(wanted);
    await room.drop(nexthop(vxlan));
    await run(words("ip nexthop del id 77"));
  }
});

labTest("an agent that is killed between two calls leaves no nexthop that it would not know again", async () => {
  const driver = await openDriver();
  const none: Ownership = { ...OWN, nexthops: new Set() }; // their leases are gone when it comes back
  const items = Array.from({ length: 30 }, (_, i): Item[] => {
    const id = 0xf0000100 + i;
    return [{ kind: "nexthop", id, hop: hop("2001:db8::2", "d0") }, route(`fd00:244:0:${(i + 2).toString(16)}::/64`, id)];
  }).flat().sort((a, b) => rankOf[a.kind] - rankOf[b.kind]);
  const puts: Change[] = items.map((item) => ({ op: "put", item, old: null }));
  const drops: Change[] = items.toReversed().map((item) => ({ op: "drop", item }));
  for (const [before, changes] of [[[], puts], [puts, drops]] as const) {
    for (let calls = 0, killed = true; killed; calls++) {
      using room = await Room.open();
      await room.kernel.apply(before);
      let left = Infinity;
      using kernel = openKernel(endingWith(driver, () => left-- <= 0), { keys });
      left = calls;
      killed = await kernel.apply(changes).then(() => false, () => true);
      const { items, foreign } = room.kernel.observe(new Set(KINDS), none);
      assert.deepEqual([...foreign], [], `killed after ${calls} calls`);
      if (!killed) assert.equal([...items.values()].filter(({ kind }) => kind === "nexthop").length, changes === puts ? 30 : 0);
    }
  }
});

/** A driver whose sockets send nothing more from some moment on. */
function endingWith(driver: Driver, ended: () => boolean): Driver {
  return {
    ...driver,
    open(protocol, options) {
      const socket = driver.open(protocol, options);
      const send = socket.send.bind(socket);
      socket.send = (messages) => {
        if (ended()) throw new Error("killed");
        send(messages);
      };
      return socket;
    },
  };
}

labTest("classic routes of both families, where nexthop objects are not wanted", async () => {
  using room = await Room.open(false);
  assert.equal(room.kernel.nexthopObjects, false);
  await room.put(VXLAN, VXLAN6, ADDRESS, ADDRESS6);
  for (const { id, dst, src, direct, vxlan } of WAYS) {
    const change = `ip route replace ${dst} proto 87`;
    await room.put(route(dst, vxlan, src));
    await room.survives(
      route(dst, vxlan, src),
      words(`ip route del ${dst}`),
      words(`${change} via ${vxlan.via} dev ${vxlan.link} onlink`),
    );
    await room.put(route(dst, direct));
    await room.survives(
      route(dst, direct),
      words(`${change} via ${direct.via} dev d0 src ${src}`),
      words(`${change} via ${direct.via} dev d0 onlink`),
      words(`${change} via ${vxlan.via} dev ${vxlan.link} onlink`),
      words(`${change} dev d0`),
      words(`${change} nexthop via ${direct.via} dev d0 nexthop via ${vxlan.via} dev ${vxlan.link} onlink`),
      words(`ip route replace blackhole ${dst} proto 87`),
    );
    const nexthop: Item = { kind: "nexthop", id, hop: direct };
    await room.kernel.apply([{ op: "put", item: nexthop, old: null }]);
    room.assertHeld(nexthop); // what an earlier run made is seen
    await room.put(route(dst, id));
    await room.put(route(dst, direct));
    await room.drop(route(dst, direct));
    await room.drop(nexthop);
  }
});

labTest("blackhole routes of both families, which a bridge's own route goes before", async () => {
  using room = await Room.open();
  for (const [dst, address] of [["10.244.1.0/24", "10.244.1.1"], ["fd00:244:0:1::/64", "fd00:244:0:1::1"]] as const) {
    const item: Blackhole = { kind: "blackhole", dst: parseCidr(dst) };
    await room.put(item);
    await room.survives(item, words(`ip route del blackhole ${dst} metric 4294967295`));
    await ip(`addr add ${address}/${dst.slice(dst.indexOf("/") + 1)} dev d1${address.includes(":") ? " nodad" : ""}`);
    assert.match(await run(words(`ip route get ${address}2`)), /dev d1 /);
    room.assertHeld(item);
    await room.drop(item);
    await room.put(item);
    assert.match(await run(words(`ip route get ${address}2`)), /dev d1 /);
    await ip(`addr flush dev d1`);
    await assert.rejects(run(words(`ip route get ${address}2`)));
    await run(words(`ip route add blackhole ${dst} metric 77 proto 87`)); // not what we make
    await room.drop(item);
    assert.notEqual(await run(words(`ip -6 route show type blackhole`)) + await run(words(`ip route show type blackhole`)), "");
    await run(words(`ip route del blackhole ${dst} metric 77`));
  }
});

labTest("a loose reverse-path filter: the larger of the device's own setting and that of all counts", async () => {
  using room = await Room.open();
  const item: ReversePath = { kind: "reverse-path", link: "d0" };
  const set = (name: string, value: number) => run(["sysctl", "-qw", `net.ipv4.conf.${name}.rp_filter=${value}`]);
  const cases = [[0, 0, true], [0, 1, false], [0, 2, true], [1, 0, false], [1, 1, false], [1, 2, true], [2, 0, true], [
    2,
    1,
    true,
  ]] as const;
  for (const [all, own, right] of cases) {
    await set("all", all);
    await set("d0", own);
    assert.equal(room.held(item) !== null, right, `all ${all}, device ${own}`);
    if (!right) await room.put(item);
  }
  await set("all", 0);
});

labTest("what goes first when a change needs another: puts upward, drops downward, one failure alone", async () => {
  using room = await Room.open();
  const { id, dst, src, vxlan } = WAYS[0]!;
  const items: Item[] = [route(dst, id, src), { kind: "nexthop", id, hop: vxlan }, ADDRESS, VXLAN];
  const lost = route("10.244.3.0/24", hop("203.0.113.1", "d0"));
  const gone: Item = { kind: "fdb", link: "flannel.9", mac: VXLAN.mac, dst: parseIp("192.0.2.2") };
  const refusals = await room.kernel.apply([...items, lost, gone].map((item) => ({ op: "put", item, old: null })));
  const errors = [...refusals.values()].map(({ error }) => error);
  assert.deepEqual(errors.toSorted(), [
    "Cannot add route 10.244.3.0/24 via 203.0.113.1 dev d0: ENETUNREACH: Nexthop has invalid gateway",
    "device flannel.9 does not exist",
  ]);
  for (const item of items) room.assertHeld(item);
  const dropped = await room.kernel.apply([VXLAN, ADDRESS, ...items.slice(0, 2), gone].map((item) => ({ op: "drop", item })));
  assert.deepEqual([...dropped], []);
  assert.deepEqual([...room.look().items.keys()], ["reverse-path d0"]);
  await ip("link show d0");
});
