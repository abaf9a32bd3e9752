/**
 * Reads the kernel's tables and returns the items that are ours.
 *
 * Owns the rules of ownership (DESIGN.md, Ownership): our own devices and all on them; routes and nexthops by our protocol number
 * and our networks; what a former flanneld left, by its marks. Only reads.
 *
 * @module
 */

import { type Cidr, cidrOf, contains, type Family, familyOf, type Ip, ipOf, lengthOf, networkOf } from "../model/ip.ts";
import { type Blackhole, type Hop, type Item, keyOf, type Kind, PROTOCOL, type Route } from "../model/item.ts";
import type { Observation, Ownership } from "../model/kernel.ts";
import type { Connection } from "../netlink/connection.ts";
import { request } from "../netlink/frame.ts";
import {
  ADDRESS,
  AF,
  BLACKHOLE,
  IPV6_METRIC,
  LAST_METRIC,
  NEIGHBOUR,
  NETCONF,
  NEXTHOP,
  type NexthopMessage,
  ONLINK,
  PERMANENT,
  PROTOCOL_BOOT,
  ROUTE,
  type RouteMessage,
  RTM,
  TABLE_MAIN,
  UNICAST,
  UP,
} from "../netlink/rtnl.ts";
import { familyNumber, type LinkRow } from "./facts.ts";
import { UNPLANNED } from "./values.ts";
import type { Wireguard, WireguardState } from "./wireguard.ts";

const ALL_DEVICES = -1;
const STRICT = 1;
/** IPv6 nexthop ids have this top nibble, which no IPv4 subnet's address has. */
const IPV6_ID = 0xf;

/** A look at the kernel under way. */
interface Look {
  readonly connection: Connection;
  /** Reads a wireguard device, once. */
  readonly wireguard: (link: LinkRow) => WireguardState;
  readonly own: Ownership;
  readonly links: readonly LinkRow[];
  readonly names: ReadonlyMap<number, string>;
  readonly found: (item: Item) => void;
  readonly foreign: Map<string, string>;
  /** Notes that a dump was interrupted. */
  readonly values: <T>(dump: { readonly values: readonly T[]; readonly complete: boolean }) => readonly T[];
}

/** Reads some kinds of item. Nexthops are known for ours by our routes too, so they are read with them. */
export function observe(
  connection: Connection,
  wireguard: Wireguard,
  kinds: ReadonlySet<Kind>,
  own: Ownership,
  links: readonly LinkRow[],
  nexthopObjects: boolean,
): Observation {
  const items = new Map<string, Item>();
  let complete = true;
  const states = new Map<LinkRow, WireguardState>();
  const look: Look = {
    connection,
    wireguard(link) {
      const known = states.get(link);
      if (known !== undefined) return known;
      const read = wireguard.state(link.name!, link.index!);
      complete &&= read.complete;
      states.set(link, read.state);
      return read.state;
    },
    own,
    links,
    names: new Map(links.map((link) => [link.index!, link.name!])),
    found: (item) => items.set(keyOf(item), item),
    foreign: new Map(),
    values: (dump) => {
      complete &&= dump.complete;
      return dump.values;
    },
  };
  if (kinds.has("link")) observeLinks(look);
  if (kinds.has("reverse-path")) observeReversePaths(look);
  for (const link of links.filter((link) => own.links.includes(link.name!))) {
    if (kinds.has("address")) observeAddresses(look, link);
    if (link.linkInfo?.kind === "wireguard" && (kinds.has("wireguard-peer") || kinds.has("allowed-ip"))) {
      for (const item of look.wireguard(link).items) if (kinds.has(item.kind)) look.found(item);
    }
    if (kinds.has("fdb")) observeFdb(look, link);
    if (kinds.has("neighbour")) observeNeighbours(look, link);
  }
  if (kinds.has("route") || kinds.has("nexthop") || kinds.has("blackhole")) {
    const routes = observeRoutes(look);
    routes.filter(({ kind }) => kinds.has(kind)).forEach(look.found);
    if (kinds.has("nexthop") && nexthopObjects) observeNexthops(look, routes);
  }
  return { items, foreign: look.foreign, complete };
}

