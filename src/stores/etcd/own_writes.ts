/**
 * What this process has written into its own key, so that somebody else's write there is known for what it is.
 *
 * In etcd a node is known by its public address alone, as flannel has it: two hosts that publish one address take each other's lease,
 * each in good faith. While both run, each sees its key changed by a write that is not its own.
 *
 * @module
 */

import { oneLine, quote } from "../../config/errors.ts";
import type { Lease, LeaseRecord } from "../../model/lease.ts";
import { isLeaseOf } from "../allocate.ts";
import { type KeyValue, NO_LEASE } from "./kv.ts";

/** Writes that went into one key. */
export class OwnWrites {
  /** The numbers of all leases that this process was granted. */
  readonly #leases = new Set<string>();
  #name: string | null = null;
  #value = "";
  #revision = 0;
  #lease: Lease | null = null;

  /** The name of the key; `null` while this node has no lease. */
  get name(): string | null {
    return this.#name;
  }

  /** A write is about to be made: it may be seen before it is known to have been made. */
  begin(name: string, value: string, lease: string): void {
    if (lease !== NO_LEASE) this.#leases.add(lease);
    this.#name = name;
    this.#value = value;
  }

  /** It was made. */
  done(lease: Lease, revision: number): void {
    this.#lease = lease;
    this.#revision = revision;
  }

  /** The key is not ours any more. */
  end(): void {
    this.#name = null;
    this.#lease = null;
  }

  /** Whether this process made a write; one that only took the end from our lease counts too, since an administrator may do that. */
  made({ lease, value }: Pick<KeyValue, "lease" | "value">): boolean {
    return lease === NO_LEASE ? value === this.#value : this.#leases.has(lease);
  }

  /** Whether what stands under our key is our last write. */
  isLast(it: Pick<KeyValue, "lease" | "value">): boolean {
    return this.made(it) && it.value === this.#value;
  }

  /** Whether a write came after our last one. */
  isLater({ modRevision }: Pick<KeyValue, "modRevision">): boolean {
    return this.#lease !== null && modRevision > this.#revision;
  }

  /** What to say of a write of somebody else who publishes our address; `null` if it is another node's, so that our lease is lost. */
  twin(record: LeaseRecord): string | null {
    const ours = this.#lease;
    if (ours === null || !("lease" in record)) return null;
    const ips = ours.endpoints.map(({ publicIp }) => publicIp);
    if (!isLeaseOf(record.lease, ips)) return null;
    const data = record.lease.endpoints.map(({ data }) => oneLine(JSON.stringify(data) ?? "nothing")).join(" and ");
    return `Two hosts publish ${ips.join(" and ")}: another one has just written the lease ${record.key} of this node, with ` +
      `type ${quote(record.lease.backendType)} and data ${data}; give each host a --public-ip of its own`;
  }
}
