/**
 * Takes, renews and gives back this node's lease.
 *
 * Every write is a transaction whose conditions say what it was decided on: that the key is still free, or that it still holds what was
 * read. flannel compares nothing but the key itself; two nodes that begin at once may then get subnets that overlap under different
 * keys (one IPv4 subnet with two IPv6 ones). So who makes a key looks, in the same transaction, at all keys that were made since the
 * choice, and steps back if one of them is in the way. An etcd lease of 24 hours is granted for every write and the former one left to
 * run out; what an administrator made permanent (a key without a lease) stays so.
 *
 * @module
 */

import { type Cidr, type Ip, overlaps } from "../../model/ip.ts";
import { type Lease, LeaseLostError, type LeaseRequest } from "../../model/lease.ts";
import { chooseSubnets, isLeaseOf } from "../allocate.ts";
import type { Health } from "../health.ts";
import { leaseKey, leaseRecord, leaseValue } from "../lease_value.ts";
import { untilItWorks } from "../retry.ts";
import { pause } from "../wait.ts";
import { EtcdError } from "./error.ts";
import { below, type Committed, type Condition, type KeyValue, type Kv, NO_LEASE, type Step } from "./kv.ts";
import { type Entry, LeaseTable, subnetsNamed } from "./lease_table.ts";
import type { Mirror } from "./mirror.ts";
import type { OwnWrites } from "./own_writes.ts";

/** What a writer is made of. */
export interface LeaseWriterOptions {
  readonly kv: Kv;
  readonly own: OwnWrites;
  readonly leasePrefix: string;
  readonly table: LeaseTable;
  readonly mirror: Pick<Mirror, "isCurrent" | "revision">;
  readonly health: Health;
  readonly readOnly?: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
}

/** How long a lease lasts, in seconds: 24 hours, as flannel's. */
const LEASE_SECONDS = 86_400;
/** Who lost a race waits for up to so many milliseconds before the next attempt. */
const AFTER_RACE = 50;

/** A lease with the entry that holds it. */
interface OwnEntry {
  readonly lease: Lease;
  readonly entry: Entry;
}

/** What leases are looked up in. */
interface View {
  readonly table: LeaseTable;
  readonly revision: number;
}

/** The entries of the node with these public addresses, the one written last first. */
export function ownEntries({ entries }: LeaseTable, publicIps: readonly Ip[]): readonly OwnEntry[] {
  return [...entries.values()]
    .flatMap((entry) => {
      const { record, held } = entry;
      const isOwn = "lease" in record && !held && isLeaseOf(record.lease, publicIps);
      return isOwn ? [{ entry, lease: record.lease }] : [];
    })
    .sort((a, b) => b.entry.modRevision - a.entry.modRevision);
}

/** The writer of this node's lease. */
export class LeaseWriter {
  readonly #o: LeaseWriterOptions;

  constructor(options: LeaseWriterOptions) {
    this.#o = options;
  }

