/**
 * How long the agent's own work takes: encoding, decoding, planning and comparing, for one item and for 5,000 peers.
 *
 * ```sh
 * npm run bench -- codec
 * ```
 *
 * @module
 */

import { Bench } from "tinybench";
import vxlan from "../backends/vxlan.ts";
import { cidrOf, ipOf, type Mac, parseCidr, parseIp, parseMac } from "../src/model/ip.ts";
import { type Item, keyOf } from "../src/model/item.ts";
import type { Lease, Network } from "../src/model/lease.ts";
import type { Backend, NodeSide } from "../src/mod.ts";
import { Requests } from "../src/kernel/apply.ts";
import type { Request } from "../src/netlink/frame.ts";
import { ROUTE } from "../src/netlink/rtnl.ts";
import { Writer } from "../src/netlink/wire.ts";
import { diff } from "../src/reconcile/diff.ts";
import { fold, Folder } from "../src/reconcile/fold.ts";
import { inProcess } from "../src/reconcile/in_process.ts";
import { type Edition, editionOf } from "../src/reconcile/lists.ts";
import { Planner } from "../src/reconcile/plan.ts";

const PEERS = 5000;

const network: Network = {
  ranges: [{
    network: parseCidr("10.0.0.0/8"),
    allocation: { length: 24, min: parseIp("10.0.1.0"), max: parseIp("10.255.255.0") },
  }],
  backendType: "vxlan",
  backendOptions: {},
  nftables: false,
};
const leases = Array.from({ length: PEERS }, (_, i): Lease => ({
  key: `lease-${i}`,
  backendType: "vxlan",
  endpoints: [{
    subnet: cidrOf(ipOf(0x0a000000n + (BigInt(i + 1) << 8n), 4), 24),
    publicIp: ipOf(0xac100000n + BigInt(i + 1), 4),
    data: { VNI: 1, VtepMAC: `02:00:00:00:${(i >> 8).toString(16).padStart(2, "0")}:${(i & 255).toString(16).padStart(2, "0")}` },
  }],
  expiresAt: null,
}));
const own: Lease = {
  ...leases[0]!,
  key: "own",
  endpoints: [{ ...leases[0]!.endpoints[0]!, subnet: parseCidr("10.255.255.0/24") }],
};
const records = leases.map((lease) => ({ key: lease.key, lease }));
const mac = parseMac("02:00:00:ff:ff:ff") as Mac;
const side: NodeSide = {
  state: null,
  publicIp: parseIp("192.0.2.1"),
  family: 4,
  network: network.ranges[0]!.network,
  subnet: own.endpoints[0]!.subnet,
  link: "eth0",
  segments: ["eth0"],
  address: parseIp("172.31.0.1"),
  mtu: 1450,
  onLink: () => null,
  macFor: () => mac,
};
const options = { Type: "vxlan", VNI: 1, Port: 0, GBP: false, Learning: false, MTU: 0, DirectRouting: false };
const backend = inProcess(vxlan as unknown as Backend, options);
const sides = [side];
const context = { network, own, addresses: [side.address] };
const input = (peers: Edition<Lease>) => ({
  backend,
  sides,
  peers,
  nexthopObjects: true,
  foreign: new Map<string, string>(),
});
const { peers } = new Folder().fold(editionOf(records), context);
const planner = new Planner();
const { items } = planner.plan(input(peers));
const oneGone = new Map([...items].slice(0, -1));
const route: Item = { kind: "route", dst: parseCidr("10.1.2.0/24"), to: 0x0a010200, src: side.address };

const requests = new Requests(() => 7);
const made: Request[] = [];
const writer = new Writer();
const message = { family: 2, dstLength: 24, table: 254, protocol: 87, type: 1, dst: parseIp("10.1.2.0"), nexthopId: 0x0a010200 };
ROUTE.write(writer, message);
const [bytes, length] = [new DataView(writer.bytes.buffer), writer.at];

const bench = new Bench({ time: 500 });
bench
  .add("encode a route through its table", () => {
    writer.at = 0;
    ROUTE.write(writer, message);
  })
  .add("make and encode a route from a template", () => {
    writer.at = 0;
    requests.add({ op: "put", item: route, old: null }, made);
    made.pop()!.write(writer);
  })
  .add("decode a route", () => {
    ROUTE.read(bytes, 0, length);
  })
  .add("key of an item", () => {
    keyOf(route);
  })
  .add(`fold ${PEERS} leases`, () => {
    fold(records, context);
  })
  .add(`plan ${PEERS} peers anew`, () => {
    new Planner().plan(input(peers));
  })
  .add(`plan ${PEERS} peers, all known`, () => {
    planner.plan(input(peers));
  })
  .add(`diff of ${items.size} items, one changed`, () => {
    diff(items, oneGone);
  });
await bench.run();
console.table(bench.table());
