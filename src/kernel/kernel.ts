/**
 * The kernel over netlink: the port that the core works with.
 *
 * Owns the connection, the table of devices and the grouping of changes into batches. Decides nothing.
 *
 * @module
 */

import type { Family, Ip } from "../model/ip.ts";
import { familyOf } from "../model/ip.ts";
import { type Change, describe, type Fdb, type Item, type Kind, rankOf, type VxlanLink } from "../model/item.ts";
import type { Dirty, Facts, Kernel, Lookup, Observation, Ownership, Refusal } from "../model/kernel.ts";
import { Connection, type Driver } from "../netlink/connection.ts";
import { AnswerLostError, NetlinkError, type Request, request } from "../netlink/frame.ts";
import { AF, NEXTHOP, ROUTE, RTM, TABLE_MAIN } from "../netlink/rtnl.ts";
import { NoSuchLinkError, Requests } from "./apply.ts";
import { Echoes } from "./echoes.ts";
import { watchKernel } from "./events.ts";
import { familyNumber, type LinkRow, lookup, readDefaultRoute, readFacts, readLinks } from "./facts.ts";
import { observe } from "./observe.ts";
import { type Keys, Wireguard } from "./wireguard.ts";

/** How a kernel is opened. */
export interface KernelOptions {
  readonly keys: Keys;
  /** `false`: use plain routes even where the kernel has nexthop objects. */
  readonly nexthopObjects?: boolean;
}

/** Opens the kernel of the network namespace that this process is in. */
export function openKernel(driver: Driver, options: KernelOptions): Kernel & Disposable {
  return new NetlinkKernel(driver, options);
}

class NetlinkKernel implements Kernel, Disposable {
  readonly nexthopObjects: boolean;
  /** Even where none shall be made, those of an earlier run are seen. */
  readonly #knowsNexthopObjects: boolean;
  readonly #driver: Driver;
  readonly #connection: Connection;
  readonly #wireguard: Wireguard;
  readonly #echoes = new Echoes();
  readonly #requests = new Requests((link) => this.#indexOf(link));
  #links: readonly LinkRow[] = [];
  #indexes: ReadonlyMap<string, number> = new Map();
  #names: ReadonlyMap<number, string> = new Map();

  constructor(driver: Driver, { keys, nexthopObjects = true }: KernelOptions) {
    this.#driver = driver;
    this.#connection = new Connection(driver);
    this.#wireguard = new Wireguard(driver, keys);
    this.#knowsNexthopObjects = this.#hasNexthopObjects();
    this.nexthopObjects = nexthopObjects && this.#knowsNexthopObjects;
    this.#readLinks();
  }

