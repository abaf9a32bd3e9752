/**
 * Checks what a plugin has answered: each value by a schema, and each item by what a backend may ask for.
 *
 * @module
 */

import * as v from "valibot";
import { isUnicastMac, parseCidr, parseIp, parseMac } from "../model/ip.ts";
import type { Item } from "../model/item.ts";
import { checkWith } from "../model/schema.ts";
import { type Ground, trespass } from "../reconcile/trespass.ts";
import type { PeerAnswer } from "../model/backend_port.ts";
import { NAME } from "./find.ts";

/** What is wrong with an answer. */
export class AnswerError extends Error {
  override readonly name = "AnswerError";
}

/** Text that a parser takes; what the parser makes of it counts, so that equal addresses are equal texts. */
function parsed<T>(parse: (text: string) => T) {
  return v.pipe(
    v.string(),
    v.rawTransform<string, T>(({ dataset, addIssue, NEVER }) => {
      try {
        return parse(dataset.value);
      } catch (error) {
        addIssue({ message: (error as Error).message });
        return NEVER;
      }
    }),
  );
}

const ip = parsed(parseIp);
const cidr = parsed(parseCidr);
const mac = v.pipe(parsed(parseMac), v.check(isUnicastMac, "it is not a unicast MAC address"));
const link = v.pipe(v.string(), v.regex(/^[^\s/:]{1,15}$/, "it is not the name of a device"));
const whole = (least: number, most: number) => v.pipe(v.number(), v.integer(), v.minValue(least), v.maxValue(most));
const port = whole(1, 0xffff);
const device = { kind: v.literal("link"), name: link, mtu: whole(68, 65535) } as const;
const wireguardKey = v.pipe(v.string(), v.regex(/^[A-Za-z0-9+/]{43}=$/, "it is not a key of 32 bytes in base64"));
const hop = v.strictObject({ via: v.nullable(ip), link, onlink: v.boolean() });

const item = v.variant("kind", [
  v.variant("type", [
    v.strictObject({
      ...device,
      type: v.literal("vxlan"),
      vni: whole(0, 0xffffff),
      port,
      local: ip,
      mac,
      learning: v.boolean(),
      gbp: v.boolean(),
    }),
    v.strictObject({ ...device, type: v.literal("ipip"), local: ip }),
    v.strictObject({ ...device, type: v.literal("wireguard"), port, publicKey: wireguardKey, privateKeyFile: v.string() }),
  ]),
  v.strictObject({
    kind: v.literal("wireguard-peer"),
    link,
    publicKey: wireguardKey,
    endpoint: v.strictObject({ ip, port }),
    keepalive: whole(0, 0xffff),
    presharedKey: v.nullable(v.strictObject({ file: v.string(), digest: v.pipe(v.string(), v.regex(/^[0-9a-f]{16}$/)) })),
  }),
  v.strictObject({ kind: v.literal("allowed-ip"), link, cidr, publicKey: wireguardKey }),
  v.strictObject({ kind: v.literal("reverse-path"), link }),
  v.strictObject({ kind: v.literal("address"), link, ip, length: whole(0, 128) }),
  v.strictObject({ kind: v.literal("fdb"), link, mac, dst: ip }),
  v.strictObject({ kind: v.literal("neighbour"), link, ip, mac }),
  v.strictObject({ kind: v.literal("route"), dst: cidr, to: hop, src: v.nullable(ip) }),
]);
/** More is a mistake, and would keep the agent busy. */
const MOST = 256;
const items = v.pipe(v.array(v.unknown()), v.maxLength(MOST), v.array(item));
const peer = v.strictObject({
  path: v.pipe(
    v.string("peer() answers { path, items }, at once"),
    v.regex(NAME, "a path is lower case letters, digits and dashes"),
  ),
  items,
  state: v.picklist(["planned", "pending", "rejected"]),
  reason: v.nullable(v.pipe(v.string(), v.maxLength(1_000))),
});

/** The items of the node. @throws {AnswerError} If they are none, or not what a backend may ask for. */
export function nodeItems(value: unknown, ground: Ground): readonly Item[] {
  return checked("node()", value, items, (found) => trespass(found as Item[], ground)) as readonly Item[];
}

/** What a peer needs. @throws {AnswerError} As {@linkcode nodeItems}. */
export function peerAnswer(value: unknown, ground: Ground): PeerAnswer {
  return checked("peer()", value, peer, (found) => trespass(found.items as Item[], ground)) as PeerAnswer;
}

/** The MTU for pods, in bytes. @throws {AnswerError} If it is none. */
export function podMtu(value: unknown): number {
  return checked("mtu()", value, whole(68, 65535));
}

/** The devices of a backend. @throws {AnswerError} If they are none. */
export function linkNames(value: unknown): readonly string[] {
  return checked("links()", value, v.array(link));
}

function checked<T>(
  who: string,
  value: unknown,
  schema: v.GenericSchema<unknown, T>,
  wrong: (found: T) => string | null = () => null,
): T {
  const found = checkWith(schema, value);
  if ("issue" in found) throw new AnswerError(`${who} answers what is no such thing: ${found.issue}`);
  const reason = wrong(found.value);
  if (reason !== null) throw new AnswerError(`${who} answers what it may not: ${reason}`);
  return found.value;
}
