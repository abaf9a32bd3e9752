import assert from "node:assert/strict";
import { test } from "node:test";
import { parseCidr, parseIp, parseMac } from "../model/ip.ts";
import { KINDS } from "../model/item.ts";
import type { Dirty } from "../model/kernel.ts";
import { ADDRESS, AF, LINK, NEIGHBOUR, NEXTHOP, PERMANENT, ROUTE, RTM } from "../netlink/rtnl.ts";
import type { Attributes, Fields, Message, Of } from "../netlink/schema.ts";
import { Writer } from "../netlink/wire.ts";
import { Echoes } from "./echoes.ts";
import { classify, type Scope } from "./events.ts";

const NAMES = new Map([[1, "lo"], [2, "eth0"], [7, "flannel.1"]]);
const SCOPE: Scope = {
  echoes: new Echoes(),
  own: () => ({
    links: ["flannel.1"],
    networks: [{ network: parseCidr("10.244.0.0/16"), length: 24 }],
    reversePath: ["eth0", "flannel.1"],
  }),
  nameOf: (index) => NAMES.get(index),
};
const ALL: Dirty[] = ["facts", "routing", ...KINDS];
const ROUTES: Dirty[] = ["route", "blackhole"];
const LEADING: Dirty[] = ["facts", "routing", "reverse-path", "nexthop", "route", "blackhole"];

function heard<F extends Fields, A extends Attributes>(type: number, message: Message<F, A>, value: Of<Message<F, A>>) {
  const writer = new Writer();
  message.write(writer, value);
  return classify({ type, view: writer.view, at: 0, length: writer.at }, SCOPE);
}

/** Both the coming and the going of something. */
function table<F extends Fields, A extends Attributes>(
  what: string,
  types: readonly number[],
  message: Message<F, A>,
  rows: readonly (readonly [name: string, value: Of<Message<F, A>>, dirty: readonly Dirty[]])[],
): void {
  for (const [name, value, dirty] of rows) {
    test(`classify() of ${what}: ${name} ${dirty.length === 0 ? "is nothing" : `marks ${dirty.join(", ")}`}`, () => {
      for (const type of types) assert.deepEqual(heard(type, message, value), dirty);
    });
  }
}

table("devices", [RTM.NEWLINK, RTM.DELLINK], LINK, [
  ["one of ours", { index: 7, name: "flannel.1" }, ALL],
  ["one of ours that the table of names does not know yet", { index: 99, name: "flannel.1" }, ALL],
  ["one that leads to other nodes", { index: 2, name: "eth0" }, LEADING],
  ["one that did under another name", { index: 2, name: "wan0" }, LEADING],
  ["a pod's", { index: 8, name: "veth8" }, ["facts"]],
  ["a bridge's port", { family: AF.BRIDGE, index: 7, name: "flannel.1" }, []],
]);

table("addresses", [RTM.NEWADDR, RTM.DELADDR], ADDRESS, [
  ["on our device", { family: AF.INET, index: 7, local: parseIp("10.244.1.0") }, ["address", "neighbour", "nexthop", "route"]],
  ["on another", { family: AF.INET, index: 2, local: parseIp("192.0.2.1") }, ["facts", "routing", "nexthop", "route"]],
  ["of a link, on our device", { family: AF.INET6, index: 7, address: parseIp("fe80::1") }, []],
  ["of a link, on another", { family: AF.INET6, index: 2, address: parseIp("fe80::1") }, []],
  ["that only looks like one of a link", { family: AF.INET6, index: 2, address: parseIp("fe8::1") }, [
    "facts",
    "routing",
    "nexthop",
    "route",
  ]],
  ["on one that nobody knows", { family: AF.INET6, index: 50 }, ["facts", "routing", "nexthop", "route"]],
]);

table("neighbours", [RTM.NEWNEIGH, RTM.DELNEIGH], NEIGHBOUR, [
  ["on our device", { family: AF.INET, index: 7, dst: parseIp("10.244.2.0") }, ["neighbour"]],
  ["a forwarding entry of our device", { family: AF.BRIDGE, index: 7, lladdr: parseMac("02:00:00:00:00:02") }, ["fdb"]],
  ["on another device", { family: AF.INET, index: 2, dst: parseIp("192.0.2.2") }, []],
  ["a forwarding entry of another device", { family: AF.BRIDGE, index: 2 }, []],
]);

