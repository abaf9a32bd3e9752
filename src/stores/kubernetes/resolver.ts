/**
 * Reads the pod subnets of nodes of which only the metadata is known.
 *
 * All agents of a cluster learn of a new node at once, so each waits a little by chance, longer in a larger cluster. A few nodes are
 * read one by one, many by one list.
 *
 * @module
 */

import { Backoff } from "../backoff.ts";
import type { Health } from "../health.ts";
import { pause } from "../wait.ts";
import type { NodeApi } from "./node_api.ts";
import type { NodeTable } from "./node_table.ts";

/** With 5,000 nodes, 2,500 agents a second ask. */
const WAIT_PER_NODE = 0.4;
const LONGEST_WAIT = 2000;
/** Up to so many are read one by one in any case. */
const FEW = 16;
/** More than this part of all is read by one list: it costs the server as much. */
const MANY = 0.25;
/** Requests under way at once. */
const AT_ONCE = 8;

/**
 * Reads what the table names as unresolved, until nothing is.
 *
 * @param changed The table has changed.
 * @param random A number in [0, 1).
 */
export async function resolveAll(
  table: NodeTable,
  api: NodeApi,
  health: Health,
  changed: () => void,
  random: () => number,
  signal: AbortSignal,
): Promise<void> {
  const backoff = new Backoff(random);
  while (table.unresolved.size > 0) {
    await pause(Math.min(table.size * WAIT_PER_NODE, LONGEST_WAIT) * random(), signal);
    const names = [...table.unresolved];
    try {
      if (names.length > FEW && names.length > table.size * MANY) {
        await api.list({ whole: true }, (node) => table.resolve(node), signal);
      } else await oneByOne(names, table, api, signal);
      changed();
      if (table.unresolved.size < names.length) backoff.reset();
      else await pause(backoff.next(null), signal);
    } catch (error) {
      signal.throwIfAborted();
      health.bad(error);
      await pause(backoff.next(error), signal);
    }
  }
}

async function oneByOne(names: readonly string[], table: NodeTable, api: NodeApi, signal: AbortSignal): Promise<void> {
  const queue = [...names];
  const worker = async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
      const { node } = await api.one(name, signal);
      if (node !== null) table.resolve(node); // else the watch will tell that it is gone
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, names.length) }, worker));
}
