/**
 * The tables of a kernel in memory, with the habits of Linux that matter to the agent.
 *
 * They refuse what Linux refuses (a route to a nexthop that does not exist, a gateway that is not on-link, a source address that is
 * not local), and take along what Linux takes along (a device all that is on it, a nexthop its routes).
 *
 * @module
 */

import { type Cidr, cidrOf, contains, familyOf, hostOf, type Ip, lengthOf, type Span, spanOf } from "../src/model/ip.ts";
import {
  type Change,
  type Hop,
  type Item,
  keyOf,
  type Kind,
  type Link,
  type Route,
  type WireguardPeer,
} from "../src/model/item.ts";

/** Who made an entry. */
export type Owner = "agent" | "flanneld" | "other";

/** An item as the kernel holds it. */
export interface Entry {
  readonly item: Item;
  readonly owner: Owner;
}

/** A device that is not the agent's. */
export interface Device {
  readonly name: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly carrier: boolean;
  /** Addresses with their prefix lengths. */
  readonly addresses: readonly (readonly [ip: Ip, length: number])[];
  /** It filters strictly by reverse path. */
  readonly strict: boolean;
}

/** Why Linux would refuse a change: somebody else is in the place, or anything else, in words. */
export type Refusal = "EEXIST" | { readonly why: string };

/** Tables of one node. */
export class FakeTables {
  /** All entries by key, in the order of their making. */
  readonly entries = new Map<string, Entry>();
  /** Devices of the node, by name. */
  readonly devices = new Map<string, Device>();
  /** Routes of others that lead to prefixes: over a device on-link (`via` is `null`), or through a gateway. */
  readonly otherRoutes = new Map<Cidr, { readonly link: string; readonly via: Ip | null }>();
  /** Devices of ours that filter strictly by reverse path. */
  readonly strictLinks = new Set<string>();
  /** New devices of ours filter strictly (`net.ipv4.conf.default.rp_filter=1`). */
  strictByDefault = false;

  /** Names of devices that are entries. */
  readonly #ownLinks = new Set<string>();

  /** The item under a key. */
  item(key: string): Item | undefined {
    return this.entries.get(key)?.item;
  }

  /** Our devices. */
  ownLinks(): Link[] {
    return [...this.entries.values()].flatMap(({ item }) => item.kind === "link" ? [item] : []);
  }

  exists(link: string): boolean {
    return this.devices.has(link) || this.entries.has(`link ${link}`);
  }

  isUp(link: string): boolean {
    const own = this.item(`link ${link}`);
    return own?.kind === "link" ? !own.down : this.devices.get(link)?.up ?? false;
  }

  isStrict(link: string): boolean {
    return this.devices.get(link)?.strict ?? this.strictLinks.has(link);
  }

  /** Why Linux would refuse to put an item, with nothing under its key or with an item of ours. */
  refusal(item: Item): Refusal | null {
    switch (item.kind) {
      case "link":
        return this.devices.has(item.name) ? "EEXIST" : null;
      case "reverse-path":
      case "address":
      case "wireguard-peer":
      case "fdb":
        return this.exists(item.link) ? null : { why: `device ${item.link} does not exist` };
      case "allowed-ip":
        return this.entries.has(`wireguard-peer ${item.link} ${item.publicKey}`) ? null : { why: "there is no such peer" };
      case "neighbour":
        return this.isUp(item.link) ? null : { why: "ENETDOWN" };
      case "nexthop":
        return this.#hopRefusal(item.hop);
      case "route":
        return this.#routeRefusal(item);
      case "blackhole":
        return null;
      default:
        return item satisfies never;
    }
  }

  /** Puts an item that was not refused. */
  put(item: Item, owner: Owner): void {
    if (item.kind === "reverse-path") {
      const device = this.devices.get(item.link);
      if (device !== undefined) this.devices.set(item.link, { ...device, strict: false });
      this.strictLinks.delete(item.link);
      return;
    }
    const old = this.item(keyOf(item));
    if (item.kind === "link" && (old?.kind !== "link" || isMadeAnew(old, item))) {
      if (old !== undefined) this.remove(old);
      if (this.strictByDefault) this.strictLinks.add(item.name);
    }
    this.enter(item, owner);
  }

  /** Makes an entry without asking. */
  enter(item: Item, owner: Owner): void {
    this.entries.set(keyOf(item), { item, owner });
    if (item.kind === "link") this.#ownLinks.add(item.name);
  }

  /** Removes an item, with what Linux takes along. */
  remove(item: Item): void {
    this.entries.delete(keyOf(item));
    if (item.kind === "link") {
      this.#ownLinks.delete(item.name);
      this.withdraw(item.name, true);
    }
    if (item.kind === "nexthop") this.#dropRoutes(({ to }) => to === item.id);
    if (item.kind === "wireguard-peer") this.#dropAllowed(item);
    if (item.kind === "address") this.dropUnsourced();
  }

