/**
 * From the store's records to peers: what other nodes published, checked.
 *
 * Whatever comes from the store is hostile. A record that breaks a rule is rejected with its reason and harms no other; the answer
 * depends only on the records and this node's own state, never on their order.
 *
 * @module
 */

import {
  type Cidr,
  contains,
  type Family,
  familyOf,
  hostOf,
  type Ip,
  lengthOf,
  type Span,
  spanOf,
  unusableAsPeer,
} from "../model/ip.ts";
import type { Endpoint, Lease, LeaseRecord, Network, Range } from "../model/lease.ts";
import { type Edition, editionOf, since, UNSEEN } from "./lists.ts";
import { type Claim, Territory } from "./territory.ts";

/** What the rules compare a lease with. */
export interface FoldContext {
  readonly network: Network;
  /** This node's own lease. */
  readonly own: Lease;
  /** All addresses of this node, but those on devices that the backend makes. */
  readonly addresses: readonly Ip[];
}

/** A record that is not followed. */
export interface Rejected {
  readonly key: string;
  /** What it says, where it could be read. */
  readonly lease: Lease | null;
  readonly reason: string;
}

/** What the store's records come to. */
export interface Fold {
  /** The other nodes, sorted by subnet; endpoints of families that this network does not have are left out. */
  readonly peers: Edition<Lease>;
  /** Sorted by key. */
  readonly rejected: readonly Rejected[];
}

/** What the rules say of a record by itself. */
interface Verdict {
  /** `null` for our own lease, which nobody judges. */
  readonly rejected: Rejected | null;
  /** What the lease claims; nothing if it is rejected. */
  readonly claims: readonly Claim[];
}

/** Sorts records, each with a key of its own, into peers and rejected ones. */
export function fold(records: readonly LeaseRecord[], context: FoldContext) {
  const { peers, rejected } = new Folder().fold(editionOf(records), context);
  return { peers: peers.all(), rejected };
}

/** Folds again and again, and remembers what it thought of a record as long as that has not been replaced. */
export class Folder {
  #contextKey = "";
  #rules: Rules | null = null;
  #seen = UNSEEN;
  readonly #verdicts = new Map<LeaseRecord, Verdict>();
  readonly #territory = new Territory();
  #rejected: readonly Rejected[] = [];
  #last: Fold = { peers: { version: 0, gone: new Set(), fresh: [], all: () => this.#territory.leases }, rejected: [] };

