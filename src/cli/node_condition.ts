/**
 * Keeps the condition NetworkUnavailable of this node's Node true to the agent's state.
 *
 * It is set to False once the agent is ready, which takes away the taint that cloud controllers put on new nodes, and to True when the
 * agent has not been ready for a minute. Source: flannel.md 4.5 and weakness 21.
 *
 * @module
 */

import { rest } from "../agent/patience.ts";
import type { Clock, Log } from "../agent/ports.ts";
import type { KubernetesStore } from "../stores/kubernetes/store.ts";

/** What the keeper needs. */
export interface NodeConditionOptions {
  readonly store: Pick<KubernetesStore, "node" | "nodeUid" | "setNetworkUnavailable">;
  /** Why the agent is not ready; `null` if it is. */
  readonly notReady: () => string | null;
  readonly clock: Clock;
  readonly log: Log;
}

/** Milliseconds between two looks at the agent, before it was ready for the first time and after. */
const LOOK = { first: 500, later: 5_000 };
/** An agent that is not ready for so many milliseconds makes the network unavailable. */
const PATIENCE = 60_000;
/** As much of the reason as is written down. */
const LONGEST = 1_000;

/** Keeps it until the signal ends it; what is true stays written then. */
export async function keepNodeCondition({ store, notReady, clock, log }: NodeConditionOptions, signal: AbortSignal): Promise<void> {
  let told = "";
  let telling = new AbortController();
  let readyUntil = clock.now();
  for (let look = LOOK.first; !signal.aborted; await rest(clock, look, signal)) {
    const why = notReady();
    if (why === null) [readyUntil, look] = [clock.now(), LOOK.later];
    else if (clock.now() - readyUntil < PATIENCE) continue;
    // A Node that was made again says nothing of its network.
    const state = `${store.nodeUid} ${why === null}`;
    if (state === told) continue;
    told = state;
    telling.abort(); // an older state is not worth telling any more
    telling = new AbortController();
    tell(why, AbortSignal.any([signal, telling.signal]));
  }

  function tell(why: string | null, signal: AbortSignal): void {
    const done = () => {
      const said = why === null ? "False" : `True: ${why}`;
      log(why === null ? "info" : "warning", `The condition NetworkUnavailable of node ${store.node} is ${said}`);
    };
    store.setNetworkUnavailable(why?.slice(0, LONGEST) ?? null, signal).then(done, (error: Error) => {
      if (!signal.aborted) log("error", `Cannot set the condition NetworkUnavailable: ${error.message}`);
    });
  }
}
