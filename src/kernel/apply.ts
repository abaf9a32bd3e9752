/**
 * Turns changes into netlink requests and says what came of each.
 *
 * Owns the kernel's rules of creating and replacing: what is new is created exclusively, so that nobody else's item is ever
 * overwritten; only what a look showed as ours is replaced. Source: Linux `net/ipv4/fib_trie.c`, `net/ipv4/nexthop.c`,
 * `drivers/net/vxlan/vxlan_core.c`; flannel, sections 6.1 to 6.4 of its behaviour.
 *
 * @module
 */

import { type Family, familyOf, lengthOf, networkOf } from "../model/ip.ts";
import {
  type Address,
  type Blackhole,
  type Change,
  type Fdb,
  type Item,
  type Kind,
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
  BLACKHOLE,
  IPIP_LINK,
  LAST_METRIC,
  LINK,
  NEIGHBOUR,
  NEXTHOP,
  ONLINK,
  PERMANENT,
  PROTOCOL_BOOT,
  ROUTE,
  RTM,
  SCOPE_ANY,
  SCOPE_LINK,
  SELF,
  TABLE_MAIN,
  UNICAST,
  UP,
} from "../netlink/rtnl.ts";
import { familyNumber } from "./facts.ts";

/** No duplicate address detection: the address is ours by its lease, and is needed at once (IFA_F_NODAD). */
const NODAD = 2;
const LOOSE = 2;

/** The device that a change names does not exist (yet). */
export class NoSuchLinkError extends Error {
  override readonly name = "NoSuchLinkError";
}

type Index = (link: string) => number;

