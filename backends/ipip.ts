/**
 * The ipip backend: IPv4 packets travel inside of IPv4 packets, or directly where `DirectRouting` is on and the peer is on-link.
 *
 * Not built in: this file is put into `/etc/weft/backends`. One device leads to all peers; the gateway of a route, taken as reachable
 * without asking, is where the kernel sends the outer packet. Device, options and what is published are flannel's (`pkg/backend/ipip`).
 *
 * @module
 */

import type { Backend, Ip, Item, NodeSide } from "../src/mod.ts";

const LINK = "flannel.ipip";
/** The outer header, in bytes. */
const OVERHEAD = 20;

interface Options {
  readonly DirectRouting: boolean;
}

/** Keys count whatever their case, and unknown ones do no harm, as in all of flannel's files. */
function options(value: unknown): Options {
  const direct = Object.entries(value ?? {}).find(([key]) => key.toLowerCase() === "directrouting")?.[1] ?? false;
  if (typeof direct !== "boolean") throw new Error("DirectRouting: expected true or false");
  return { DirectRouting: direct };
}

/** The address of our subnet, which our device has and our own packets come from. */
function ownAddress({ subnet }: NodeSide): Ip {
  return subnet.slice(0, subnet.indexOf("/")) as Ip;
}

export default {
  name: "ipip",
  api: 1,
  type: "ipip",
  options,
  leaseData: (value) => value, // what stands there besides the type does not matter
  mtu: (external) => external - OVERHEAD,
  links: () => [LINK],
  publish: () => null,
  node(side) {
    if (side.family === 6) return [];
    return [
      { kind: "link", name: LINK, type: "ipip", local: side.address, mtu: side.mtu },
      { kind: "address", link: LINK, ip: ownAddress(side), length: 32 },
      // A peer may send directly what we answer through the device, or the other way round.
      ...[LINK, ...side.segments].map((link): Item => ({ kind: "reverse-path", link })),
    ];
  },
  peer({ subnet, publicIp }, side, { DirectRouting }) {
    if (side.family === 6) return { path: "none", items: [], pending: "ipip carries IPv4 only" };
    const segment = DirectRouting ? side.onLink(publicIp) : null;
    const to = { via: publicIp, link: segment ?? LINK, onlink: segment === null };
    const path = segment === null ? "ipip" : "direct";
    return { path, items: [{ kind: "route", dst: subnet, to, src: ownAddress(side) }] };
  },
} satisfies Backend<Options>;