function observeLinks({ own, links, found, foreign, wireguard }: Look): void {
  for (const link of links) {
    if (!own.links.includes(link.name!)) continue;
    const { kind = "", data } = link.linkInfo ?? {};
    const common = {
      kind: "link",
      name: link.name!,
      mtu: link.mtu!,
      ...((link.flags! & UP) === 0 && { down: true as const }),
    } as const;
    if (kind === "vxlan" && data !== undefined) {
      found({
        ...common,
        type: "vxlan",
        vni: data.id ?? 0,
        port: data.port ?? 0,
        local: data.local ?? data.local6 ?? ipOf(0n, 4),
        mac: link.address!,
        learning: data.learning === 1,
        gbp: data.gbp === true,
      });
    } else if (kind === "ipip") {
      const [local, remote] = [specified(link.ipip?.local), specified(link.ipip?.remote)];
      found({ ...common, type: "ipip", local, ...(remote !== null && { remote }) });
    } else if (kind === "wireguard") {
      const { publicKey, port } = wireguard(link);
      found({ ...common, type: "wireguard", port, publicKey, privateKeyFile: null });
    } else foreign.set(`link ${link.name}`, `a device of kind ${kind || "hardware"} has this name`);
  }
}

/** An address of a tunnel; 0.0.0.0 stands for none. */
function specified(ip: Ip | undefined): Ip | null {
  return ip === undefined || ip === ipOf(0n, 4) ? null : ip;
}

/** The kernel applies the larger of a device's own setting and that of `all`. */
function observeReversePaths({ connection, own, links, found, values }: Look): void {
  const rows = values(connection.dump(request(RTM.GETNETCONF, 0, NETCONF, { family: AF.INET }), NETCONF));
  const all = rows.find((row) => row.ifindex === ALL_DEVICES)?.rpFilter ?? 0;
  for (const link of links) {
    if (!own.reversePath.includes(link.name!)) continue;
    const setting = rows.find((row) => row.ifindex === link.index)?.rpFilter ?? link.rpFilter ?? 0;
    const mode = Math.max(all, setting);
    if (mode !== STRICT) found({ kind: "reverse-path", link: link.name!, ...(mode === 0 && { off: true as const }) });
  }
}

function observeAddresses({ connection, own, found, values }: Look, link: LinkRow): void {
  for (const row of values(connection.dump(request(RTM.GETADDR, 0, ADDRESS, { index: link.index }), ADDRESS))) {
    const ip = row.local ?? row.address;
    if (ip === undefined || row.index !== link.index || !own.networks.some(({ network }) => contains(network, ip))) continue;
    found({ kind: "address", link: link.name!, ip, length: row.prefixLength! });
  }
}

function observeFdb({ connection, found, values }: Look, link: LinkRow): void {
  const filter = { family: AF.BRIDGE, index: link.index };
  for (const row of values(connection.dump(request(RTM.GETNEIGH, 0, NEIGHBOUR, filter), NEIGHBOUR))) {
    if (row.index !== link.index || row.state !== PERMANENT || row.dst === undefined || row.lladdr === undefined) continue;
    if (row.port !== undefined || row.vni !== undefined || row.ifindex !== undefined) continue; // leads elsewhere: must be put anew
    found({ kind: "fdb", link: link.name!, mac: row.lladdr, dst: row.dst });
  }
}

function observeNeighbours({ connection, own, found, values }: Look, link: LinkRow): void {
  for (const family of familiesOf(own)) {
    const filter = { family: familyNumber(family), ifindex: link.index };
    for (const row of values(connection.dump(request(RTM.GETNEIGH, 0, NEIGHBOUR, filter), NEIGHBOUR))) {
      if (row.index !== link.index || row.state !== PERMANENT || row.dst === undefined || row.lladdr === undefined) continue;
      found({ kind: "neighbour", link: link.name!, ip: row.dst, mac: row.lladdr });
    }
  }
}

