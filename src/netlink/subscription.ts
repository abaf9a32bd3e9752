/**
 * Events: what the kernel tells everybody who has joined a multicast group.
 *
 * Owns hearing them and noticing that some were lost; what they mean is the subscriber's affair.
 *
 * @module
 */

import type { Driver } from "../../ffi/mod.ts";
import { receiveOrOverrun } from "./connection.ts";
import { messagesOf } from "./frame.ts";

/** An event: something in the kernel's tables has changed. */
export interface Event {
  /** Message type, for example RTM_DELROUTE. */
  readonly type: number;
  readonly view: DataView;
  readonly at: number;
  readonly length: number;
}

/** What a subscriber is told. */
export interface EventHandlers {
  readonly onEvent: (event: Event) => void;
  /** Events were lost: everything must be read again. */
  readonly onOverrun: () => void;
  /** A burst of events has been handed over. */
  readonly onIdle: () => void;
}

/**
 * Subscribes to multicast groups. Groups that the kernel does not know are left out.
 *
 * @param options `ignorePort`: the port whose events are left out, since they echo our own writes; `protocol`: NETLINK_ROUTE if absent.
 * @returns A handle that ends the subscription.
 * @throws {NetlinkSocketError} If the kernel knows none of the groups, or lets us join none.
 */
export function subscribe(
  driver: Driver,
  groups: readonly number[],
  handlers: EventHandlers,
  { ignorePort = null, protocol = 0 }: { readonly ignorePort?: number | null; readonly protocol?: number } = {},
): Disposable {
  const socket = driver.open(protocol, { receiveBuffer: 16 * 1024 * 1024, ignorePort });
  const refusals: unknown[] = [];
  for (const group of groups) {
    try {
      socket.join(group);
    } catch (error) {
      refusals.push(error); // RTNLGRP_NEXTHOP is from 5.3; without nexthop objects there is nothing to hear of them
    }
  }
  if (refusals.length === groups.length) {
    socket[Symbol.dispose]();
    throw refusals[0];
  }
  socket.watch(() => {
    let heard = false;
    for (let bytes = receiveOrOverrun(socket, 0); bytes !== null; bytes = receiveOrOverrun(socket, 0)) {
      heard = true;
      if (bytes === "overrun") {
        handlers.onOverrun();
        continue;
      }
      for (const message of messagesOf(bytes)) handlers.onEvent(message);
    }
    if (heard) handlers.onIdle();
  });
  return socket;
}
