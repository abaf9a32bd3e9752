/**
 * Generic netlink: families of messages that have names, and get their numbers from the kernel.
 *
 * Source: Linux `include/uapi/linux/genetlink.h`.
 *
 * @module
 */

import type { Connection } from "./connection.ts";
import { request } from "./frame.ts";
import { message } from "./schema.ts";
import { text, u16, u8 } from "./wire.ts";

/** The protocol of its sockets (NETLINK_GENERIC). */
export const NETLINK_GENERIC = 16;

/** `struct genlmsghdr`. */
export const GENERIC = { command: u8, version: u8, reserved: u16 } as const;

/** The family of families (GENL_ID_CTRL), with CTRL_ATTR_*. */
const CONTROL_TYPE = 16;
const CONTROL = message(GENERIC, { familyId: [1, u16], familyName: [2, text] });
const GET_FAMILY = 3;

/**
 * The message type of a family.
 *
 * @throws {NetlinkError} With code `ENOENT` if the kernel has none of the name.
 */
export function familyType(connection: Connection, name: string): number {
  const asked = request(CONTROL_TYPE, 0, CONTROL, { command: GET_FAMILY, version: 1, familyName: name });
  const [answer] = connection.ask([asked], CONTROL);
  if (answer instanceof Error) throw answer;
  return answer!.familyId!;
}