function observeRoutes({ connection, own, names, values }: Look): (Route | Blackhole)[] {
  return familiesOf(own).flatMap((family) =>
    (own.adopts ? [PROTOCOL, PROTOCOL_BOOT] : [PROTOCOL]).flatMap((protocol) => {
      const filter = { family: familyNumber(family), table: TABLE_MAIN, protocol };
      return values(connection.dump(request(RTM.GETROUTE, 0, ROUTE, filter), ROUTE)).flatMap((row) => {
        if (row.protocol !== protocol || row.table !== TABLE_MAIN) return []; // a kernel that does not filter
        const route = readRoute(row, own, names);
        return route === null ? [] : [route];
      });
    })
  );
}

function readRoute(row: RouteMessage, own: Ownership, names: ReadonlyMap<number, string>): Route | Blackhole | null {
  const metric = row.family === AF.INET6 ? IPV6_METRIC : 0;
  const ours = row.protocol === PROTOCOL;
  if (row.dst === undefined || row.tos !== 0) return null;
  const dst = cidrOf(row.dst as Ip, row.dstLength!);
  // What flanneld makes where --ip-blackhole-route asks for it; ours has another metric.
  const blackhole = row.type === BLACKHOLE && own.networks.some(({ subnet }) => subnet === dst);
  if (row.type !== UNICAST && !ours && !blackhole) return null;
  const link = names.get(row.oif ?? 0);
  // flanneld leads a whole network to its wireguard device.
  const onOurs = !ours && row.gateway === undefined && own.links.includes(link ?? "");
  if (!own.networks.some((range) => isSubnetOf(dst, range) || (onOurs && range.network === dst))) return null;
  if (ours && row.type === BLACKHOLE && row.priority === LAST_METRIC) return { kind: "blackhole", dst };
  if ((row.priority ?? 0) !== metric) return null;
  const src = row.prefSrc ?? null;
  const adopted = !ours && { adopted: true as const };
  if (row.metrics) return { kind: "route", dst, to: UNPLANNED, src, ...adopted }; // an MTU of its own, for example
  if (row.nexthopId !== undefined) return { kind: "route", dst, to: row.nexthopId, src, ...adopted };
  if (!ours && !blackhole && ((row.gateway === undefined && !onOurs) || link === undefined)) return null;
  return { kind: "route", dst, to: readHop(row, link), src, ...adopted };
}

/** A hop as it is seen; that of a route with several is none that anybody plans. */
function readHop(row: RouteMessage | NexthopMessage, link: string | undefined): Hop {
  return { via: row.gateway ?? null, link: link ?? "", onlink: (row.flags! & ONLINK) !== 0 };
}

function observeNexthops({ connection, own, names, found, foreign, values }: Look, routes: readonly (Route | Blackhole)[]): void {
  const used = new Set(routes.map((route) => route.kind === "route" ? route.to : null));
  const rows = values(connection.dump(request(RTM.GETNEXTHOP, 0, NEXTHOP, { family: AF.UNSPEC }), NEXTHOP));
  for (const row of rows) {
    const link = names.get(row.oif ?? 0);
    const ours = row.protocol === PROTOCOL && !row.group && row.id !== undefined &&
      (own.nexthops.has(row.id) || used.has(row.id) || own.links.includes(link ?? "") || isSubnetId(row, own));
    if (ours) found({ kind: "nexthop", id: row.id!, hop: readHop(row, link) });
    else foreign.set(`nexthop ${row.id}`, `nexthop ${row.id} belongs to protocol ${row.protocol}${link ? ` on ${link}` : ""}`);
  }
}

/** Whether a prefix is what a lease of the network can hold. */
function isSubnetOf(prefix: Cidr, { network, length }: Ownership["networks"][number]): boolean {
  return contains(network, prefix) && (length === null ? prefix !== network : lengthOf(prefix) === length);
}

/** An IPv4 nexthop's id is the address of a subnet inside our network; an IPv6 id says nothing by itself. */
function isSubnetId(row: NexthopMessage, own: Ownership): boolean {
  if (row.id! >>> 28 === IPV6_ID) return false;
  const ip = ipOf(BigInt(row.id!), 4);
  return own.networks.some(({ network, length }) =>
    contains(network, ip) && (length === null || networkOf(cidrOf(ip, length)) === ip)
  );
}

function familiesOf(own: Ownership): Family[] {
  return [...new Set(own.networks.map(({ network }) => familyOf(network)))];
}
