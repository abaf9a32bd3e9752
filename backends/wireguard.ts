/**
 * The wireguard backend: everything between nodes is encrypted, and comes from who it says.
 *
 * Not built in: this file is put into `/etc/weft/backends`. A node's own key is made at the first start and kept in a file that only root
 * can read; what others need of it is in the lease. A peer is known by its key and allowed its own subnet, so packets that say to come
 * from elsewhere are dropped. Devices, options, key file and what is published are flannel's (`pkg/backend/wireguard`); other than
 * flannel's, a device stays when the agent starts anew, and with it all connections.
 *
 * @module
 */

import { createHash, createPrivateKey, createPublicKey, randomBytes } from "node:crypto";
import { chmodSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import type {
  AllowedIp,
  Backend,
  EffectContext,
  Family,
  Ip,
  Item,
  NodeSide,
  OpenSide,
  Peer,
  PeerPlan,
  PresharedKey,
  Route,
  WireguardKey,
  WireguardPeer,
} from "../src/mod.ts";

/** The outer IPv6 header, UDP, and what wireguard adds, in bytes. */
const OVERHEAD = 80;
const LINKS: Readonly<Record<Family, string>> = { 4: "flannel-wg", 6: "flannel-wg-v6" };
const KEY_FILE = "/run/flannel/wgkey";
/** 32 bytes in base64: the last digit has two bits to spare, which are 0. */
const KEY = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const MODES = ["separate", "auto", "ipv4", "ipv6"] as const;

/** What net-conf.json's `Backend` says. */
export interface WireguardOptions {
  /** UDP port, and that of the device for IPv6 where that is another. */
  readonly ListenPort: number;
  readonly ListenPortV6: number;
  /** Bytes of a packet between the nodes at the most; 0: what the device that leads to them takes. */
  readonly MTU: number;
  /** A key that all nodes share, in base64; empty for none. */
  readonly PSK: string;
  /** Seconds; 0 for never. */
  readonly PersistentKeepaliveInterval: number;
  /** A device for each family, or one for both, which others are reached on by IPv4, by IPv6, or by what is likelier to work. */
  readonly Mode: typeof MODES[number];
}

/** What a node publishes. */
export interface WireguardData {
  readonly PublicKey: WireguardKey;
  /** 0 where an older flanneld published none: then it is our own. */
  readonly Port: number;
}

/** What planners are told of keys and addresses. */
export interface WireguardState {
  readonly publicKey: WireguardKey;
  readonly keyFile: string;
  readonly presharedKey: PresharedKey | null;
  /** Of this node, IPv4 first. */
  readonly addresses: readonly Ip[];
}

type Side = NodeSide<WireguardState>;

function isWithin(value: unknown, min: number, max: number): value is number {
  return typeof value === "number" && Number.isInteger(value) && value >= min && value <= max;
}

/** Numbers among the options: the least and the largest value that each can have, and what stands for a missing one. */
const NUMBERS = {
  ListenPort: [1, 65535, 51820],
  ListenPortV6: [1, 65535, 51821],
  MTU: [0, 65535, 0],
  PersistentKeepaliveInterval: [0, 65535, 0],
} as const;

/** Keys count whatever their case, and unknown ones do no harm, as in all of flannel's files. */
function options(value: unknown): WireguardOptions {
  const given = new Map(Object.entries(value ?? {}).map(([key, it]) => [key.toLowerCase(), it as unknown]));
  const numbers: Partial<Record<keyof typeof NUMBERS, number>> = {};
  for (const [name, [min, max, missing]] of Object.entries(NUMBERS)) {
    const number = given.get(name.toLowerCase()) ?? missing;
    if (!isWithin(number, min, max)) throw new Error(`${name}: expected a whole number from ${min} to ${max}`);
    numbers[name as keyof typeof NUMBERS] = number;
  }
  const PSK = given.get("psk") ?? "";
  // What was written is not shown: it may be a key with a letter too much.
  if (typeof PSK !== "string" || (PSK !== "" && !KEY.test(PSK))) throw new Error('PSK: expected a key, as "wg genpsk" makes it');
  const Mode = MODES.find((mode) => mode === (given.get("mode") ?? "separate"));
  if (Mode === undefined) throw new Error(`Mode: expected one of ${MODES.join(", ")}`);
  return { ...numbers as Required<typeof numbers>, PSK, Mode };
}

function leaseData(value: unknown): WireguardData {
  const { PublicKey, Port = 0 } = Object(value) as { readonly PublicKey?: unknown; readonly Port?: unknown };
  if (typeof PublicKey !== "string" || !KEY.test(PublicKey)) throw new Error("PublicKey is not a key of 32 bytes in base64");
  if (!isWithin(Port, 0, 65535)) throw new Error("Port is not a UDP port");
  return { PublicKey, Port };
}

/** The device that carries a family. */
function linkOf(family: Family, { Mode }: WireguardOptions): string {
  return Mode === "separate" ? LINKS[family] : LINKS[4];
}

/** The port that the device for a family listens on. */
function portOf(family: Family, options: WireguardOptions): number {
  return linkOf(family, options) === LINKS[6] ? options.ListenPortV6 : options.ListenPort;
}

/** The address of our subnet, which the device has and our own packets come from. */
function ownAddress({ subnet }: Side): Ip {
  return subnet.slice(0, subnet.indexOf("/")) as Ip;
}

function node(side: Side, options: WireguardOptions): Item[] {
  const { publicKey, keyFile } = side.state;
  const link = linkOf(side.family, options);
  const port = portOf(side.family, options);
  return [
    { kind: "link", name: link, type: "wireguard", port, publicKey, privateKeyFile: keyFile, mtu: side.mtu },
    { kind: "address", link, ip: ownAddress(side), length: side.family === 4 ? 32 : 128 },
  ];
}

function peer(peer: Peer<WireguardData>, side: Side, options: WireguardOptions): PeerPlan {
  const { PublicKey: publicKey } = peer.data;
  if (publicKey === side.state.publicKey) {
    return { path: "none", items: [], pending: "it publishes this node's own key: give one of the two nodes another" };
  }
  const link = linkOf(side.family, options);
  const allowed: AllowedIp = { kind: "allowed-ip", link, cidr: peer.subnet, publicKey };
  const to = { via: null, link, onlink: false };
  const route: Route = { kind: "route", dst: peer.subnet, to, src: ownAddress(side) };
  // A device for both families knows the peer once, by the address that it is reached on.
  const once = options.Mode === "separate" || farEnd(peer, side, options) === peer.publicIp;
  return { path: "wireguard", items: [...(once ? [entry(peer, side, options)] : []), allowed, route] };
}

function entry({ publicIp, data }: Peer<WireguardData>, side: Side, options: WireguardOptions): WireguardPeer {
  return {
    kind: "wireguard-peer",
    link: linkOf(side.family, options),
    publicKey: data.PublicKey,
    endpoint: { ip: publicIp, port: data.Port || portOf(side.family, options) },
    keepalive: options.PersistentKeepaliveInterval,
    presharedKey: side.state.presharedKey,
  };
}

/** Which of a peer's addresses one device for both families sends to, by flannel's rules. */
function farEnd({ publicIps }: Peer<WireguardData>, { state }: Side, { Mode }: WireguardOptions): Ip | undefined {
  const [v4, v6] = [of(publicIps, 4), of(publicIps, 6)];
  if (v4 === undefined || v6 === undefined) return v4 ?? v6;
  if (Mode !== "auto") return Mode === "ipv6" ? v6 : v4;
  const [own4, own6] = [of(state.addresses, 4), of(state.addresses, 6)];
  if (own4 !== undefined && !isPrivate(v4)) return v4;
  return own6 !== undefined && !isPrivate(own6) && !isPrivate(v6) ? v6 : v4;
}

function of(addresses: readonly Ip[], family: Family): Ip | undefined {
  return addresses.find((ip) => ip.includes(":") === (family === 6));
}

/** Whether an address is of use only inside of somebody's own network (RFC 1918, RFC 4193). */
function isPrivate(ip: Ip): boolean {
  return /^(10\.|172\.(1[6-9]|2\d|3[01])\.|192\.168\.|f[cd][0-9a-f]{2}:)/.test(ip);
}

/** Where flannel keeps its key too. */
function keyFileOf(): string {
  return process.env["WIREGUARD_KEY_FILE"] || KEY_FILE;
}

/** PKCS #8 around a private key of X25519 (RFC 8410). */
const PKCS8 = Uint8Array.from(atob("MC4CAQAwBQYDK2VuBCIEIA=="), (c) => c.charCodeAt(0));

/** The public key that belongs to a private one. */
export function publicKeyOf(privateKey: WireguardKey): WireguardKey {
  const der = Buffer.concat([PKCS8, Buffer.from(privateKey, "base64")]);
  const spki = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({
    format: "der",
    type: "spki",
  });
  return spki.subarray(-32).toString("base64");
}

/** A new private key, in the form that the kernel gives it too: some of its bits are fixed (RFC 7748, section 5). */
function newKey(): WireguardKey {
  const bytes = randomBytes(32);
  bytes[0]! &= 248;
  bytes[31] = (bytes[31]! & 127) | 64;
  return bytes.toString("base64");
}

/** The key in a file; `null` if there is no such file. Nothing of what is in it gets into a message. */
function readKey(path: string): WireguardKey | null {
  try {
    const text = readFileSync(path, "utf8").trim();
    if (KEY.test(text)) return text;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
  throw new Error(`"${path}" holds no key: expected 32 bytes in base64; remove it and a new key is made`);
}

/** Writes a key to a file that nobody but root can read, from its first moment on; `place` gives the new file its name. */
function writeKey(path: string, key: WireguardKey, place: (from: string, to: string) => void): void {
  mkdirSync(dirname(path), { recursive: true });
  const fresh = `${path}.${process.pid}.new`;
  rmSync(fresh, { force: true });
  try {
    writeFileSync(fresh, key, { mode: 0o400, flag: "wx" });
    place(fresh, path);
  } finally {
    rmSync(fresh, { force: true });
  }
}

/** This node's private key; made if there is none. Of two that start at once, the first one's counts. */
function ownKey(path: string, { log }: Pick<EffectContext, "log">): WireguardKey {
  if (readKey(path) === null) {
    try {
      writeKey(path, newKey(), linkSync);
      log("info", `made a new key in "${path}"`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    log("warning", `others than root could read the key in "${path}"; they can no longer`);
    chmodSync(path, 0o400);
  }
  return readKey(path)!;
}

/** Puts the shared key into a file beside the own one, where the agent reads it; or removes what an earlier one left. */
function keepPresharedKey(keyFile: string, key: WireguardKey): PresharedKey | null {
  const file = `${keyFile}.psk`;
  if (key === "") {
    rmSync(file, { force: true });
    return null;
  }
  if (readKey(file) !== key) writeKey(file, key, renameSync);
  return { file, digest: createHash("sha256").update(key, "base64").digest("hex").slice(0, 16) };
}

/** What `agent plugin check` works with. */
export const example = {
  data: (n: number): WireguardData => ({ PublicKey: createHash("sha256").update(`node ${n}`).digest("base64"), Port: 51820 }),
};

export default {
  name: "wireguard",
  api: 1,
  type: "wireguard",
  options,
  leaseData,
  mtu: (external, _families, { MTU }) => (MTU || external) - OVERHEAD,
  links: () => [LINKS[4], LINKS[6]],
  publish: (side: OpenSide<WireguardState>, options) => ({ PublicKey: side.state.publicKey, Port: portOf(side.family, options) }),
  node,
  peer,
  effects: {
    start(context, { sides }, { PSK }): Promise<WireguardState> {
      const keyFile = keyFileOf();
      const publicKey = publicKeyOf(ownKey(keyFile, context));
      const presharedKey = keepPresharedKey(keyFile, PSK);
      return Promise.resolve({ publicKey, keyFile, presharedKey, addresses: sides.map(({ publicIp }) => publicIp) });
    },
    health(_context, { sides }): Promise<string | null> {
      const { keyFile, publicKey } = sides[0]!.state;
      const key = readKey(keyFile);
      const now = key === null ? "is gone" : publicKeyOf(key) === publicKey ? null : "is another now";
      return Promise.resolve(
        now === null ? null : `the key in "${keyFile}" ${now}: restart the agent, and it publishes the new one`,
      );
    },
  },
} satisfies Backend<WireguardOptions, WireguardData, WireguardState>;