table("routes", [RTM.NEWROUTE, RTM.DELROUTE], ROUTE, [
  ["inside our network", { family: AF.INET, dstLength: 24, table: 254, protocol: 4, dst: parseIp("10.244.2.0") }, ROUTES],
  ["around our network", { family: AF.INET, dstLength: 8, table: 254, protocol: 4, dst: parseIp("10.0.0.0") }, ROUTES],
  ["inside it, in another table", { family: AF.INET, dstLength: 24, table: 7, protocol: 4, dst: parseIp("10.244.2.0") }, []],
  ["of our protocol, elsewhere", { family: AF.INET, dstLength: 24, table: 254, protocol: 87, dst: parseIp("10.9.2.0") }, ROUTES],
  ["to other places", { family: AF.INET, dstLength: 24, table: 254, protocol: 4, dst: parseIp("192.0.2.0") }, [
    "facts",
    "routing",
    "nexthop",
  ]],
  ["the default one", { family: AF.INET, dstLength: 0, table: 254, protocol: 16 }, ["facts", "routing", "nexthop"]],
  ["of the other family", { family: AF.INET6, dstLength: 32, table: 254, protocol: 2, dst: parseIp("2001:db8::") }, [
    "facts",
    "routing",
    "nexthop",
  ]],
  ["to a link's own addresses", { family: AF.INET6, dstLength: 64, table: 254, protocol: 2, dst: parseIp("fe80::") }, []],
  ["to groups", { family: AF.INET6, dstLength: 8, table: 255, protocol: 2, dst: parseIp("ff00::") }, []],
]);

table("nexthop objects", [RTM.NEWNEXTHOP, RTM.DELNEXTHOP], NEXTHOP, [["any", { id: 1 }, ["nexthop", "route"]]]);
table("settings", [RTM.NEWNETCONF], NEXTHOP, [["any", {}, ["reverse-path"]]]);
table("anything else", [RTM.GETLINK, 99], LINK, [["a message", { index: 7, name: "flannel.1" }, []]]);

test("classify() of messages that are too short marks nothing that needs their content", () => {
  const short = (type: number) => classify({ type, view: new DataView(new ArrayBuffer(4)), at: 0, length: 4 }, SCOPE);
  assert.deepEqual(short(RTM.NEWNEIGH), []);
  assert.deepEqual(short(RTM.NEWROUTE), []);
  assert.deepEqual(short(RTM.NEWADDR), ["facts", "routing", "nexthop", "route"]);
  assert.deepEqual(short(RTM.NEWLINK), LEADING);
});

test("classify() of forwarding entries: what we wrote ourselves is nothing, as often as we did and just as we did", () => {
  const fdb = { kind: "fdb", link: "flannel.1", mac: parseMac("02:00:00:00:00:02"), dst: parseIp("192.0.2.2") } as const;
  const row = { family: AF.BRIDGE, index: 7, state: PERMANENT, lladdr: fdb.mac, dst: fdb.dst };
  const hear = (type: number, odd: Partial<typeof row> = {}) => heard(type, NEIGHBOUR, { ...row, ...odd });
  const { echoes } = SCOPE;
  echoes.expect("put", fdb, 7);
  echoes.expect("put", fdb, 7);
  assert.deepEqual(hear(RTM.DELNEIGH), ["fdb"]);
  for (const odd of [{ dst: parseIp("192.0.2.3") }, { lladdr: parseMac("02:00:00:00:00:03") }, { state: 2 }]) {
    assert.deepEqual(hear(RTM.NEWNEIGH, odd), ["fdb"]);
  }
  assert.deepEqual([hear(RTM.NEWNEIGH), hear(RTM.NEWNEIGH), hear(RTM.NEWNEIGH)], [[], [], ["fdb"]]);
  echoes.expect("drop", fdb, 7);
  assert.deepEqual([hear(RTM.NEWNEIGH), hear(RTM.DELNEIGH), hear(RTM.DELNEIGH)], [["fdb"], [], ["fdb"]]);
  echoes.expect("put", fdb, 7);
  echoes.forget();
  assert.deepEqual(hear(RTM.NEWNEIGH), ["fdb"]);
});
