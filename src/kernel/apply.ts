/**
 * Turns changes into netlink requests and says what came of each.
 *
 * Owns the kernel's rules of creating and replacing: what is new is created exclusively, so that nobody else's item is ever
 * overwritten; only what a look showed as ours is replaced. Source: Linux `net/ipv4/fib_trie.c`, `net/ipv4/nexthop.c`,
 * `drivers/net/vxlan/vxlan_core.c`; flannel, sections 6.1 to 6.4 of its behaviour.
 *
 * @module
 */

import { type Family, familyOf } from "../model/ip.ts";
import {
  type Change,
  type Fdb,
  type Item,
  type Link,
  type Neighbour,
  type Nexthop,
  PROTOCOL,
  type Route,
  type VxlanLink,
} from "../model/item.ts";
import { FLAG, type Request, request } from "../netlink/frame.ts";
import { type Template, template } from "../netlink/template.ts";
import {
  ADDRESS,
  AF,
  IPIP_LINK,
  IPV6_METRIC,
  LINK,
  NEIGHBOUR,
  NEXTHOP,
  PROTOCOL_BOOT,
  ROUTE,
  RTM,
  SCOPE_ANY,
  UP,
} from "../netlink/rtnl.ts";
import { address, blackhole, fdb, gatewayOf, type Index, isUnplanned, neighbour, nexthop, route, routeKey } from "./values.ts";

const LOOSE = 2;

/** The device that a change names does not exist (yet). */
export class NoSuchLinkError extends Error {
  override readonly name = "NoSuchLinkError";
}

/** Items that come by the thousand. */
type Many = Fdb | Neighbour | Nexthop | Route;

/** A template, and whether an item with these flags differs from its sample in nothing but the two values that vary. */
interface Known<T extends Many> {
  readonly template: Template;
  fits(item: T, flags: number): boolean;
}

/** Makes requests of changes, and keeps templates of those that come by the thousand: the last one of each kind and family. */
export class Requests {
  readonly #index: Index;
  readonly #fdb: Partial<Record<Family, Known<Fdb>>> = {};
  readonly #neighbour: Partial<Record<Family, Known<Neighbour>>> = {};
  readonly #nexthop: Partial<Record<Family, Known<Nexthop>>> = {};
  readonly #route: Partial<Record<Family, Known<Route>>> = {};

  /** @param index Index of a device by its name; throws {@linkcode NoSuchLinkError} where there is none. */
  constructor(index: Index) {
    this.#index = index;
  }

