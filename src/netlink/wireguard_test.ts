/**
 * Wireguard's messages against bytes written by hand from the kernel's headers, and what does not fit.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { parseIp } from "../model/ip.ts";
import { Writer } from "./wire.ts";
import { DEVICE, DEVICE_WITH_KEY, endpoint, key } from "./wireguard.ts";

const KEY_HEX = "00112233445566778899aabbccddeeff".repeat(2);
const KEY = Buffer.from(KEY_HEX, "hex").toString("base64");

function hex(write: (writer: Writer) => void): string {
  const writer = new Writer(16);
  write(writer);
  return Buffer.from(writer.bytes.subarray(0, writer.at)).toString("hex");
}

function view(text: string): DataView {
  return new DataView(Uint8Array.from(Buffer.from(text.replaceAll(" ", ""), "hex")).buffer);
}

/** A change of a device: a peer is allowed a prefix. */
const CHANGE = {
  ...{ command: 1, version: 1, reserved: 0, index: 7, flags: 0 },
  peers: [{ publicKey: KEY, allowedIps: [{ family: 2, ip: parseIp("10.244.2.0"), length: 24 }] }],
};
const CHANGE_HEX = [
  "01 01 0000", // WG_CMD_SET_DEVICE, version
  "0800 0100 07000000", // WGDEVICE_A_IFINDEX
  "0800 0500 00000000", // WGDEVICE_A_FLAGS
  "4c00 0880", // WGDEVICE_A_PEERS, marked as nested
  "4800 0080", // the first
  `2400 0100 ${KEY_HEX}`, // WGPEER_A_PUBLIC_KEY
  "2000 0980", // WGPEER_A_ALLOWEDIPS
  "1c00 0080 0600 0100 0200 0000 0800 0200 0af40200 0500 0300 18 000000", // WGALLOWEDIP_A_FAMILY, _IPADDR, _CIDR_MASK
].join("").replaceAll(" ", "");

test("a change of a device is marked as strict netlink wants it", () => {
  assert.equal(hex((writer) => DEVICE.write(writer, CHANGE)), CHANGE_HEX);
  assert.deepEqual(DEVICE.read(view(CHANGE_HEX), 0, CHANGE_HEX.length / 2), CHANGE);
});

test("endpoints of both families are written and read byte by byte", () => {
  for (
    const [ip, bytes] of [
      ["192.0.2.2", "0200 ca6c c0000202 0000000000000000"],
      ["2001:db8::2", "0a00 ca6c 00000000 20010db8000000000000000000000002 00000000"],
    ] as const
  ) {
    const value = { ip: parseIp(ip), port: 51820 };
    const text = bytes.replaceAll(" ", "");
    assert.equal(hex((writer) => endpoint.write(writer, value)), text);
    assert.deepEqual(endpoint.read(view(text), 0, text.length / 2), value);
  }
  for (
    const cut of ["", "0200", "0200 ca6c c0000202", "0a00 ca6c 00000000 2001 0db8 0000 0000", "0100 ca6c c0000202 0000000000000000"]
  ) {
    const text = cut.replaceAll(" ", "");
    assert.equal(endpoint.read(view(text), 0, text.length / 2), undefined, cut);
  }
});

test("a key of another length is neither written nor read", () => {
  assert.equal(hex((writer) => key.write(writer, KEY)), KEY_HEX);
  assert.equal(key.read(view(KEY_HEX), 0, 32), KEY);
  assert.equal(key.read(view(KEY_HEX), 0, 31), undefined);
  assert.throws(() => hex((writer) => key.write(writer, "AAAA")), /a key has 32 bytes, not 3/);
});

test("a private key is written, and never read", () => {
  const bytes = hex((writer) => DEVICE_WITH_KEY.write(writer, { command: 1, index: 7, privateKey: KEY }));
  assert.ok(bytes.includes(KEY_HEX));
  assert.deepEqual(DEVICE.read(view(bytes), 0, bytes.length / 2), { command: 1, version: 0, reserved: 0, index: 7 });
});

test("of what is cut short, that is read which is whole", () => {
  for (let length = 0; length < CHANGE_HEX.length / 2; length++) {
    const read = DEVICE.read(view(CHANGE_HEX.slice(0, 2 * length)), 0, length);
    assert.equal(read === null, length < 4);
    assert.equal(read?.peers, undefined);
  }
});
