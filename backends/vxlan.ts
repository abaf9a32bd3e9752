/**
 * The vxlan backend: every peer is reached through a vxlan device, or directly where `DirectRouting` is on and the peer is on-link.
 *
 * For one peer three kernel tables must agree: a route sends the subnet to the peer's VTEP address, a permanent neighbour entry gives
 * that address a MAC (so nobody asks by ARP), and an FDB entry gives that MAC the peer's public IP (so nothing is flooded).
 * Wire data and device names are flannel's (`pkg/backend/vxlan`).
 *
 * @module
 */

import * as v from "valibot";
import {
  type Backend,
  BACKEND_API,
  defineBackend,
  type Family,
  type Ip,
  isUnicastMac,
  type Item,
  linkLocalOf,
  type Mac,
  networkOf,
  type NodeSide,
  parseMac,
  type Peer,
  type PeerPlan,
} from "../src/mod.ts";

/** Outer Ethernet, IP, UDP and vxlan headers, in bytes. */
const OVERHEAD: Readonly<Record<Family, number>> = { 4: 50, 6: 70 };
/** The kernel's default port, which flannel uses too (the assigned one is 4789). */
const PORT = 8472;
/** Bytes of a device's name, with a NUL at the end. */
const IFNAMSIZ = 16;

const bytes = v.pipe(v.number(), v.integer());

/** The keys of net-conf.json's `Backend` that this backend knows. */
export const vxlanOptions = v.object({
  Type: v.optional(v.string(), "vxlan"),
  VNI: v.optional(v.pipe(bytes, v.minValue(0), v.maxValue(0xffffff)), 1),
  Port: v.optional(v.pipe(bytes, v.minValue(0), v.maxValue(0xffff)), 0),
  GBP: v.optional(v.boolean(), false),
  Learning: v.optional(v.boolean(), false),
  MTU: v.optional(v.pipe(bytes, v.minValue(0), v.maxValue(65535)), 0),
  DirectRouting: v.optional(v.boolean(), false),
});
/** Checked options. */
export type VxlanOptions = v.InferOutput<typeof vxlanOptions>;

/** What a node publishes for one family. */
export interface VxlanData {
  readonly VNI?: unknown;
  readonly VtepMAC: Mac;
}

const vtepMac = v.pipe(
  v.string("VtepMAC is missing"),
  v.check(isMac, "VtepMAC is not a 48-bit unicast MAC address"),
  v.transform((text) => parseMac(text)),
);
/** `BackendData` of a vxlan node. The VNI is not looked at: flannel v0.11 does not send it. */
export const vxlanData = v.object({ VNI: v.optional(v.unknown()), VtepMAC: vtepMac }, "it is not an object with a VtepMAC");

function isMac(text: string): boolean {
  try {
    return isUnicastMac(parseMac(text));
  } catch {
    return false;
  }
}

/** Makes a backend that uses vxlan; `direct` says whether on-link peers are reached without it. */
export function vxlanBackend(name: string, direct: (options: VxlanOptions) => boolean): Backend<VxlanOptions, VxlanData> {
  return defineBackend({
    name,
    api: BACKEND_API,
    type: "vxlan",
    options: vxlanOptions,
    leaseData: vxlanData,
    mtu: (external, families, { MTU }) => (MTU || external) - Math.max(...families.map((family) => OVERHEAD[family])),
    links: ({ VNI }) => [deviceOf(4, VNI), deviceOf(6, VNI)],
    devices: /^(flannel(-v6)?|fl[46])\.\d+$/,
    publish: (side, { VNI }) => ({ VNI, VtepMAC: macOf(side, VNI) }),
    node: (side, options) => [device(side, options), ...addressesAndFilters(side, options.VNI)],
    peer: (peer, side, options) => {
      const link = direct(options) ? side.onLink(peer.publicIp) : null;
      return link === null ? throughVxlan(peer, side, options) : directly(peer, link, networkOf(side.subnet));
    },
  });
}

/** A route over the peer's own address; without `onlink`, so the kernel checks that it can be reached there. */
export function directly(peer: Peer<unknown>, link: string, src: Ip | null): PeerPlan {
  return { path: "direct", items: [{ kind: "route", dst: peer.subnet, to: { via: peer.publicIp, link, onlink: false }, src }] };
}

function throughVxlan({ subnet, publicIp, data }: Peer<VxlanData>, side: NodeSide, { VNI }: VxlanOptions): PeerPlan {
  const link = deviceOf(side.family, VNI);
  // IPv6 refuses a gateway that is itself routed over another device, as a subnet's address is while its peer is reached directly.
  const gateway = side.family === 4 ? networkOf(subnet) : linkLocalOf(data.VtepMAC);
  return {
    path: "vxlan",
    items: [
      { kind: "fdb", link, mac: data.VtepMAC, dst: publicIp },
      { kind: "neighbour", link, ip: gateway, mac: data.VtepMAC },
      { kind: "route", dst: subnet, to: { via: gateway, link, onlink: true }, src: networkOf(side.subnet) },
    ],
  };
}

/** flannel's name; where that is longer than Linux allows, so that flannel has no such device, a shorter one. */
function deviceOf(family: Family, vni: number): string {
  const name = `flannel${family === 4 ? "" : "-v6"}.${vni}`;
  return name.length < IFNAMSIZ ? name : `fl${family}.${vni}`;
}

function macOf(side: Omit<NodeSide, "subnet">, vni: number): Mac {
  return side.macFor(deviceOf(side.family, vni), (data) => v.is(vxlanData, data) ? v.parse(vxlanData, data).VtepMAC : undefined);
}

function device(side: NodeSide, { VNI, Port, GBP, Learning }: VxlanOptions): Item {
  return {
    kind: "link",
    name: deviceOf(side.family, VNI),
    type: "vxlan",
    vni: VNI,
    port: Port || PORT,
    local: side.address,
    mac: macOf(side, VNI),
    mtu: side.mtu,
    learning: Learning,
    gbp: GBP,
  };
}

function addressesAndFilters(side: NodeSide, vni: number): Item[] {
  const link = deviceOf(side.family, vni);
  const address: Item = { kind: "address", link, ip: networkOf(side.subnet), length: side.family === 4 ? 32 : 128 };
  if (side.family === 6) return [address]; // IPv6 has no reverse-path filter of this kind
  // A peer may send directly what we answer through vxlan, or the other way round.
  return [address, ...[link, ...side.segments].map((link): Item => ({ kind: "reverse-path", link }))];
}

export default vxlanBackend("vxlan", (options) => options.DirectRouting);
