/**
 * Events that tell of our own writes and do not say so.
 *
 * As a rule an event names the port that caused it. Those of a vxlan device's FDB entries do not (Linux `drivers/net/vxlan/vxlan_core.c`,
 * `vxlan_fdb_info()`): without this, one changed peer would have the whole table read again. The kernel queues an event before the
 * write that causes it returns, so what is expected comes with the next events or not at all.
 *
 * @module
 */

import type { Fdb } from "../model/item.ts";
import { AF, type NeighbourMessage, PERMANENT, RTM } from "../netlink/rtnl.ts";

/** What is about to be heard of ourselves. */
export class Echoes {
  /** How often, by what the event says. */
  readonly #expected = new Map<string, number>();

  /** An entry was put or dropped on the device with this index. */
  expect(op: "put" | "drop", { mac, dst }: Fdb, index: number): void {
    const key = keyOf(op === "put" ? RTM.NEWNEIGH : RTM.DELNEIGH, { index, lladdr: mac, dst, state: PERMANENT });
    this.#expected.set(key, (this.#expected.get(key) ?? 0) + 1);
  }

  /** Whether an event is one that was expected; it is expected no more then. */
  take(type: number, row: NeighbourMessage): boolean {
    if (this.#expected.size === 0 || row.family !== AF.BRIDGE) return false;
    const key = keyOf(type, row);
    const left = (this.#expected.get(key) ?? 0) - 1;
    if (left < 0) return false;
    if (left === 0) this.#expected.delete(key);
    else this.#expected.set(key, left);
    return true;
  }

  /** All events so far were heard: what did not come among them does not come. */
  forget(): void {
    this.#expected.clear();
  }
}

function keyOf(type: number, { index, lladdr, dst, state }: Pick<NeighbourMessage, "index" | "lladdr" | "dst" | "state">): string {
  return `${type} ${index} ${lladdr} ${dst} ${state}`;
}