  facts(): Facts {
    return readFacts(this.#connection, this.#readLinks());
  }

  defaultRoute(family: Family): string | null {
    return readDefaultRoute(this.#connection, family, this.#links);
  }

  lookup(ips: readonly Ip[], own: readonly string[]): ReadonlyMap<Ip, Lookup> {
    return lookup(this.#connection, ips, this.#links, own);
  }

  observe(kinds: ReadonlySet<Kind>, own: Ownership): Observation {
    if (kinds.has("link") || kinds.has("reverse-path")) this.#readLinks();
    return observe(this.#connection, this.#wireguard, kinds, own, this.#links, this.#knowsNexthopObjects);
  }

  async apply(changes: readonly Change[]): Promise<ReadonlyMap<Change, Refusal>> {
    const refusals = new Map<Change, Refusal>();
    let turn = 0;
    for (const run of inOrder(changes)) {
      for (let from = 0; from < run.length; from += TURN) {
        const part = run.slice(from, from + TURN);
        turn += part.length;
        if (turn > TURN) {
          turn = part.length;
          await new Promise((resolve) => setImmediate(resolve)); // events and requests get their turn
        }
        this.#make(part, refusals);
      }
    }
    return refusals;
  }

  watch(
    own: () => Pick<Ownership, "links" | "networks" | "reversePath">,
    changed: (dirty: ReadonlySet<Dirty>) => void,
  ): Disposable {
    const nameOf = (index: number) => this.#names.get(index);
    return watchKernel(this.#driver, this.#connection.port, { echoes: this.#echoes, own, nameOf }, changed);
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
    this.#wireguard[Symbol.dispose]();
  }

  #readLinks(): readonly LinkRow[] {
    this.#links = readLinks(this.#connection);
    this.#indexes = new Map(this.#links.map((link) => [link.name!, link.index!]));
    this.#names = new Map(this.#links.map((link) => [link.index!, link.name!]));
    return this.#links;
  }

  #hasNexthopObjects(): boolean {
    try {
      this.#connection.dump(request(RTM.GETNEXTHOP, 0, NEXTHOP, { family: AF.UNSPEC }), NEXTHOP);
      return true;
    } catch (error) {
      if (error instanceof NetlinkError) return false; // EOPNOTSUPP before Linux 5.3
      throw error;
    }
  }

  /** Makes changes of one run, all of one kind if that stands apart. */
  #make(changes: readonly Change[], refusals: Map<Change, Refusal>): void {
    switch (changes[0]!.item.kind) {
      case "link":
        this.#send(changes, refusals);
        this.#readLinks();
        for (const change of changes) if (!refusals.has(change)) this.#configure(change, refusals);
        break;
      case "wireguard-peer":
      case "allowed-ip":
        this.#wireguard.send(changes, (link) => this.#indexOf(link)).forEach((failed, i) =>
          this.#refused(changes[i]!, failed, refusals)
        );
        break;
      default:
        this.#send(changes, refusals);
        for (const change of changes) {
          if (change.item.kind === "fdb" && !refusals.has(change)) this.#expectEcho(change.op, change.item);
        }
    }
  }

  #expectEcho(op: Change["op"], item: Fdb): void {
    const index = this.#indexes.get(item.link); // what is dropped may have gone with its device
    if (index !== undefined) this.#echoes.expect(op, item, index);
  }

  /** Gives a new device its key, if it has one. */
  #configure(change: Change, refusals: Map<Change, Refusal>): void {
    const { op, item } = change;
    if (op === "drop" || item.kind !== "link" || item.type !== "wireguard") return;
    const failed = this.#wireguard.configure(item, this.#indexOf(item.name));
    if (failed !== null) refusals.set(change, { error: `Cannot set up ${describe(item)}: ${failed}`, foreign: false });
  }

  #send(changes: readonly Change[], refusals: Map<Change, Refusal>): void {
    const requests: Request[] = [];
    const spans = changes.map((change) => {
      const before = requests.length;
      try {
        this.#requests.add(change, requests);
        return requests.length - before;
      } catch (error) {
        if (!(error instanceof NoSuchLinkError)) throw error;
        this.#refused(change, error, refusals);
        return 0;
      }
    });
    const results = this.#connection.send(requests);
    let at = 0;
    spans.forEach((span, i) => {
      let failed: NetlinkError | AnswerLostError | null = null;
      for (const end = at + span; at < end; at++) failed ??= results[at]!;
      this.#refused(changes[i]!, failed, refusals);
    });
  }

  /** Notes why a change was not made, if it was not. */
  #refused(change: Change, failed: Error | null, refusals: Map<Change, Refusal>): void {
    if (failed !== null && !(change.op === "drop" && isGone(failed))) refusals.set(change, this.#refusal(change, failed));
  }

  #refusal(change: Change, failed: Error): Refusal {
    if (failed instanceof NoSuchLinkError) return { error: failed.message, foreign: false };
    const what = `Cannot ${change.op === "put" ? (change.old === null ? "add" : "replace") : "delete"} ${describe(change.item)}`;
    const exists = failed instanceof NetlinkError && failed.code === "EEXIST";
    const more = exists ? this.#holderOf(change.item) : remedyFor(change.item, failed);
    return { error: `${what}: ${failed.message}${more === null ? "" : `: ${more}`}`, foreign: exists };
  }

  /** Who holds what we wanted to create, in words. */
  #holderOf(item: Item): string | null {
    if (item.kind === "route") {
      const filter = { family: familyNumber(familyOf(item.dst)), table: TABLE_MAIN };
      const dump = this.#connection.dump(request(RTM.GETROUTE, 0, ROUTE, filter), ROUTE);
      const row = dump.values.find((row) => row.dst !== undefined && `${row.dst}/${row.dstLength}` === item.dst);
      return row === undefined
        ? null
        : `a route of protocol ${row.protocol} over ${this.#nameOf(row.oif)} is there; remove it with: ip route del ${item.dst}`;
    }
    if (item.kind === "link" && item.type === "vxlan") return this.#otherVxlan(item);
    return null;
  }

  /** The kernel allows one vxlan device per VNI, UDP port and family. */
  #otherVxlan(link: VxlanLink): string | null {
    const other = this.#links.find((row) => row.linkInfo?.data?.id === link.vni && row.linkInfo.data.port === link.port);
    return other === undefined ? null : `device ${other.name} has VNI ${link.vni} and port ${link.port} already`;
  }

  #nameOf(index: number | undefined): string {
    return this.#names.get(index ?? 0) ?? "no device";
  }

  #indexOf(name: string): number {
    const index = this.#indexes.get(name);
    if (index === undefined) throw new NoSuchLinkError(`device ${name} does not exist`);
    return index;
  }
}

