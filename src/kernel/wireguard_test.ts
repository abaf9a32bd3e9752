/**
 * Wireguard devices against a kernel of a few lines, for what a real one shows only between nodes that have talked.
 *
 * @module
 */

import assert from "node:assert/strict";
import { constants } from "node:os";
import { test } from "node:test";

import { parseCidr, parseIp } from "../model/ip.ts";
import type { AllowedIp, WireguardPeer } from "../model/item.ts";
import type { Driver } from "../netlink/connection.ts";
import { FLAG, messagesOf, NLMSG_DONE, NLMSG_ERROR } from "../netlink/frame.ts";
import { GENERIC } from "../netlink/generic.ts";
import { message } from "../netlink/schema.ts";
import { text, u16, Writer } from "../netlink/wire.ts";
import { DEVICE, REMOVE, UPDATE_ONLY } from "../netlink/wireguard.ts";
import { Wireguard } from "./wireguard.ts";

const TYPE = 29;
const FAMILY = message(GENERIC, { familyId: [1, u16], familyName: [2, text] });
const [ONE, TWO] = [`${"A".repeat(42)}E=`, `${"A".repeat(42)}I=`];
const NOBODY = `CQ${"A".repeat(41)}=`;
const keys = { read: () => ONE, digest: (key: string) => `digest of ${key}` };
const index = () => 7;

type Device = NonNullable<ReturnType<typeof DEVICE.read>>;

/** A kernel that tells of a device what it is given, and remembers what it is told. */
class FakeDevice {
  parts: readonly Omit<Device, "command">[] = [];
  readonly told: Device[] = [];
  /** What it fails with, by number. */
  errno = 0;
  hasFamily = true;

  readonly driver = { open: () => this.#socket() } as unknown as Driver;

  #socket(): ReturnType<Driver["open"]> {
    const answers: Uint8Array[] = [];
    return {
      ...{ port: 1, receiveBuffer: 1 << 20, join: () => {}, watch: () => {}, [Symbol.dispose]: () => {} },
      send: (bytes) => {
        for (const { type, flags, seq, view, at, length } of messagesOf(bytes)) {
          const answer = (kind: number, write: (writer: Writer) => void) => answers.push(framed(kind, seq, write));
          const errno = type !== TYPE && !this.hasFamily ? constants.errno.ENOENT : type === TYPE ? this.errno : 0;
          const dump = (flags & FLAG.DUMP) === FLAG.DUMP;
          if (type !== TYPE && errno === 0) answer(16, (writer) => FAMILY.write(writer, { familyId: TYPE }));
          if (type === TYPE && errno === 0 && dump) {
            for (const part of this.parts) {
              answer(TYPE, (writer) => DEVICE.write(writer, part));
            }
          }
          if (type === TYPE && errno === 0 && !dump) this.told.push(DEVICE.read(view, at, length)!);
          if (dump && errno === 0) answer(NLMSG_DONE, number(0));
          else answer(NLMSG_ERROR, number(-errno));
        }
      },
      receive: () => answers.shift() ?? null,
    };
  }
}

function number(value: number) {
  return (writer: Writer) => {
    const at = writer.reserve(20);
    writer.bytes.fill(0, at, at + 20);
    writer.view.setInt32(at, value, true);
  };
}

function framed(type: number, seq: number, write: (writer: Writer) => void): Uint8Array {
  const writer = new Writer(256);
  const at = writer.reserve(16);
  write(writer);
  writer.bytes.fill(0, at, at + 16);
  writer.view.setUint32(at, writer.at, true);
  writer.view.setUint16(at + 4, type, true);
  writer.view.setUint32(at + 8, seq, true);
  return writer.bytes.slice(0, writer.at);
}

const peer: WireguardPeer = {
  ...{ kind: "wireguard-peer", link: "flannel-wg", publicKey: ONE, keepalive: 25, presharedKey: null },
  endpoint: { ip: parseIp("192.0.2.2"), port: 51820 },
};
const allowed: AllowedIp = { kind: "allowed-ip", link: "flannel-wg", cidr: parseCidr("10.244.2.0/24"), publicKey: ONE };
const inMessage = { family: 2, ip: parseIp("10.244.2.0"), length: 24 };

