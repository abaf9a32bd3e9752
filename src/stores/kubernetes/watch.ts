/**
 * A watch of leases: a follower keeps the nodes in step, a resolver reads what it leaves open, and what changes comes out in batches.
 *
 * @module
 */

import type { LeaseEvent } from "../../model/lease.ts";
import type { Health } from "../health.ts";
import { Follower } from "./follower.ts";
import type { NodeObject } from "./node.ts";
import type { NodeApi } from "./node_api.ts";
import { NodeTable } from "./node_table.ts";
import { resolveAll } from "./resolver.ts";

/** What a watch is made of. */
export interface WatchOptions {
  readonly api: NodeApi;
  readonly health: Health;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Told of every node, as it is read. */
  readonly seen: (node: NodeObject) => void;
}

/** All leases, then their changes. Whoever does not keep up gets fewer and larger batches. */
export async function* watchLeases({ api, health, random, seen }: WatchOptions, signal: AbortSignal): AsyncGenerator<LeaseEvent> {
  const table = new NodeTable(seen);
  const over = new AbortController();
  const both = AbortSignal.any([signal, over.signal]);
  let wake = () => {};
  let bug: unknown = null;
  const background = (task: Promise<void>) =>
    task.catch((error) => {
      if (!both.aborted) bug = error;
    }).finally(() => wake());

  let resolving: Promise<void> | null = null;
  const changed = () => {
    if (table.unresolved.size > 0 && resolving === null) {
      resolving = background(resolveAll(table, api, health, () => wake(), random, both).finally(() => resolving = null));
    }
    wake();
  };
  const following = background(new Follower(table, { api, health, random, changed }).run(both));
  try {
    while (!both.aborted) {
      if (bug !== null) throw bug;
      const event = table.take();
      if (event !== null) yield event;
      else await new Promise<void>((resolve) => wake = resolve);
    }
  } finally {
    over.abort();
    await Promise.all([following, resolving]);
  }
}