/** Changes that are made before others get their turn: the kernel takes them in about 10 ms. */
const TURN = 2048;
/** What the kernel says when there is nothing to delete. */
const GONE = new Set(["ESRCH", "ENOENT", "ENODEV", "EADDRNOTAVAIL"]);

/** Whether there is nothing to delete any more; with its device an item is gone. */
function isGone(failed: Error): boolean {
  return failed instanceof NoSuchLinkError || (failed instanceof NetlinkError && GONE.has(failed.code));
}

/** What helps against a failure, as far as it is known. */
function remedyFor(item: Item, failed: Error): string | null {
  const unknown = item.kind === "link" && failed instanceof NetlinkError && failed.code === "EOPNOTSUPP";
  return unknown ? `this kernel has no such devices; try "modprobe ${item.type}"` : null;
}

/** Changes in runs that are made together: puts upward, then drops downward. */
function inOrder(changes: readonly Change[]): Change[][] {
  const groups = new Map<number, Change[]>();
  for (const change of changes) {
    const rank = isPaired(change.item) ? PAIRED : rankOf[change.item.kind];
    const order = change.op === "put" ? rank : 1000 - rank;
    const group = groups.get(order);
    if (group === undefined) groups.set(order, [change]);
    else group.push(change);
  }
  const runs: Change[][] = [];
  let joins = false;
  for (const [, group] of [...groups].sort(([a], [b]) => a - b)) {
    const apart = isPaired(group[0]!.item) || APART.has(group[0]!.item.kind);
    if (joins && !apart) { for (const change of group) runs.at(-1)!.push(change); }
    else runs.push(isPaired(group[0]!.item) ? inPairs(group) : group);
    joins = !apart;
  }
  return runs;
}

/** Kinds that take more than one call, or not one of rtnetlink's. */
const APART: ReadonlySet<Kind> = new Set(["link", "wireguard-peer", "allowed-ip"]);

/** The rank of IPv6 nexthops and the routes through them. */
const PAIRED = (rankOf.nexthop + rankOf.route) / 2;

/** Whether an item goes in pairs. IPv4 nexthops tell by their ids whose they are, and all at once are faster. */
function isPaired(item: Item): boolean {
  if (item.kind === "nexthop") return item.hop.via !== null && familyOf(item.hop.via) === 6;
  return item.kind === "route" && typeof item.to === "number" && familyOf(item.dst) === 6;
}

/**
 * Each nexthop beside the route through it, so that the kernel takes both with one call: an agent that is killed leaves no IPv6 nexthop
 * without its route, by which alone it would be known again once the lease is gone.
 */
function inPairs(group: Change[]): Change[] {
  const nexthops = new Map<unknown, Change>();
  for (const change of group) if (change.item.kind === "nexthop") nexthops.set(change.item.id, change);
  const pairs: Change[] = [];
  const routes: Change[] = [];
  for (const change of group) {
    if (change.item.kind !== "route") continue;
    const nexthop = nexthops.get(change.item.to);
    nexthops.delete(change.item.to);
    if (nexthop === undefined) routes.push(change);
    else pairs.push(...change.op === "put" ? [nexthop, change] : [change, nexthop]);
  }
  return [...pairs, ...routes, ...nexthops.values()];
}
