/**
 * The kernel in memory, behind the port that the core works with.
 *
 * Each operation can be made to fail, looks can be made incomplete, and whatever is done behind the agent's back is told by an event,
 * as by Linux; the agent's own changes are not. What belongs to others carries another owner: an attempt to change it is refused and
 * remembered in `violations`.
 *
 * @module
 */

import { type Cidr, cidrOf, contains, type Family, familyOf, type Ip, ipOf, lengthOf, networkOf } from "../src/model/ip.ts";
import { type Change, describe, isSilent, type Item, keyOf, type Kind, KINDS, type Route } from "../src/model/item.ts";
import type { AddressFact, Dirty, Facts, Kernel, LinkFact, Lookup, Observation, Ownership, Refusal } from "../src/model/kernel.ts";
import { type Device, FakeTables, type Fault, type Owner } from "./fake_tables.ts";

const ALL: readonly Dirty[] = ["facts", "routing", ...KINDS];

interface Watcher {
  readonly changed: (dirty: ReadonlySet<Dirty>) => void;
  dirty: Set<Dirty>;
}

/** The kernel of one node. */
export class FakeKernel extends FakeTables implements Kernel {
  readonly nexthopObjects: boolean;
  /** Every change that the agent made, in order. */
  readonly applied: Change[] = [];
  /** What the agent tried to do to things that are not its own. */
  readonly violations: string[] = [];
  /** Called after every single change, for what must hold all the time. */
  afterChange: () => void = () => {};
  fault: Fault = () => null;
  /** Looks are interrupted, and show nothing of the entries for which this says `true`. */
  interrupted: ((key: string) => boolean) | null = null;
  observations = 0;
  lookups = 0;
  factReads = 0;
  /** What was asked since the devices and their addresses changed last. */
  readonly #answers = new Map<Ip, Lookup>();
  readonly #watchers = new Set<Watcher>();

  constructor(options: { readonly nexthopObjects?: boolean; readonly devices?: readonly Partial<Device>[] } = {}) {
    super();
    this.nexthopObjects = options.nexthopObjects ?? true;
    for (const device of options.devices ?? []) this.device(device);
  }

  /** Adds or changes a device of the node, as somebody else would. */
  device(device: Partial<Device>): void {
    const name = device.name ?? "eth0";
    const before = this.devices.get(name);
    const fallback = { name, mtu: 1500, up: true, carrier: true, addresses: [], strict: false };
    const now: Device = { ...(before ?? fallback), ...device };
    this.devices.set(name, now);
    if (!now.up && before?.up === true) this.withdraw(name, false);
    if (before !== undefined) this.dropUnsourced();
    this.emit("facts", "routing", "reverse-path", "nexthop", "route");
  }

  /** Takes a device of the node away, with all that is on it. */
  unplug(name: string): void {
    this.devices.delete(name);
    for (const [prefix, { link }] of this.otherRoutes) if (link === name) this.otherRoutes.delete(prefix);
    this.withdraw(name, true);
    this.emit("facts", "routing", "reverse-path", "nexthop", "route");
  }

  /** Adds a route of somebody else's that is no item: a default route, or one to an outer network. */
  otherRoute(prefix: Cidr, link: string, via: Ip | null): void {
    this.otherRoutes.set(prefix, { link, via });
    this.emit("facts", "routing", "nexthop");
  }

  /** Removes such a route. */
  dropOtherRoute(prefix: Cidr): void {
    this.otherRoutes.delete(prefix);
    this.emit("facts", "routing", "nexthop");
  }

  /** Puts an item behind the agent's back, whatever is there. */
  set(item: Item, owner: Owner): void {
    this.enter(item, owner);
    if (item.kind === "link" && item.down) this.withdraw(item.name, false);
    this.#happened(item);
  }

  /** Deletes an item behind the agent's back, with what Linux takes along. */
  delete(key: string): void {
    const item = this.item(key);
    if (item === undefined) throw new Error(`The kernel has no ${key}`);
    this.remove(item);
    this.#happened(item);
  }

  /** Makes a device filter strictly by reverse path. */
  filterStrictly(link: string): void {
    const device = this.devices.get(link);
    if (device === undefined) this.strictLinks.add(link);
    else this.devices.set(link, { ...device, strict: true });
    this.emit("reverse-path");
  }