  /** Adds the requests that make a change: one, except for some changes of a device; none where it throws. */
  add(change: Change, to: Request[]): void {
    if (change.op === "put") this.#put(change.item, change.old, to);
    else to.push(drop(change.item, this.#index));
  }

  #put(item: Item, old: Item | null, to: Request[]): void {
    const index = this.#index;
    const create = FLAG.CREATE | (old === null ? FLAG.EXCL : FLAG.REPLACE);
    switch (item.kind) {
      case "link":
        to.push(...putLink(item, old as Link | null, index));
        break;
      case "reverse-path":
        to.push(request(RTM.NEWLINK, 0, LINK, { index: index(item.link), afSpec: { inet: { conf: { rpFilter: LOOSE } } } }));
        break;
      case "address":
        to.push(request(RTM.NEWADDR, FLAG.CREATE | FLAG.REPLACE, ADDRESS, address(item, index)));
        break;
      case "wireguard-peer":
      case "allowed-ip":
        throw new TypeError("rtnetlink knows nothing of wireguard's peers");
      case "fdb":
        to.push(like(this.#fdb, familyOf(item.dst), item, 0, index, knownFdb).with(item.mac, item.dst));
        break;
      case "neighbour":
        to.push(like(this.#neighbour, familyOf(item.ip), item, 0, index, knownNeighbour).with(item.ip, item.mac));
        break;
      case "nexthop":
        to.push(like(this.#nexthop, familyOf(gatewayOf(item)), item, create, index, knownNexthop).with(item.id, item.hop.via));
        break;
      case "route": {
        const { dst, to: way } = item;
        const last = typeof way === "number" ? way : way.via;
        // Linux takes a descriptor that is equal but for its metrics for the same, and keeps them; another protocol makes it another.
        if (isUnplanned(old)) to.push(request(RTM.NEWROUTE, create, ROUTE, { ...route(item, index), protocol: PROTOCOL_BOOT }));
        if (last === null) to.push(request(RTM.NEWROUTE, create, ROUTE, route(item, index)));
        else to.push(like(this.#route, familyOf(dst), item, create, index, knownRoute).with(dst, last));
        break;
      }
      case "blackhole":
        to.push(request(RTM.NEWROUTE, create, ROUTE, blackhole(item)));
        break;
      default:
        item satisfies never;
    }
  }
}

/** The template that was used last if the item fits it, else a new one; thousands in a row fit. */
function like<T extends Many>(
  last: Partial<Record<Family, Known<T>>>,
  family: Family,
  item: T,
  flags: number,
  index: Index,
  make: (item: T, flags: number, index: Index) => Known<T>,
): Template {
  let known = last[family];
  if (known === undefined || !known.fits(item, flags)) last[family] = known = make(item, flags, index);
  return known.template;
}

function knownFdb(item: Fdb, _flags: number, index: Index): Known<Fdb> {
  const link = index(item.link);
  const value = { ...fdb(item, index), dst: item.dst };
  return {
    template: template(RTM.NEWNEIGH, FLAG.CREATE | FLAG.REPLACE, NEIGHBOUR, value, ["lladdr", "dst"]),
    fits: (item) => index(item.link) === link,
  };
}

function knownNeighbour(item: Neighbour, _flags: number, index: Index): Known<Neighbour> {
  const link = index(item.link);
  const value = { ...neighbour(item, index), lladdr: item.mac };
  return {
    template: template(RTM.NEWNEIGH, FLAG.CREATE | FLAG.REPLACE, NEIGHBOUR, value, ["dst", "lladdr"]),
    fits: (item) => index(item.link) === link,
  };
}

function knownNexthop(item: Nexthop, flags: number, index: Index): Known<Nexthop> {
  const [link, { onlink }] = [index(item.hop.link), item.hop];
  return {
    template: template(RTM.NEWNEXTHOP, flags, NEXTHOP, nexthop(item, index), ["id", "gateway"]),
    fits: ({ hop }, now) => now === flags && hop.onlink === onlink && index(hop.link) === link,
  };
}

function knownRoute(item: Route, flags: number, index: Index): Known<Route> {
  const { dst, src, to } = item;
  const length = dst.slice(dst.indexOf("/"));
  const common = (route: Route, now: number) => now === flags && route.src === src && route.dst.endsWith(length);
  if (typeof to === "number") {
    return {
      template: template(RTM.NEWROUTE, flags, ROUTE, route(item, index), ["dst", "nexthopId"]),
      fits: (route, now) => typeof route.to === "number" && common(route, now),
    };
  }
  const link = index(to.link);
  return {
    template: template(RTM.NEWROUTE, flags, ROUTE, route(item, index), ["dst", "gateway"]),
    fits: (route, now) =>
      typeof route.to !== "number" && common(route, now) && route.to.onlink === to.onlink && index(route.to.link) === link,
  };
}

function drop(item: Item, index: Index): Request {
  switch (item.kind) {
    case "link":
      return request(RTM.DELLINK, 0, LINK, { index: index(item.name) });
    case "reverse-path":
      throw new TypeError("A loose reverse-path filter stays: others may need it by now");
    case "address":
      return request(RTM.DELADDR, 0, ADDRESS, address(item, index));
    case "wireguard-peer":
    case "allowed-ip":
      throw new TypeError("rtnetlink knows nothing of wireguard's peers");
    case "fdb": // without its remote: with a wrong one the kernel says yes and deletes nothing
      return request(RTM.DELNEIGH, 0, NEIGHBOUR, fdb(item, index));
    case "neighbour":
      return request(RTM.DELNEIGH, 0, NEIGHBOUR, neighbour(item, index));
    case "nexthop":
      return request(RTM.DELNEXTHOP, 0, NEXTHOP, { family: AF.UNSPEC, id: item.id });
    case "route": // protocol and metric make sure that it is still the route that was seen
      return request(RTM.DELROUTE, 0, ROUTE, {
        ...routeKey(item),
        scope: SCOPE_ANY,
        protocol: item.adopted ? PROTOCOL_BOOT : PROTOCOL,
        ...(familyOf(item.dst) === 6 && { priority: IPV6_METRIC }), // IPv4 takes the one without a metric first
      });
    case "blackhole":
      return request(RTM.DELROUTE, 0, ROUTE, blackhole(item));
    default:
      return item satisfies never;
  }
}

/** What the kernel can not change on a device while it exists. */
export function mustBeMadeAnew(old: Link, wanted: Link): boolean {
  if (wanted.type === "vxlan" && old.type === "vxlan") {
    return old.vni !== wanted.vni || old.port !== wanted.port || old.gbp !== wanted.gbp ||
      familyOf(old.local) !== familyOf(wanted.local);
  }
  return old.type !== wanted.type || (old.type === "ipip" && old.remote !== undefined);
}

function putLink(link: Link, old: Link | null, index: Index): Request[] {
  if (old !== null && !mustBeMadeAnew(old, link)) return changeLink(link, old, index);
  const create = createLink(link);
  return old === null ? [create] : [request(RTM.DELLINK, 0, LINK, { index: index(link.name) }), create];
}

function createLink(link: Link): Request {
  const { name, mtu, type: kind } = link;
  const flags = FLAG.CREATE | FLAG.EXCL;
  const common = { flags: UP, change: UP, name, mtu };
  switch (link.type) {
    case "vxlan": {
      const value = { ...common, txQueueLength: 0, address: link.mac, linkInfo: { kind, data: vxlan(link) } };
      return request(RTM.NEWLINK, flags, LINK, value);
    }
    case "ipip":
      return request(RTM.NEWLINK, flags, IPIP_LINK, { ...common, linkInfo: { kind, data: { local: link.local ?? undefined } } });
    case "wireguard":
      return request(RTM.NEWLINK, flags, LINK, { ...common, linkInfo: { kind } });
    default:
      return link satisfies never;
  }
}

function vxlan(link: VxlanLink) {
  return {
    id: link.vni,
    ...(familyOf(link.local) === 4 ? { local: link.local } : { local6: link.local }),
    ttl: 0,
    tos: 0,
    learning: link.learning ? 1 : 0,
    proxy: 0,
    rsc: 0,
    l2miss: 0,
    l3miss: 0,
    port: link.port,
    zeroCsumTx: 0,
    zeroCsumRx: 0,
    gbp: link.gbp ? true as const : undefined,
  };
}

/** Changes what the kernel can change; a wireguard device's own parameters are not rtnetlink's. */
function changeLink(link: Link, old: Link, name: Index): Request[] {
  const index = name(link.name);
  const common = request(RTM.NEWLINK, 0, LINK, {
    index,
    flags: UP,
    change: UP,
    ...(old.mtu !== link.mtu && { mtu: link.mtu }),
    ...(link.type === "vxlan" && old.type === "vxlan" && old.mac !== link.mac && { address: link.mac }),
  });
  // Of its own: the kernel refuses an MTU beside parameters of the vxlan device ("Cannot change mtu").
  return [...changeParameters(link, old, index), common];
}

function changeParameters(link: Link, old: Link, index: number): Request[] {
  if (link.type === "vxlan" && old.type === "vxlan") {
    const data = {
      ...(old.local !== link.local && (familyOf(link.local) === 4 ? { local: link.local } : { local6: link.local })),
      ...(old.learning !== link.learning && { learning: link.learning ? 1 : 0 }),
    };
    return Object.keys(data).length === 0 ? [] : [request(RTM.NEWLINK, 0, LINK, { index, linkInfo: { kind: link.type, data } })];
  }
  if (link.type === "ipip" && old.type === "ipip" && old.local !== link.local) {
    const data = { local: link.local ?? undefined };
    return [request(RTM.NEWLINK, 0, IPIP_LINK, { index, linkInfo: { kind: link.type, data } })];
  }
  return [];
}
