/**
 * Kernel events, reduced to what they may have changed.
 *
 * An event says "look again", never what to do. The kernel is silent about some consequences: a device that goes down, an address
 * that is deleted and a nexthop that goes take routes with them without a word, so those events mark routes too.
 * Source: Linux `net/ipv4/fib_frontend.c`, `net/ipv4/nexthop.c`.
 *
 * @module
 */

import { type Cidr, cidrOf, type Ip, isLinkLocal, overlaps } from "../model/ip.ts";
import { KINDS, PROTOCOL } from "../model/item.ts";
import type { Dirty, Ownership } from "../model/kernel.ts";
import type { Driver } from "../netlink/connection.ts";
import { type Event, subscribe } from "../netlink/subscription.ts";
import type { Echoes } from "./echoes.ts";
import { ADDRESS, AF, GROUP, LINK, NEIGHBOUR, ROUTE, RTM, TABLE_MAIN } from "../netlink/rtnl.ts";

const ALL: readonly Dirty[] = ["facts", "routing", ...KINDS];
/** One dump shows both. */
const ROUTES: readonly Dirty[] = ["route", "blackhole"];

/** What the classification needs to know: which devices and networks are ours, and the devices' names by index. */
export interface Scope {
  /** Events that are our own. */
  readonly echoes: Echoes;
  readonly own: () => Pick<Ownership, "links" | "networks" | "reversePath">;
  readonly nameOf: (index: number) => string | undefined;
}

/** Subscribes to everything that may touch our items, and calls back once after each burst. */
export function watchKernel(
  driver: Driver,
  ownPort: number,
  scope: Scope,
  changed: (dirty: ReadonlySet<Dirty>) => void,
): Disposable {
  let dirty = new Set<Dirty>();
  const mark = (kinds: readonly Dirty[]) => kinds.forEach((kind) => dirty.add(kind));
  return subscribe(driver, Object.values(GROUP), {
    onEvent: (event) => mark(classify(event, scope)),
    onOverrun: () => mark(ALL),
    onIdle: () => {
      scope.echoes.forget();
      if (dirty.size === 0) return;
      const burst = dirty;
      dirty = new Set();
      changed(burst);
    },
  }, { ignorePort: ownPort });
}

/** What an event may have changed. */
export function classify({ type, view, at, length }: Event, { echoes, own, nameOf }: Scope): readonly Dirty[] {
  const ours = (index: number | undefined) => own().links.includes(nameOf(index ?? 0) ?? "");
  switch (type) {
    case RTM.NEWLINK:
    case RTM.DELLINK: {
      const link = LINK.read(view, at, length);
      if (link?.family === AF.BRIDGE) return []; // a bridge speaks of its ports
      const { links, reversePath } = own();
      const names = [link?.name, nameOf(link?.index ?? 0)]; // two where it was renamed
      if (names.some((name) => name !== undefined && links.includes(name))) return ALL;
      const isKnown = link?.name !== undefined;
      // Pods' devices come and go, and our items and the way to other nodes do not depend on them.
      if (isKnown && !names.some((name) => name !== undefined && reversePath.includes(name))) return ["facts"];
      return ["facts", "routing", "reverse-path", "nexthop", ...ROUTES];
    }
    case RTM.NEWADDR:
    case RTM.DELADDR: {
      const row = ADDRESS.read(view, at, length);
      if (row !== null && isLocal(row.local ?? row.address)) return [];
      return ours(row?.index) ? ["address", "neighbour", "nexthop", "route"] : ["facts", "routing", "nexthop", "route"];
    }
    case RTM.NEWNEIGH:
    case RTM.DELNEIGH: {
      const row = NEIGHBOUR.read(view, at, length);
      if (row === null || !ours(row.index)) return [];
      if (row.family !== AF.BRIDGE) return ["neighbour"];
      return echoes.take(type, row) ? [] : ["fdb"];
    }
    case RTM.NEWROUTE:
    case RTM.DELROUTE: {
      const row = ROUTE.read(view, at, length);
      if (row === null || isLocal(row.dst)) return [];
      const dst = row.dst === undefined ? undefined : cidrOf(row.dst as Ip, row.dstLength!);
      const inside = dst !== undefined && own().networks.some(({ network }) => overlaps(network, dst));
      if (inside || row.protocol === PROTOCOL) return row.table === TABLE_MAIN ? ROUTES : [];
      return ["facts", "routing", "nexthop"];
    }
    case RTM.NEWNEXTHOP:
    case RTM.DELNEXTHOP:
      return ["nexthop", "route"];
    case RTM.NEWNETCONF:
      return ["reverse-path"];
    default:
      return [];
  }
}

/** Addresses and routes that the kernel gives to every device that comes; they lead to no other node. */
function isLocal(ip: Cidr | Ip | undefined): boolean {
  return ip !== undefined && (isLinkLocal(ip) || /^ff[0-9a-f]{2}:/.test(ip));
}
