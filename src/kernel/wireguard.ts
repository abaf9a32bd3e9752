/**
 * Wireguard devices over generic netlink: reading them, giving them their key, and changing their peers.
 *
 * The kernel tells nobody of changes here, so whoever cares must look. It moves a peer's endpoint by itself to where the last packet came
 * from that only the peer can have sent; as long as that is fresh, the endpoint that was put is what is found.
 * Source: Linux `drivers/net/wireguard/netlink.c`.
 *
 * @module
 */

import { cidrOf, familyOf, lengthOf, networkOf } from "../model/ip.ts";
import type { AllowedIp, Change, Item, WireguardKey, WireguardLink, WireguardPeer } from "../model/item.ts";
import { NetlinkError, type Request, request } from "../netlink/frame.ts";
import { Connection, type Driver } from "../netlink/connection.ts";
import { familyType, NETLINK_GENERIC } from "../netlink/generic.ts";
import { DEVICE, DEVICE_WITH_KEY, type PeerAttributes, REMOVE, UPDATE_ONLY, WG, WIREGUARD } from "../netlink/wireguard.ts";
import { familyNumber } from "./facts.ts";

/** Keys, which stay outside of items. */
export interface Keys {
  /**
   * Reads a key.
   *
   * @throws {Error} If the file can not be read or holds no key; the message names the file and shows nothing of what is in it.
   */
  read(file: string): WireguardKey;
  /** What a shared key is known by, see {@linkcode PresharedKey}. */
  digest(key: WireguardKey): string;
}

/** What a device holds. */
export interface WireguardState {
  readonly publicKey: WireguardKey | null;
  readonly port: number;
  readonly items: readonly (WireguardPeer | AllowedIp)[];
}

/** How long a peer that has proved who it is counts as being where its packets come from, in seconds (REJECT_AFTER_TIME). */
const FRESH = 180;
const NO_KEY: WireguardKey = `${"A".repeat(43)}=`;
/** Nobody's key: the number 9, from which all public keys are computed. */
const NOBODY: WireguardKey = `CQ${"A".repeat(41)}=`;
const VERSION = 1;

/** The wireguard devices of the network namespace that this process is in. */
export class Wireguard implements Disposable {
  readonly #driver: Driver;
  readonly #keys: Keys;
  #connection: Connection | null = null;
  #type = 0;
  /** What was put last, by device and key. */
  readonly #put = new Map<string, WireguardPeer>();

  constructor(driver: Driver, keys: Keys) {
    this.#driver = driver;
    this.#keys = keys;
  }

