/**
 * The least that a cold start in JavaScript can be: asks etcd for all leases, believes every word, and puts them into the kernel with the
 * agent's own netlink code. It checks, plans, compares and remembers nothing, and has no lease of its own.
 *
 * Compiled as the agent is and started by `etcd.ts`, beside the agent: `bare_start ORIGIN PREFIX ADDRESS`, where ADDRESS is the node's. It
 * ends when the kernel has all, and says how many items that were.
 *
 * @module
 */

import { request } from "node:http";
import process from "node:process";
import { openDriver } from "../ffi/mod.ts";
import { openKernel } from "../src/kernel/kernel.ts";
import { type Cidr, type Ip, ipNumber, type Mac, networkOf } from "../src/model/ip.ts";
import type { Change, Item } from "../src/model/item.ts";

/** What etcd's gateway answers, as far as it is looked at. */
interface Answer {
  readonly kvs: readonly { readonly key: string; readonly value: string }[];
}

/** The value of a lease, as far as it is looked at. */
interface Value {
  readonly PublicIP: Ip;
  readonly BackendData: { readonly VtepMAC: Mac };
}

const LINK = "flannel.1";
/** The node's own address inside. */
const OWN = "10.255.0.0" as Ip;
const [origin, prefix, address] = process.argv.slice(2) as [string, string, Ip];

function list(): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const sent = request(`${origin}/v3/kv/range`, { method: "POST", agent: false }, (answer) => {
    const pieces: Uint8Array[] = [];
    answer.on("data", (piece) => pieces.push(piece)).on("end", () => resolve(Buffer.concat(pieces).toString())).on("error", reject);
  });
  const [from, to] = [`${prefix}/subnets/`, `${prefix}/subnets0`].map(btoa);
  sent.on("error", reject).end(JSON.stringify({ key: from, range_end: to }));
  return promise;
}

const put = (item: Item): Change => ({ op: "put", item, old: null });

const coming = list();
const keys = { read: () => "", digest: () => "" };
using kernel = openKernel(await openDriver(), { keys });
const mac = "02:ff:ff:ff:ff:ff" as Mac;
const device = {
  kind: "link",
  type: "vxlan",
  name: LINK,
  vni: 1,
  port: 8472,
  local: address,
  mac,
  mtu: 1450,
  learning: false,
  gbp: false,
};
const changes = [put(device as Item), put({ kind: "address", link: LINK, ip: OWN, length: 32 })];
for (const { key, value } of (JSON.parse(await coming) as Answer).kvs) {
  const dst = atob(key).slice(prefix.length + "/subnets/".length).replace("-", "/") as Cidr;
  const { PublicIP, BackendData: { VtepMAC } } = JSON.parse(atob(value)) as Value;
  const ip = networkOf(dst);
  const id = Number(ipNumber(ip));
  changes.push(
    put({ kind: "fdb", link: LINK, mac: VtepMAC, dst: PublicIP }),
    put({ kind: "neighbour", link: LINK, ip, mac: VtepMAC }),
    put({ kind: "nexthop", id, hop: { via: ip, link: LINK, onlink: true } }),
    put({ kind: "route", dst, to: id, src: OWN }),
  );
}
for (const { error } of (await kernel.apply(changes)).values()) throw new Error(error);
console.log(changes.length);