  /** Tells the watchers that something may have changed. */
  emit(...kinds: readonly Dirty[]): void {
    if (kinds.includes("facts")) this.#answers.clear();
    for (const watcher of this.#watchers) {
      const idle = watcher.dirty.size === 0;
      kinds.forEach((kind) => watcher.dirty.add(kind));
      if (!idle) continue;
      queueMicrotask(() => {
        const burst = watcher.dirty;
        watcher.dirty = new Set();
        if (this.#watchers.has(watcher)) watcher.changed(burst);
      });
    }
  }

  /** Those who watch now. */
  get watchers(): number {
    return this.#watchers.size;
  }

  /** The items of an owner in words, sorted. */
  text(owner: Owner = "agent"): string[] {
    return [...this.entries.values()].filter((entry) => entry.owner === owner).map(({ item }) => describe(item)).sort();
  }

  /** Where a packet to a pod's address leaves: the outer address it is sent to, or `null` if it is lost. */
  forward(ip: Ip): Ip | null {
    let route: Route | null = null;
    for (const { item } of this.entries.values()) {
      if (item.kind === "route" && contains(item.dst, ip) && lengthOf(item.dst) > (route === null ? -1 : lengthOf(route.dst))) {
        route = item;
      }
    }
    return route === null ? null : this.forwardBy(route);
  }

  /** Where packets of a route leave; `null` if they are lost. */
  forwardBy(route: Route): Ip | null {
    const hop = this.hopOf(route);
    if (hop === undefined || !this.isUp(hop.link)) return null;
    if (this.devices.has(hop.link)) return hop.via !== null && this.onLink(hop.via, []) === hop.link ? hop.via : null;
    const link = this.item(`link ${hop.link}`);
    if (link?.kind === "link" && link.type === "ipip") return hop.via;
    if (link?.kind === "link" && link.type === "wireguard") {
      const allowed = this.item(`allowed-ip ${hop.link} ${route.dst}`);
      const peer = allowed?.kind === "allowed-ip" ? this.item(`wireguard-peer ${hop.link} ${allowed.publicKey}`) : undefined;
      return peer?.kind === "wireguard-peer" ? peer.endpoint?.ip ?? null : null;
    }
    const neighbour = this.item(`neighbour ${hop.link} ${hop.via}`);
    const fdb = neighbour?.kind === "neighbour" ? this.item(`fdb ${hop.link} ${neighbour.mac}`) : undefined;
    return fdb?.kind === "fdb" ? fdb.dst : null;
  }

  facts(): Facts {
    this.factReads++;
    const devices = [...this.devices.values()];
    const fact = (name: string): LinkFact => ({
      ...{ name, index: 0, kind: "", mac: null, mtu: 1500, up: true, carrier: true, loopback: name === "lo" },
    });
    const links = [
      ...devices.map(({ name, mtu, up, carrier }): LinkFact => ({ ...fact(name), mtu, up, carrier })),
      ...this.ownLinks().map((link): LinkFact => {
        const { name, type: kind, mtu, down } = link;
        return { ...fact(name), kind, mac: link.type === "vxlan" ? link.mac : null, mtu, up: !down };
      }),
    ];
    const addresses = [
      ...devices.flatMap(({ name, addresses }) => addresses.map(([ip, length]) => addressFact(name, ip, length))),
      ...[...this.entries.values()].flatMap(({ item }) =>
        item.kind === "address" ? [addressFact(item.link, item.ip, item.length)] : []
      ),
    ];
    return { links: links.map((link, i) => ({ ...link, index: i + 2 })), addresses };
  }

  defaultRoute(family: Family): string | null {
    return this.otherRoutes.get((family === 4 ? "0.0.0.0/0" : "::/0") as Cidr)?.link ?? null;
  }

  lookup(ips: readonly Ip[], own: readonly string[]): ReadonlyMap<Ip, Lookup> {
    this.lookups += ips.length;
    return new Map(ips.map((ip) => {
      let answer = this.#answers.get(ip);
      if (answer === undefined) this.#answers.set(ip, answer = this.#lookup(ip, own));
      return [ip, answer];
    }));
  }

  #lookup(ip: Ip, own: readonly string[]): Lookup {
    const link = this.leadsTo(ip);
    const src = this.devices.get(link ?? "")?.addresses.find(([address]) => familyOf(address) === familyOf(ip))?.[0] ?? null;
    return { onLink: this.onLink(ip, own), link, src };
  }