  /** As a lease store's `acquire()`. */
  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    const { random } = this.#o;
    for (let attempt = 0;; attempt++) {
      const view = attempt === 0 && this.#o.mirror.isCurrent ? this.#mirrored() : await this.#read(signal);
      const lease = await this.#take(request, view, attempt > 0, signal);
      if (lease !== null) return lease;
      await pause(AFTER_RACE * random(), signal);
    }
  }

  /** As a lease store's `renew()`. */
  async renew(lease: Lease, signal: AbortSignal): Promise<Lease> {
    for (;;) {
      const found = await this.#held(lease, signal);
      const written = await this.#put(lease, found, [], found.modRevision, signal);
      if (written !== null) return written;
    }
  }

  /** As a lease store's `release()`. */
  async release(lease: Lease, signal: AbortSignal): Promise<void> {
    for (;;) {
      const { key, modRevision } = await this.#held(lease, signal);
      const condition: Condition = { key, is: "unchanged", modRevision };
      const { succeeded, revision } = await this.#persist(() => this.#o.kv.commit([condition], [{ remove: key }], signal), signal);
      if (!succeeded) continue;
      this.#o.table.remove(key, revision);
      this.#o.own.end();
      return;
    }
  }

  #mirrored(): View {
    return { table: this.#o.table, revision: this.#o.mirror.revision };
  }

  /** What the cluster holds at this moment. */
  async #read(signal: AbortSignal): Promise<View> {
    const { kv, leasePrefix, own } = this.#o;
    return await this.#persist(async () => {
      const table = new LeaseTable(leasePrefix, own, () => {});
      table.begin();
      const { revision } = await kv.list(below(leasePrefix), (it) => table.listed(it), signal);
      table.end(0, false);
      return { table, revision };
    }, signal);
  }

  /** Chooses and writes; `null` if somebody was faster. @param isFresh What was read is no older than the question. */
  async #take(request: LeaseRequest, { table, revision }: View, isFresh: boolean, signal: AbortSignal): Promise<Lease | null> {
    const own = [...ownEntries(table, request.endpoints.map(({ publicIp }) => publicIp))].sort(formerFirst(request.previous));
    const names = new Set(own.map(({ entry }) => entry.record.key));
    let subnets: readonly Cidr[];
    try {
      subnets = chooseSubnets({
        ranges: request.network.ranges,
        own: own.map(({ lease }) => lease.endpoints.map(({ subnet }) => subnet)),
        previous: request.previous,
        taken: table.subnets(names),
        random: this.#o.random,
      });
    } catch (error) {
      if (isFresh) throw error;
      return null;
    }
    const key = leaseKey(subnets);
    const lease: Lease = {
      key,
      backendType: request.backendType,
      endpoints: subnets.map((subnet, i) => ({ ...request.endpoints[i]!, subnet })),
      expiresAt: null,
    };
    const others = own.flatMap(({ entry }) => entry.record.key === key ? [] : [entry]);
    const before = own.find(({ entry }) => entry.record.key === key)?.entry ?? null;
    return await this.#put(lease, before, others, revision, signal);
  }

  /**
   * Writes a lease into its key, and deletes other keys of this node.
   *
   * @param before What the key holds; `null` if it must be free.
   * @param since Keys that were made after this revision are looked at.
   * @returns The lease, or `null` if something is not as it was thought to be.
   */
  async #put(
    lease: Lease,
    before: Pick<KeyValue, "modRevision" | "lease"> | null,
    others: readonly Entry[],
    since: number,
    signal: AbortSignal,
  ): Promise<Lease | null> {
    const { kv, own, table, leasePrefix, now } = this.#o;
    const key = leasePrefix + lease.key;
    const value = leaseValue(lease);
    const began = now();
    const permanent = before !== null && before.lease === NO_LEASE;
    const granted = permanent ? null : await this.#persist(() => kv.grant(LEASE_SECONDS, signal), signal);
    const id = granted?.id ?? NO_LEASE;
    const conditions: Condition[] = [
      before === null ? { key, is: "absent" } : { key, is: "unchanged", modRevision: before.modRevision },
      ...others.map(({ record, modRevision }) => ({ key: leasePrefix + record.key, is: "unchanged", modRevision }) as const),
    ];
    const steps: Step[] = [
      { put: key, value, lease: id },
      ...others.map(({ record }) => ({ remove: leasePrefix + record.key })),
      ...before === null ? [{ list: below(leasePrefix), createdSince: since }] : [],
    ];
    own.begin(lease.key, value, id);
    const done = await this.#persist(() => kv.commit(conditions, steps, signal), signal);
    if (!done.succeeded || this.#isInTheWay(lease, done)) {
      own.end();
      await this.#undo(done, key, id, signal);
      return null;
    }
    const written: Lease = { ...lease, expiresAt: granted === null ? null : began + granted.seconds * 1000 };
    own.done(written, done.revision);
    others.forEach(({ record }) => table.remove(leasePrefix + record.key, done.revision));
    table.put({ key, value, createRevision: done.revision, modRevision: done.revision, lease: id });
    this.#o.health.problem("lease", null);
    return written;
  }

  /** Whether a key that was made since the choice overlaps the new one. */
  #isInTheWay({ key, endpoints }: Lease, { listed }: Committed): boolean {
    const names = listed.map((it) => it.key.slice(this.#o.leasePrefix.length)).filter((name) => name !== key);
    return names.some((name) => subnetsNamed(name).some((other) => endpoints.some(({ subnet }) => overlaps(subnet, other))));
  }

  /** Takes back what was written in vain, as far as that works; what stays ends by itself. */
  async #undo({ succeeded, revision }: Committed, key: string, lease: string, signal: AbortSignal): Promise<void> {
    const { kv } = this.#o;
    try {
      if (succeeded) await kv.commit([{ key, is: "unchanged", modRevision: revision }], [{ remove: key }], signal);
      if (lease !== NO_LEASE) await kv.revoke(lease, signal);
    } catch {
      signal.throwIfAborted();
    }
  }

  /** The key of a lease that must be this node's. @throws {LeaseLostError} If it is not any more. */
  async #held(lease: Lease, signal: AbortSignal): Promise<KeyValue> {
    const { kv, leasePrefix, table } = this.#o;
    const key = leasePrefix + lease.key;
    const { found, revision } = await this.#persist(() => kv.get(key, signal), signal);
    if (found === null) {
      table.remove(key, revision);
      throw this.#lost(`the lease ${lease.key} is not in etcd any more`);
    }
    const record = leaseRecord(lease.key, found.value, null);
    const isOurs = this.#o.own.made(found) ||
      ("lease" in record && isLeaseOf(record.lease, lease.endpoints.map(({ publicIp }) => publicIp)));
    if (isOurs) return found;
    table.put(found);
    throw this.#lost(`the lease ${lease.key} is that of another node`);
  }

  #lost(why: string): LeaseLostError {
    this.#o.own.end();
    return new LeaseLostError(why);
  }

  /** Asks until there is an answer. A refusal does not get better by waiting. */
  #persist<T>(run: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const { health, random, readOnly = false } = this.#o;
    return untilItWorks(
      run,
      { health, random, isFinal: (error) => readOnly || (error instanceof EtcdError && !error.isOfMember) },
      signal,
    );
  }
}

/** Of several leases with this node's address, the one that it had before comes first: others may be somebody's forgery. */
function formerFirst(previous: readonly Cidr[]): (a: OwnEntry, b: OwnEntry) => number {
  const strange = ({ lease }: OwnEntry) => lease.endpoints.filter(({ subnet }) => !previous.includes(subnet)).length;
  return (a, b) => strange(a) - strange(b);
}