  /** Reads a device; one that is just going counts as empty. */
  state(name: string, index: number): { readonly state: WireguardState; readonly complete: boolean } {
    const { values, complete } = this.#read(index);
    const peers = values.flatMap((part) => part.peers ?? []);
    const { publicKey = null, port = 0 } = values[0] ?? {};
    return { state: { publicKey, port, items: peers.flatMap((peer) => this.#items(name, peer)) }, complete };
  }

  /**
   * Gives a device its key and port.
   *
   * @returns Why that failed, or `null`.
   */
  configure({ name, privateKeyFile, port, publicKey }: WireguardLink, index: number): string | null {
    try {
      const privateKey = privateKeyFile === null ? undefined : this.#keys.read(privateKeyFile);
      const value = { command: WG.SET_DEVICE, version: VERSION, index, port, privateKey };
      const connection = this.#open();
      const [failed] = connection.send([request(this.#type, 0, DEVICE_WITH_KEY, value)]);
      if (failed) return `${failed.message} (port ${port})`;
      const found = this.state(name, index).state.publicKey;
      return found === publicKey ? null : `the key in "${privateKeyFile}" is that of ${found ?? "nobody"}, not of ${publicKey}`;
    } catch (error) {
      return (error as Error).message;
    }
  }

  /**
   * Makes changes of peers and of what is allowed them.
   *
   * @param index Index of the device of a change; it throws where there is none.
   * @returns For each change why it failed, or `null`.
   */
  send(changes: readonly Change[], index: (link: string) => number): (Error | null)[] {
    const requests: Request[] = [];
    const made = changes.map((change) => {
      try {
        this.#open();
        requests.push(this.#change(change, index));
        return null;
      } catch (error) {
        return error as Error;
      }
    });
    const results = requests.length === 0 ? [] : this.#open().send(requests);
    let at = 0;
    return made.map((error) => error ?? results[at++]!);
  }

  [Symbol.dispose](): void {
    this.#connection?.[Symbol.dispose]();
  }

  #open(): Connection {
    if (this.#connection !== null) return this.#connection;
    const connection = new Connection(this.#driver, NETLINK_GENERIC);
    try {
      this.#type = familyType(connection, WIREGUARD);
      return this.#connection = connection;
    } catch (error) {
      connection[Symbol.dispose]();
      throw new Error(`the kernel has no wireguard (${(error as Error).message}): load it with "modprobe wireguard"`);
    }
  }

  #read(index: number) {
    const connection = this.#open();
    try {
      return connection.dump(this.#request({ index }, WG.GET_DEVICE), DEVICE);
    } catch (error) {
      if (error instanceof NetlinkError && error.code === "ENODEV") return { values: [], complete: false };
      throw error;
    }
  }

  #request(value: { readonly index: number; readonly peers?: readonly PeerAttributes[] }, command: number): Request {
    return request(this.#type, 0, DEVICE, { command, version: VERSION, ...value });
  }

  #change(change: Change, index: (link: string) => number): Request {
    const { op, item } = change;
    if (item.kind !== "wireguard-peer" && item.kind !== "allowed-ip") throw new TypeError(`${item.kind} is none of wireguard's`);
    const peers = op === "drop" ? dropped(item) : item.kind === "allowed-ip" ? this.#allowed(item, change.old) : this.#peer(item);
    const request = this.#request({ index: index(item.link), peers }, WG.SET_DEVICE);
    if (item.kind === "wireguard-peer") {
      if (op === "put") this.#put.set(`${item.link} ${item.publicKey}`, item);
      else this.#put.delete(`${item.link} ${item.publicKey}`);
    }
    return request;
  }

  #peer({ publicKey, endpoint, keepalive, presharedKey }: WireguardPeer): PeerAttributes[] {
    const secret = presharedKey?.file ? this.#keys.read(presharedKey.file) : NO_KEY;
    if (presharedKey !== null && this.#keys.digest(secret) !== presharedKey.digest) {
      throw new Error(`"${presharedKey.file}" holds another key than the one that was planned with`);
    }
    return [{ publicKey, presharedKey: secret, endpoint: endpoint ?? undefined, keepalive }];
  }

  /** A prefix that moves to another key does so because the node behind it has a new one: it is called at once, as it may not know us. */
  #allowed(item: AllowedIp, old: Item | null): PeerAttributes[] {
    const { publicKey } = item;
    const allowed = { publicKey, flags: UPDATE_ONLY, allowedIps: [allowedIp(item)] };
    if (old === null) return [allowed];
    const { keepalive = 0 } = this.#put.get(`${item.link} ${publicKey}`) ?? {};
    return [{ ...allowed, keepalive: 0 }, { publicKey, flags: UPDATE_ONLY, keepalive: 1 }, {
      publicKey,
      flags: UPDATE_ONLY,
      keepalive,
    }];
  }

  #items(link: string, { publicKey, presharedKey, endpoint, keepalive, lastHandshake, allowedIps }: PeerAttributes) {
    if (publicKey === undefined) return [];
    const put = this.#put.get(`${link} ${publicKey}`);
    const proved = Date.now() / 1000 - (lastHandshake ?? 0) < FRESH;
    const peer: WireguardPeer = {
      kind: "wireguard-peer",
      link,
      publicKey,
      endpoint: proved && put !== undefined ? put.endpoint : endpoint ?? null,
      keepalive: keepalive ?? 0,
      presharedKey: presharedKey === undefined || presharedKey === NO_KEY
        ? null
        : { file: null, digest: this.#keys.digest(presharedKey) },
    };
    const allowed = (allowedIps ?? []).flatMap(({ ip, length }): AllowedIp[] =>
      ip === undefined || length === undefined ? [] : [{ kind: "allowed-ip", link, cidr: cidrOf(ip, length), publicKey }]
    );
    // A peer with much allowed comes in parts, of which only the first tells more of it than its key.
    return keepalive === undefined ? allowed : [peer, ...allowed];
  }
}

/**
 * How something goes. Kernels before 6.16 take a prefix from a peer only by giving it to another, so it goes to nobody, who is removed
 * in the same step.
 */
function dropped(item: WireguardPeer | AllowedIp): PeerAttributes[] {
  if (item.kind === "wireguard-peer") return [{ publicKey: item.publicKey, flags: REMOVE }];
  return [{ publicKey: NOBODY, allowedIps: [allowedIp(item)] }, { publicKey: NOBODY, flags: REMOVE }];
}

function allowedIp({ cidr }: AllowedIp) {
  const ip = networkOf(cidr);
  return { family: familyNumber(familyOf(ip)), ip, length: lengthOf(cidr) };
}
