/**
 * Changes the kernel's tables as fast as it can, from a process of its own: adds and deletes routes over a device until it is ended.
 * `netlink_churn.ts DEVICE`
 *
 * @module
 */

import process from "node:process";
import { openDriver } from "../../ffi/mod.ts";
import { cidrOf, ipOf } from "../../src/model/ip.ts";
import { Connection } from "../../src/netlink/connection.ts";
import { FLAG, request } from "../../src/netlink/frame.ts";
import { AF, LINK, ROUTE, RTM } from "../../src/netlink/rtnl.ts";

const END = performance.now() + 60_000;
using connection = new Connection(await openDriver());
const links = connection.dump(request(RTM.GETLINK, 0, LINK, {}), LINK).values;
const oif = links.find(({ name }) => name === process.argv[2])!.index!;
const routes = Array.from({ length: 400 }, (_, i) => ({
  family: AF.INET6,
  dstLength: 64,
  table: 254,
  protocol: 99,
  type: 1,
  dst: cidrOf(ipOf(0xfd99n << 112n | BigInt(i) << 64n, 6), 64),
  oif,
}));
console.log("ready");
while (performance.now() < END) {
  connection.send(routes.map((route) => request(RTM.NEWROUTE, FLAG.CREATE, ROUTE, route)));
  connection.send(routes.map((route) => request(RTM.DELROUTE, 0, ROUTE, route)));
  await new Promise((resolve) => setImmediate(resolve));
}