/** Makes requests of changes, and keeps templates of those that come by the thousand. */
export class Requests {
  readonly #index: Index;
  readonly #last: Readonly<Record<Family, Map<Kind, { readonly shape: readonly unknown[]; readonly template: Template }>>> = {
    4: new Map(),
    6: new Map(),
  };

  /** @param index Index of a device by its name; throws {@linkcode NoSuchLinkError} where there is none. */
  constructor(index: Index) {
    this.#index = index;
  }

  /** The requests that make a change; one, except for some changes of a device. */
  of(change: Change): readonly Request[] {
    return change.op === "put" ? this.#put(change.item, change.old) : [drop(change.item, this.#index)];
  }

  #put(item: Item, old: Item | null): readonly Request[] {
    const index = this.#index;
    const create = FLAG.CREATE | (old === null ? FLAG.EXCL : FLAG.REPLACE);
    switch (item.kind) {
      case "link":
        return putLink(item, old as Link | null, index);
      case "reverse-path":
        return [request(RTM.NEWLINK, 0, LINK, { index: index(item.link), afSpec: { inet: { conf: { rpFilter: LOOSE } } } })];
      case "address":
        return [request(RTM.NEWADDR, FLAG.CREATE | FLAG.REPLACE, ADDRESS, address(item, index))];
      case "wireguard-peer":
      case "allowed-ip":
        throw new TypeError("rtnetlink knows nothing of wireguard's peers");
      case "fdb":
        return [this.#fdb(item)];
      case "neighbour":
        return [this.#neighbour(item)];
      case "nexthop":
        return [this.#nexthop(item, create)];
      case "route":
        return [this.#route(item, create)];
      case "blackhole":
        return [request(RTM.NEWROUTE, create, ROUTE, blackhole(item))];
      default:
        return item satisfies never;
    }
  }

  #fdb(item: Fdb): Request {
    const shape = [this.#index(item.link)];
    const like = this.#like("fdb", familyOf(item.dst), shape, () => {
      const value = { ...fdb(item, this.#index), dst: item.dst };
      return template(RTM.NEWNEIGH, FLAG.CREATE | FLAG.REPLACE, NEIGHBOUR, value, ["lladdr", "dst"]);
    });
    return like.with(item.mac, item.dst);
  }

  #neighbour(item: Neighbour): Request {
    const shape = [this.#index(item.link)];
    const like = this.#like("neighbour", familyOf(item.ip), shape, () => {
      const value = { ...neighbour(item, this.#index), lladdr: item.mac };
      return template(RTM.NEWNEIGH, FLAG.CREATE | FLAG.REPLACE, NEIGHBOUR, value, ["dst", "lladdr"]);
    });
    return like.with(item.ip, item.mac);
  }

  #nexthop(item: Nexthop, flags: number): Request {
    const { link, onlink, via } = item.hop;
    if (via === null) throw new TypeError("a nexthop object without a gateway is never planned");
    const shape = [flags, this.#index(link), onlink];
    const like = this.#like("nexthop", familyOf(via), shape, () => {
      return template(RTM.NEWNEXTHOP, flags, NEXTHOP, nexthop(item, this.#index), ["id", "gateway"]);
    });
    return like.with(item.id, via);
  }

  #route(item: Route, flags: number): Request {
    const { dst, to, src } = item;
    const byId = typeof to === "number";
    const varying = byId ? "nexthopId" : to.via === null ? null : "gateway";
    const shape = [flags, dst.slice(dst.indexOf("/")), src, byId || this.#index(to.link), byId || to.onlink, varying];
    const like = this.#like("route", familyOf(dst), shape, () => {
      return template(RTM.NEWROUTE, flags, ROUTE, route(item, this.#index), varying === null ? ["dst"] : ["dst", varying]);
    });
    return varying === null ? like.with(dst) : like.with(dst, byId ? to : to.via);
  }

  /** The template that was used last for the kind and family, if it has the shape; thousands in a row have. */
  #like(kind: Kind, family: Family, shape: readonly unknown[], make: () => Template): Template {
    const templates = this.#last[family];
    const last = templates.get(kind);
    if (last !== undefined && alike(shape, last.shape)) return last.template;
    const made = make();
    templates.set(kind, { shape, template: made });
    return made;
  }
}

function alike(a: readonly unknown[], b: readonly unknown[]): boolean {
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false;
  return true;
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
    case "route": // the protocol makes sure that it is still the route that was seen
      return request(RTM.DELROUTE, 0, ROUTE, {
        ...routeKey(item),
        scope: SCOPE_ANY,
        protocol: item.adopted ? PROTOCOL_BOOT : PROTOCOL,
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

function address(item: Address, index: Index) {
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

function fdb(item: Fdb, index: Index) {
  return { family: AF.BRIDGE, index: index(item.link), state: PERMANENT, flags: SELF, lladdr: item.mac };
}

function neighbour(item: Neighbour, index: Index) {
  return { family: familyNumber(familyOf(item.ip)), index: index(item.link), state: PERMANENT, type: UNICAST, dst: item.ip };
}

function nexthop({ id, hop }: Nexthop, index: Index) {
  return {
    family: familyNumber(familyOf(hop.via!)),
    protocol: PROTOCOL,
    flags: hop.onlink ? ONLINK : 0,
    id,
    oif: index(hop.link),
    gateway: hop.via!,
  };
}

function routeKey({ dst }: Route | Blackhole) {
  const family = familyOf(dst);
  return {
    family: familyNumber(family),
    dstLength: lengthOf(dst),
    table: TABLE_MAIN,
    dst: networkOf(dst),
  };
}

function route(item: Route, index: Index) {
  const { to, src } = item;
  const common = { ...routeKey(item), protocol: PROTOCOL, type: UNICAST, ...(src !== null && { prefSrc: src }) };
  if (typeof to === "number") return { ...common, nexthopId: to };
  const hop = { ...common, flags: to.onlink ? ONLINK : 0, oif: index(to.link) };
  return to.via === null ? { ...hop, scope: SCOPE_LINK } : { ...hop, gateway: to.via };
}

function blackhole(item: Blackhole) {
  return { ...routeKey(item), protocol: PROTOCOL, type: BLACKHOLE, priority: LAST_METRIC };
}