test("an endpoint that the kernel has moved is no difference while the last handshake is fresh, and one afterwards", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  const elsewhere = { ip: parseIp("203.0.113.9"), port: 7 };
  const seen = (lastHandshake: number) => {
    fake.parts = [{ publicKey: TWO, port: 51820, peers: [{ publicKey: ONE, keepalive: 25, endpoint: elsewhere, lastHandshake }] }];
    const [item] = wireguard.state("flannel-wg", 7).state.items;
    return item?.kind === "wireguard-peer" ? item.endpoint : null;
  };
  const now = Math.floor(Date.now() / 1000);
  assert.deepEqual(seen(now), elsewhere, "nobody has put another");
  assert.deepEqual(wireguard.send([{ op: "put", item: peer, old: null }], index), [null]);
  assert.deepEqual(seen(now - 60), peer.endpoint);
  assert.deepEqual(seen(now - 300), elsewhere);
  assert.deepEqual(seen(0), elsewhere, "there was no handshake yet");
  wireguard.send([{ op: "drop", item: peer }], index);
  assert.deepEqual(seen(now), elsewhere, "it is another peer's by now");
});

test("a peer that comes in parts is one, with all that it is allowed", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  const more = { ...inMessage, ip: parseIp("10.244.3.0") };
  fake.parts = [
    { publicKey: TWO, port: 51820, peers: [{ publicKey: ONE, presharedKey: TWO, keepalive: 0, allowedIps: [inMessage] }] },
    { peers: [{ publicKey: ONE, allowedIps: [more] }] },
  ];
  const { state, complete } = wireguard.state("flannel-wg", 7);
  assert.deepEqual([state.publicKey, state.port, complete], [TWO, 51820, true]);
  assert.deepEqual(state.items, [
    { ...peer, endpoint: null, keepalive: 0, presharedKey: { file: null, digest: `digest of ${TWO}` } },
    allowed,
    { ...allowed, cidr: "10.244.3.0/24" },
  ]);
});

test("a prefix that moves to a node's new key has the node called at once; one that is new has not", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  const renewed = { ...peer, publicKey: TWO };
  wireguard.send([{ op: "put", item: renewed, old: null }, { op: "put", item: allowed, old: null }], index);
  wireguard.send([{ op: "put", item: { ...allowed, publicKey: TWO }, old: allowed }], index);
  const [, first, moved] = fake.told.map(({ peers }) => peers);
  assert.deepEqual(first, [{ publicKey: ONE, flags: UPDATE_ONLY, allowedIps: [inMessage] }]);
  assert.deepEqual(moved!.map(({ keepalive }) => keepalive), [0, 1, 25]);
  assert.deepEqual(moved![0], { publicKey: TWO, flags: UPDATE_ONLY, allowedIps: [inMessage], keepalive: 0 });
});

test("a prefix is taken from a peer by way of nobody, who is gone at once", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  wireguard.send([{ op: "drop", item: allowed }], index);
  assert.deepEqual(fake.told[0]!.peers, [{ publicKey: NOBODY, allowedIps: [inMessage] }, { publicKey: NOBODY, flags: REMOVE }]);
});

test("one change that can not be made leaves the others alone", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  const changes = [{ ...peer, presharedKey: { file: "/run/psk", digest: "another" } }, { ...peer, link: "gone" }, peer];
  const failing = (link: string) => {
    if (link === "gone") throw new Error("there is no such device");
    return 7;
  };
  const results = wireguard.send(changes.map((item) => ({ op: "put", item, old: null })), failing);
  assert.match(results[0]!.message, /"\/run\/psk" holds another key/);
  assert.match(results[1]!.message, /no such device/);
  assert.deepEqual([results[2], fake.told.length], [null, 1]);
});

test("a kernel without wireguard is named with the remedy, and asked again the next time", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  fake.hasFamily = false;
  const [failed] = wireguard.send([{ op: "put", item: peer, old: null }], index);
  assert.match(failed!.message, /^the kernel has no wireguard \(ENOENT\): load it with "modprobe wireguard"$/);
  fake.hasFamily = true;
  assert.deepEqual(wireguard.send([{ op: "put", item: peer, old: null }], index), [null]);
});

test("a device that is just going is empty, and what is missing may exist", () => {
  const fake = new FakeDevice();
  using wireguard = new Wireguard(fake.driver, keys);
  fake.errno = constants.errno.ENODEV;
  assert.deepEqual(wireguard.state("flannel-wg", 7), { state: { publicKey: null, port: 0, items: [] }, complete: false });
  fake.errno = constants.errno.EPERM;
  assert.throws(() => wireguard.state("flannel-wg", 7), { code: "EPERM" });
});