  observe(kinds: ReadonlySet<Kind>, own: Ownership): Observation {
    this.observations++;
    const items = new Map<string, Item>();
    const foreign = new Map<string, string>();
    const used = this.#usedNexthops();
    for (const [key, { item, owner }] of this.entries) {
      if (!kinds.has(item.kind) || this.interrupted?.(key)) continue;
      const adopted = item.kind === "route" && owner === "flanneld";
      if (owner !== "other" && isOurs(item, own, used) && (own.adopts || !adopted)) {
        items.set(key, adopted ? { ...item, adopted: true } : item);
      } else if (item.kind === "nexthop" || (item.kind === "link" && own.links.includes(item.name))) {
        foreign.set(key, `${key} belongs to somebody else`);
      }
    }
    if (kinds.has("link")) {
      own.links.filter((name) => this.devices.has(name)).forEach((name) =>
        foreign.set(`link ${name}`, `a device of kind hardware has this name`)
      );
    }
    if (kinds.has("reverse-path")) {
      own.reversePath.filter((link) => this.exists(link) && !this.isStrict(link)).forEach((link) =>
        items.set(`reverse-path ${link}`, { kind: "reverse-path", link })
      );
    }
    return { items, foreign, complete: this.interrupted === null };
  }

  apply(changes: readonly Change[]): Promise<ReadonlyMap<Change, Refusal>> {
    const refusals = new Map<Change, Refusal>();
    for (const change of changes) {
      const refusal = this.#apply(change);
      if (refusal !== null) refusals.set(change, refusal);
    }
    return Promise.resolve(refusals);
  }

  watch(
    _own: () => Pick<Ownership, "links" | "networks" | "reversePath">,
    changed: (dirty: ReadonlySet<Dirty>) => void,
  ): Disposable {
    const watcher = { changed, dirty: new Set<Dirty>() };
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => void this.#watchers.delete(watcher) };
  }

  #apply(change: Change): Refusal | null {
    const { op, item } = change;
    const refused = this.fault(change);
    const refusal = refused !== null
      ? { why: refused }
      : this.#isForeign(change)
      ? "EEXIST"
      : op === "put"
      ? this.refusal(item)
      : null;
    if (refusal !== null) {
      const error = `Cannot ${op} ${describe(item)}: ${refusal === "EEXIST" ? refusal : refusal.why}`;
      return { error, foreign: refusal === "EEXIST" };
    }
    this.applied.push(change);
    if (op === "drop") this.remove(item);
    else this.put(item, "agent");
    this.afterChange();
    return null;
  }

  /** A put that is to create is refused by Linux itself; anything else would harm what is not ours. */
  #isForeign(change: Change): boolean {
    if (this.entries.get(keyOf(change.item))?.owner !== "other") return false;
    if (change.op === "drop" || change.old !== null) this.violations.push(`${change.op} ${describe(change.item)}`);
    return true;
  }

  #happened(item: Item): void {
    const { kind } = item;
    if (isSilent(item) && (kind !== "link" || this.entries.has(keyOf(item)))) return;
    if (kind === "link") return this.emit(...ALL);
    this.emit(
      kind,
      ...(kind === "address" ? ["neighbour", "nexthop", "route"] as const : kind === "nexthop" ? ["route"] as const : []),
    );
  }

  #usedNexthops(): ReadonlySet<unknown> {
    return new Set(
      [...this.entries.values()].flatMap(({ item, owner }) => item.kind === "route" && owner === "agent" ? [item.to] : []),
    );
  }
}

function isOurs(item: Item, own: Ownership, used: ReadonlySet<unknown>): boolean {
  switch (item.kind) {
    case "link":
      return own.links.includes(item.name);
    case "reverse-path":
      return false; // a setting, not an entry
    case "address":
    case "wireguard-peer":
    case "allowed-ip":
    case "fdb":
    case "neighbour":
      return own.links.includes(item.link);
    case "nexthop":
      return own.nexthops.has(item.id) || own.links.includes(item.hop.link) || used.has(item.id) || isSubnetId(item.id, own);
    case "route":
    case "blackhole":
      return own.networks.some(({ network, length }) =>
        contains(network, item.dst) && (length === null ? item.dst !== network : lengthOf(item.dst) === length)
      );
    default:
      return item satisfies never;
  }
}

/** An IPv4 nexthop's id is the address of a subnet inside our network; an IPv6 id says nothing by itself. */
function isSubnetId(id: number, own: Ownership): boolean {
  const ip = ipOf(BigInt(id), 4);
  return id >>> 28 !== 0xf &&
    own.networks.some(({ network, length }) => contains(network, ip) && (length === null || networkOf(cidrOf(ip, length)) === ip));
}

function addressFact(link: string, ip: Ip, length: number): AddressFact {
  return { link, ip, length, scope: 0, temporary: false, deprecated: false, permanent: true };
}