  /** What goes with a device: all if it is gone; if it is down, its FDB entries stay, and so do its IPv4 addresses. */
  withdraw(name: string, gone: boolean): void {
    for (const { item } of [...this.entries.values()]) {
      if (linkOf(item) !== name) continue;
      const stays = !gone && (STAYING.has(item.kind) || (item.kind === "address" && familyOf(item.ip) === 4));
      if (!stays) this.remove(item);
    }
    if (gone) this.strictLinks.delete(name);
  }

  /** Routes go with their source address. */
  dropUnsourced(): void {
    this.#dropRoutes(({ src }) => src !== null && !this.#isLocal(src));
  }

  /** The hop of a route. */
  hopOf({ to }: Route): Hop | undefined {
    if (typeof to !== "number") return to;
    const nexthop = this.item(`nexthop ${to}`);
    return nexthop?.kind === "nexthop" ? nexthop.hop : undefined;
  }

  /** The device that leads to an outer address. */
  leadsTo(ip: Ip): string | null {
    const onLink = this.onLink(ip, []);
    if (onLink !== null) return onLink;
    const routes = [...this.otherRoutes].filter(([prefix]) => contains(prefix, ip));
    return routes.sort(([a], [b]) => lengthOf(b) - lengthOf(a))[0]?.[1].link ?? null;
  }

  /** The device on whose segment an address is: by an address with its prefix, or by a route of somebody else's. */
  onLink(ip: Ip, own: readonly string[]): string | null {
    let [best, length] = [null as string | null, -1];
    const { first } = span(hostOf(ip));
    const offer = (link: string | null, prefix: Cidr) => {
      if (first < span(prefix).first || first > span(prefix).last || lengthOf(prefix) <= length) return;
      [best, length] = [link, lengthOf(prefix)];
    };
    for (const { name, up, addresses } of this.devices.values()) {
      for (const [address, length] of up ? addresses : []) {
        if (address === ip) return null; // it is our own
        offer(name, cidrOf(address, length));
      }
    }
    for (const [prefix, { link, via }] of this.otherRoutes) if (this.isUp(link)) offer(via === null ? link : null, prefix);
    return best === null || own.includes(best) ? null : best;
  }

  #hopRefusal({ via, link, onlink }: Hop): Refusal | null {
    if (!this.exists(link)) return { why: `device ${link} does not exist` };
    if (!this.isUp(link)) return { why: "ENETDOWN" };
    return onlink || via === null || this.onLink(via, []) === link ? null : { why: "EHOSTUNREACH: Nexthop has invalid gateway" };
  }

  #routeRefusal({ to, src }: Route): Refusal | null {
    if (src !== null && !this.#isLocal(src)) return { why: "EINVAL: Invalid prefsrc address" };
    if (typeof to !== "number") return this.#hopRefusal(to);
    return this.entries.has(`nexthop ${to}`) ? null : { why: "EINVAL: Nexthop id does not exist" };
  }

  #isLocal(ip: Ip): boolean {
    for (const { addresses } of this.devices.values()) if (addresses.some(([address]) => address === ip)) return true;
    const length = familyOf(ip) === 4 ? 32 : 128;
    for (const link of this.#ownLinks) if (this.entries.has(`address ${link} ${ip}/${length}`)) return true;
    return false;
  }

  #dropAllowed({ link, publicKey }: WireguardPeer): void {
    for (const [key, { item }] of [...this.entries]) {
      if (item.kind === "allowed-ip" && item.link === link && item.publicKey === publicKey) this.entries.delete(key);
    }
  }

  #dropRoutes(gone: (route: Route) => boolean): void {
    for (const [key, { item }] of [...this.entries]) if (item.kind === "route" && gone(item)) this.entries.delete(key);
  }
}

const spans = new Map<Cidr, Span>();

/** Prefixes are compared very often here. */
function span(cidr: Cidr): Span {
  let known = spans.get(cidr);
  if (known === undefined) spans.set(cidr, known = spanOf(cidr));
  return known;
}

/** What stays on a device that goes down. */
const STAYING: ReadonlySet<Kind> = new Set<Kind>(["fdb", "wireguard-peer", "allowed-ip"]);

/** What Linux can not change on a device while it exists. */
function isMadeAnew(old: Link, link: Link): boolean {
  if (old.type !== "vxlan" || link.type !== "vxlan") return old.type !== link.type;
  const { vni, port, gbp, local } = link;
  return old.vni !== vni || old.port !== port || old.gbp !== gbp || familyOf(old.local) !== familyOf(local);
}

/** The device that an item goes with; a route by a nexthop object goes with that. */
function linkOf(item: Item): string | null {
  switch (item.kind) {
    case "link":
    case "blackhole":
      return null;
    case "route":
      return typeof item.to === "number" ? null : item.to.link;
    case "nexthop":
      return item.hop.link;
    case "reverse-path":
    case "address":
    case "wireguard-peer":
    case "allowed-ip":
    case "fdb":
    case "neighbour":
      return item.link;
    default:
      return item satisfies never;
  }
}

/** What an operation shall fail with; `null` lets it go on. */
export type Fault = (change: Change) => string | null;
