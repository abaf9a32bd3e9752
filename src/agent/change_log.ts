/**
 * Tells the log what a reconciliation came to, in a few lines however much it was.
 *
 * @module
 */

import { type Change, describe } from "../model/item.ts";
import type { Result } from "../reconcile/reconciler.ts";
import type { Log } from "./ports.ts";

/** Changes and failures that are written to the log at the most. */
const LOGGED = { changes: 50, failures: 10 };

/** Logs what was changed, and what failed for the first time. */
export function logResult({ changed, failed }: Pick<Result, "changed" | "failed">, log: Log): void {
  changed.slice(0, LOGGED.changes).forEach((change) => log("info", `${verb(change)} ${describe(change.item)}`));
  if (changed.length > LOGGED.changes) log("info", `and ${changed.length - LOGGED.changes} more changes`);
  failed.slice(0, LOGGED.failures).forEach((reason) => log("warning", reason));
}

function verb(change: Change): string {
  return change.op === "drop" ? "deleted" : change.old === null ? "added" : "replaced";
}
