/**
 * Devices: what the types of them are made of, when two are the same, and how they are described.
 *
 * @module
 */

import type { Ip, Mac } from "./ip.ts";

/** A key of 32 bytes in base64, as wg(8) writes it. */
export type WireguardKey = string;

/** What all devices have in common. Each is up, and bound to no lower device. */
interface Device {
  readonly kind: "link";
  readonly name: string;
  /** Bytes. */
  readonly mtu: number;
  /** Seen in the kernel: the device is down. Never planned. */
  readonly down?: true;
}

/** A vxlan device (`ip link add NAME type vxlan`). */
export interface VxlanLink extends Device {
  readonly type: "vxlan";
  readonly vni: number;
  /** UDP port. */
  readonly port: number;
  /** Source address of the outer packets. */
  readonly local: Ip;
  readonly mac: Mac;
  /** Learn remote addresses from received packets. */
  readonly learning: boolean;
  /** Group policy extension. */
  readonly gbp: boolean;
}

/** A device that puts IPv4 into IPv4 (`ip link add NAME type ipip`), to whatever gateway a route names. */
export interface IpipLink extends Device {
  readonly type: "ipip";
  /** Source address of the outer packets; `null`, as it may be seen in the kernel, for none. */
  readonly local: Ip | null;
  /** Seen in the kernel: the device leads to this one far end only. Never planned. */
  readonly remote?: Ip;
}

/** A wireguard device (`ip link add NAME type wireguard`, `wg set NAME listen-port PORT private-key FILE`). */
export interface WireguardLink extends Device {
  readonly type: "wireguard";
  /** UDP port that it listens on. */
  readonly port: number;
  /** By this the kernel's private key is known for the right one; `null`, as it may be seen in the kernel, for none. */
  readonly publicKey: WireguardKey | null;
  /** The file with the private key in base64. It is read when the key is needed, and not compared; `null` as seen in the kernel. */
  readonly privateKeyFile: string | null;
}

/** A device. */
export type Link = VxlanLink | IpipLink | WireguardLink;

/** Whether two devices agree in what is their type's own. */
export function sameDevice(a: Link, b: Link): boolean {
  switch (a.type) {
    case "vxlan":
      return b.type === "vxlan" && a.vni === b.vni && a.port === b.port && a.local === b.local && a.mac === b.mac &&
        a.learning === b.learning && a.gbp === b.gbp;
    case "ipip":
      return b.type === "ipip" && a.local === b.local && a.remote === b.remote;
    case "wireguard":
      return b.type === "wireguard" && a.port === b.port && a.publicKey === b.publicKey;
    default:
      return a satisfies never;
  }
}

/** What is a device's type's own, in the words of `ip` and `wg`. */
export function describeDevice(link: Link): string {
  switch (link.type) {
    case "vxlan":
      return `id ${link.vni} dstport ${link.port} local ${link.local} address ${link.mac}`;
    case "ipip":
      return `local ${link.local ?? "any"} remote ${link.remote ?? "any"}`;
    case "wireguard":
      return `listen-port ${link.port} public key ${link.publicKey ?? "(none)"}`;
    default:
      return link satisfies never;
  }
}
