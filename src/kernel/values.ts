/**
 * Items as the values of their messages.
 *
 * @module
 */

import { familyOf, type Ip, lengthOf, networkOf } from "../model/ip.ts";
import {
  type Address,
  type Blackhole,
  type Fdb,
  type Hop,
  type Item,
  type Neighbour,
  type Nexthop,
  PROTOCOL,
  type Route,
} from "../model/item.ts";
import { AF, BLACKHOLE, LAST_METRIC, ONLINK, PERMANENT, SCOPE_LINK, SELF, TABLE_MAIN, UNICAST } from "../netlink/rtnl.ts";
import { familyNumber } from "./facts.ts";

/** No duplicate address detection: the address is ours by its lease, and is needed at once (IFA_F_NODAD). */
const NODAD = 2;

/** Index of a device by its name. */
export type Index = (link: string) => number;

/** An address of a device of ours. */
export function address(item: Address, index: Index) {
  const family = familyOf(item.ip);
  return {
    family: familyNumber(family),
    prefixLength: item.length,
    index: index(item.link),
    local: item.ip,
    address: item.ip,
    ...(family === 6 && { flags: NODAD }),
  };
}

/** A forwarding entry without its remote: what names it. */
export function fdb(item: Fdb, index: Index) {
  return { family: AF.BRIDGE, index: index(item.link), state: PERMANENT, flags: SELF, lladdr: item.mac };
}

/** A neighbour without its MAC address: what names it. */
export function neighbour(item: Neighbour, index: Index) {
  return { family: familyNumber(familyOf(item.ip)), index: index(item.link), state: PERMANENT, type: UNICAST, dst: item.ip };
}

/** A nexthop object. */
export function nexthop(item: Nexthop, index: Index) {
  const { id, hop } = item;
  const gateway = gatewayOf(item);
  return {
    family: familyNumber(familyOf(gateway)),
    protocol: PROTOCOL,
    flags: hop.onlink ? ONLINK : 0,
    id,
    oif: index(hop.link),
    gateway,
  };
}

/** The gateway of a nexthop object. @throws {TypeError} If it has none, which is never planned. */
export function gatewayOf({ hop }: Nexthop): Ip {
  if (hop.via === null) throw new TypeError("a nexthop object without a gateway is never planned");
  return hop.via;
}

/** The hop of a route as nobody plans it: over no device, so that it differs from all plans. */
export const UNPLANNED: Hop = { via: null, link: "", onlink: false };

/** Whether an item was seen as nobody plans it. */
export function isUnplanned(item: Item | null): boolean {
  return item?.kind === "route" && typeof item.to !== "number" && item.to.link === "";
}

/** What names a route. */
export function routeKey({ dst }: Route | Blackhole) {
  const family = familyOf(dst);
  return {
    family: familyNumber(family),
    dstLength: lengthOf(dst),
    table: TABLE_MAIN,
    dst: networkOf(dst),
  };
}

/** A route to a peer's subnet. */
export function route(item: Route, index: Index) {
  const { to, src } = item;
  const common = { ...routeKey(item), protocol: PROTOCOL, type: UNICAST, ...(src !== null && { prefSrc: src }) };
  if (typeof to === "number") return { ...common, nexthopId: to };
  const hop = { ...common, flags: to.onlink ? ONLINK : 0, oif: index(to.link) };
  return to.via === null ? { ...hop, scope: SCOPE_LINK } : { ...hop, gateway: to.via };
}

/** The route of last resort for our own subnet. */
export function blackhole(item: Blackhole) {
  return { ...routeKey(item), protocol: PROTOCOL, type: BLACKHOLE, priority: LAST_METRIC };
}
