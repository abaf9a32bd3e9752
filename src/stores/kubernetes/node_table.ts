/**
 * All nodes as this store knows them, and which of them changed since somebody last asked.
 *
 * Pure state: the same leases follow from lists, watches and gaps between them. A node's pod subnets are known for as long as it
 * keeps its uid, because the API server lets nobody change them once they are set; nodes of which they must be read are named in
 * {@linkcode NodeTable.unresolved}.
 *
 * @module
 */

import { isDeepStrictEqual } from "node:util";
import { CompactMap } from "../../model/compact_map.ts";
import type { LeaseEvent, LeaseRecord } from "../../model/lease.ts";
import type { NodeObject } from "./node.ts";
import { recordOf } from "./record.ts";

/** What is kept of a node: with thousands of them, each string counts. */
interface Entry {
  readonly uid: string;
  /** `null` while nothing is known; empty if none was assigned when they were read. */
  readonly podCidrs: readonly string[] | null;
  readonly record: LeaseRecord | null;
  /** The number of the list that named the node last. */
  listed: number;
}

/** The nodes of a cluster. */
export class NodeTable {
  readonly #nodes = new CompactMap<string, Entry>();
  readonly #dirty = new Set<string>();
  readonly #unresolved = new Set<string>();
  #list = 0;
  #complete = false;
  #snapshotDue = false;
  readonly #seen: (node: NodeObject) => void;

  /** @param seen Told of every node that is put, as it is. */
  constructor(seen: (node: NodeObject) => void = () => {}) {
    this.#seen = seen;
  }

  /** How many nodes there are. */
  get size(): number {
    return this.#nodes.size;
  }

  /** Whether {@linkcode NodeTable.take} has something to say. */
  get hasNews(): boolean {
    return this.#snapshotDue || (this.#complete && this.#dirty.size > 0);
  }

  /** Names of managed nodes whose pod subnets must be read. */
  get unresolved(): ReadonlySet<string> {
    return this.#unresolved;
  }

  /** A node as it is now. */
  put(node: NodeObject): void {
    const { name, uid, annotations } = node;
    const before = this.#nodes.get(name);
    const podCidrs = node.podCidrs ?? (before?.uid === uid ? before.podCidrs : null);
    const managed = annotations["kube-subnet-manager"] === "true";
    if (managed && node.podCidrs === null && !podCidrs?.length) this.#unresolved.add(name);
    else this.#unresolved.delete(name);
    // One that was made again keeps its way until its new subnets are read.
    const old = before?.record ?? null;
    const now = managed && podCidrs === null ? old : recordOf({ name, annotations, podCidrs });
    const same = isDeepStrictEqual(old, now);
    this.#nodes.set(name, { uid, podCidrs, record: same ? old : now, listed: this.#list });
    if (!same) this.#dirty.add(name);
    this.#seen(node);
  }

  /** A whole node that was read because it is unresolved; unless it is gone or was made again meanwhile. */
  resolve(node: NodeObject): void {
    if (this.#unresolved.has(node.name) && this.#nodes.get(node.name)?.uid === node.uid) this.put(node);
  }

  /** A node that is gone. */
  remove(name: string): void {
    this.#unresolved.delete(name);
    if (this.#nodes.get(name)?.record) this.#dirty.add(name);
    this.#nodes.delete(name);
  }

  /** Begins a complete list: what is not put before {@linkcode NodeTable.endList} is gone. */
  beginList(): void {
    this.#list++;
  }

  /** Ends a complete list; the next news is a snapshot. */
  endList(): void {
    for (const [name, { listed }] of this.#nodes) if (listed !== this.#list) this.remove(name);
    this.#complete = this.#snapshotDue = true;
  }

  /** What changed since the last call; `null` for nothing. */
  take(): LeaseEvent | null {
    if (!this.hasNews) return null;
    const names = [...this.#dirty];
    this.#dirty.clear();
    if (this.#snapshotDue) {
      this.#snapshotDue = false;
      return { type: "snapshot", records: [...this.#nodes.values()].flatMap(({ record }) => record ?? []) };
    }
    const changed = names.flatMap((name) => this.#nodes.get(name)?.record ?? []);
    return { type: "changes", changed, removed: names.filter((name) => !this.#nodes.get(name)?.record) };
  }
}