  /** As {@linkcode fold}; the very same answer as before if nothing has changed. */
  fold(records: Edition<LeaseRecord>, context: FoldContext): Fold {
    const key = keyOfContext(context);
    const rules = this.#rules !== null && key === this.#contextKey ? this.#rules : new Rules(context);
    const { gone, fresh } = rules === this.#rules
      ? since(records, this.#seen, () => this.#verdicts.keys())
      : { gone: new Set(this.#verdicts.keys()), fresh: records.all() };
    [this.#rules, this.#contextKey, this.#seen] = [rules, key, records.version];
    if (gone.size === 0 && fresh.length === 0) return this.#last;
    const [dropped, made] = [this.#drop(gone), this.#judge(fresh, rules)];
    const changed = this.#territory.change(dropped.flatMap(({ claims }) => claims), made.flatMap(({ claims }) => claims));
    if ([...dropped, ...made].some(({ rejected }) => rejected !== null)) {
      this.#rejected = [...this.#verdicts.values()].flatMap(({ rejected }) => rejected ?? []);
    }
    const crowded = [...this.#territory.losers].map(([lease, reason]) => ({ key: lease.key, lease, reason }));
    const rejected = [...this.#rejected, ...crowded].sort((a, b) => a.key < b.key ? -1 : 1);
    const { peers } = this.#last;
    return this.#last = { peers: { ...peers, ...changed, version: peers.version + 1 }, rejected };
  }

  #drop(records: Iterable<LeaseRecord>): readonly Verdict[] {
    const dropped: Verdict[] = [];
    for (const record of records) {
      dropped.push(this.#verdicts.get(record)!);
      this.#verdicts.delete(record);
    }
    return dropped;
  }

  #judge(records: readonly LeaseRecord[], rules: Rules): readonly Verdict[] {
    return records.map((record) => {
      const verdict = rules.judge(record);
      this.#verdicts.set(record, verdict);
      return verdict;
    });
  }
}

/** All that a verdict depends on besides the record. */
function keyOfContext({ network, own, addresses }: FoldContext): string {
  return JSON.stringify([network.ranges, own.key, own.endpoints.map(({ subnet, publicIp }) => [subnet, publicIp]), addresses]);
}

/** The rules for a record by itself. */
class Rules {
  readonly #network: Network;
  readonly #ranges: Readonly<Record<Family, Range | undefined>>;
  readonly #own: Lease;
  readonly #addresses: ReadonlySet<Ip>;
  readonly #addressSpans: readonly (readonly [Ip, Span])[];
  readonly #ownSpans: readonly (readonly [Cidr, Span])[];

  constructor({ network, own, addresses }: FoldContext) {
    this.#network = network;
    const rangeOf = (family: Family) => network.ranges.find((range) => familyOf(range.network) === family);
    this.#ranges = { 4: rangeOf(4), 6: rangeOf(6) };
    this.#own = own;
    this.#addresses = new Set([...addresses, ...own.endpoints.map(({ publicIp }) => publicIp)]);
    this.#addressSpans = addresses.map((ip) => [ip, spanOf(hostOf(ip))]);
    this.#ownSpans = own.endpoints.map(({ subnet }) => [subnet, spanOf(subnet)]);
  }

  judge(record: LeaseRecord): Verdict {
    if (record.key === this.#own.key) return { rejected: null, claims: [] };
    const reject = (lease: Lease | null, reason: string) => ({ rejected: { key: record.key, lease, reason }, claims: [] });
    if ("reason" in record) return reject(null, record.reason);
    const { endpoints } = record.lease;
    const ours = endpoints.filter(({ subnet }) => this.#ranges[familyOf(subnet)] !== undefined);
    if (ours.length === 0) return reject(record.lease, "it has no subnet in a family of this network");
    const spans = ours.map(({ subnet }) => spanOf(subnet));
    for (let i = 0; i < ours.length; i++) {
      const wrong = this.#wrongSubnet(ours[i]!.subnet, spans[i]!) ?? this.#wrongAddress(ours[i]!);
      if (wrong !== null) return reject(record.lease, wrong);
    }
    if (ours.length > 1 && new Set(ours.map(({ subnet }) => familyOf(subnet))).size < ours.length) {
      return reject(record.lease, "it has two subnets of one family");
    }
    const whole = ours.length === endpoints.length && record.lease.key === record.key;
    const lease = whole ? record.lease : { ...record.lease, key: record.key, endpoints: ours };
    return { rejected: null, claims: ours.map(({ subnet }, i) => ({ lease, subnet, span: spans[i]!, main: i === 0 })) };
  }

  #wrongSubnet(subnet: Cidr, span: Span): string | null {
    const { network, allocation } = this.#ranges[familyOf(subnet)]!;
    if (!contains(network, subnet)) return `subnet ${subnet} is not inside the network ${network}`;
    const length = allocation?.length ?? null;
    if (length === null ? subnet === network : lengthOf(subnet) !== length) {
      return `subnet ${subnet} has not the prefix length ${length === null ? "of a part" : `/${length}`} of the network ${network}`;
    }
    const ours = this.#ownSpans.find(([, own]) => own.first <= span.last && span.first <= own.last);
    if (ours !== undefined) return `subnet ${subnet} overlaps this node's own ${ours[0]}`;
    const address = this.#addressSpans.find(([, { first }]) => span.first <= first && first <= span.last);
    return address === undefined ? null : `subnet ${subnet} holds this node's address ${address[0]}`;
  }

  #wrongAddress({ subnet, publicIp: ip }: Endpoint): string | null {
    if (familyOf(ip) !== familyOf(subnet)) return `public IP ${ip} is not of the family of subnet ${subnet}`;
    const unusable = unusableAsPeer(ip);
    if (unusable !== null) return `public IP ${ip} ${unusable}`;
    const around = this.#network.ranges.find((range) => contains(range.network, ip));
    if (around !== undefined) return `public IP ${ip} is inside the pod network ${around.network}`;
    return this.#addresses.has(ip) ? `public IP ${ip} is this node's own: two nodes publish one address` : null;
  }
}
