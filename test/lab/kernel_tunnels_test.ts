/**
 * Devices of type ipip and wireguard, and wireguard's peers, against the kernel: put, seen equal, changed by others and seen different,
 * healed, dropped. ip(8) and wg(8) say what is there. Skipped where the kernel has no such devices.
 *
 * @module
 */

import assert from "node:assert/strict";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { publicKeyOf } from "../../backends/wireguard.ts";
import { keys } from "../../src/cli/adapters.ts";
import { parseCidr, parseIp } from "../../src/model/ip.ts";
import type { AllowedIp, IpipLink, WireguardLink, WireguardPeer } from "../../src/model/item.ts";
import { labTest, lacks } from "./case.ts";
import { run } from "./command.ts";
import { hop, ip, Room, route } from "./kernel_room.ts";

const words = (line: string) => line.split(" ");
const noIpip = await lacks(words("ip link add x type ipip local 127.0.0.1"));
const noWireguard = await lacks(words("ip link add type wireguard"), ["wg", "--version"]);

const IPIP: IpipLink = { kind: "link", name: "flannel.ipip", type: "ipip", local: parseIp("192.0.2.1"), mtu: 1480 };

labTest("ipip devices, and routes over them", async () => {
  using room = await Room.open();
  const index = () => room.kernel.facts().links.find(({ name }) => name === IPIP.name)!.index;
  await room.put(IPIP);
  const first = index();
  await room.survives(
    IPIP,
    words("ip link set flannel.ipip mtu 1300"),
    words("ip link set flannel.ipip type ipip local 192.0.2.9"),
    words("ip link set flannel.ipip down"),
  );
  assert.equal(index(), first, "the device was made anew for what can be changed");
  await room.survives(
    IPIP,
    words("ip link del flannel.ipip"),
    ["sh", "-c", "ip link del flannel.ipip; ip link add flannel.ipip mtu 1480 type ipip local 192.0.2.1 remote 192.0.2.2"],
    ["sh", "-c", "ip link del flannel.ipip; ip link add flannel.ipip mtu 1480 type vxlan id 1 dstport 8472"],
  );
  await room.put({ kind: "address", link: IPIP.name, ip: parseIp("10.244.1.0"), length: 32 });
  const near = hop("198.51.100.7", IPIP.name, true);
  await room.put({ kind: "nexthop", id: 0x0af40200, hop: near }, route("10.244.2.0/24", 0x0af40200, parseIp("10.244.1.0")));
  await room.put(route("10.244.3.0/24", near));
  assert.match(await run(words("ip route show 10.244.2.0/24")), /via 198\.51\.100\.7 dev flannel\.ipip .*src 10\.244\.1\.0 onlink/);
  await room.drop(IPIP);
}, noIpip);

const FOLDER = "/run/keys";

/** Writes a key, and says what belongs to it. */
async function keyIn(file: string, making: "genkey" | "genpsk" = "genkey"): Promise<{ file: string; key: string }> {
  const key = (await run(["wg", making])).trim();
  mkdirSync(FOLDER, { recursive: true });
  writeFileSync(`${FOLDER}/${file}`, `${key}\n`);
  return { file: `${FOLDER}/${file}`, key };
}

async function device(file = "own"): Promise<WireguardLink> {
  const own = await keyIn(file);
  const publicKey = publicKeyOf(own.key);
  assert.equal((await run(["wg", "pubkey"], { input: own.key })).trim(), publicKey, "wg(8) computes another public key");
  return { kind: "link", name: "flannel-wg", type: "wireguard", port: 51820, publicKey, privateKeyFile: own.file, mtu: 1420 };
}

async function otherKey(): Promise<string> {
  return publicKeyOf((await run(["wg", "genkey"])).trim());
}

labTest("wireguard devices keep their key and port", async () => {
  using room = await Room.open();
  const link = await device();
  await room.put(link);
  assert.equal((await run(words("wg show flannel-wg public-key"))).trim(), link.publicKey);
  await keyIn("foreign");
  await room.survives(
    link,
    words("wg set flannel-wg listen-port 7"),
    words(`wg set flannel-wg private-key ${FOLDER}/foreign`),
    words("wg set flannel-wg private-key /dev/null"),
    words("ip link set flannel-wg mtu 1300"),
    words("ip link set flannel-wg down"),
    words("ip link del flannel-wg"),
  );
  const absent = await room.refused({ ...link, port: 7, privateKeyFile: `${FOLDER}/none` });
  assert.match(absent.error, /Cannot set up link flannel-wg .*ENOENT.*\/run\/keys\/none/);
  const { file, key } = await keyIn("odd");
  const odd = await room.refused({ ...link, port: 7, privateKeyFile: file });
  assert.ok(odd.error.includes(`the key in "${file}" is that of ${publicKeyOf(key)}, not of ${link.publicKey}`), odd.error);
  assert.equal(odd.error.includes(key), false, "a private key in a message");
  writeFileSync(file, "no key");
  chmodSync(file, 0o400);
  assert.match((await room.refused({ ...link, port: 7, privateKeyFile: file })).error, /"\/run\/keys\/odd" holds no key/);
  await room.drop(link);
}, noWireguard);

labTest("wireguard's peers, what they are allowed, and routes over the device, of both families", async () => {
  using room = await Room.open();
  await room.put(await device());
  await ip("addr add 10.244.1.0/32 dev flannel-wg");
  const { file, key } = await keyIn("shared", "genpsk");
  const presharedKey = { file, digest: keys.digest(key) };
  const common = { kind: "wireguard-peer", link: "flannel-wg", keepalive: 25, presharedKey } as const;
  const one: WireguardPeer = { ...common, publicKey: await otherKey(), endpoint: { ip: parseIp("192.0.2.2"), port: 51820 } };
  const two: WireguardPeer = { ...common, publicKey: await otherKey(), endpoint: { ip: parseIp("2001:db8::2"), port: 7 } };
  await room.put(one, two);
  assert.match(
    await run(words("wg show flannel-wg preshared-keys")),
    new RegExp(`${two.publicKey}\\s${key}`.replaceAll("+", "\\+")),
  );
  await room.survives(
    one,
    words(`wg set flannel-wg peer ${one.publicKey} endpoint 192.0.2.3:51820`),
    words(`wg set flannel-wg peer ${one.publicKey} endpoint 192.0.2.2:51821`),
    words(`wg set flannel-wg peer ${one.publicKey} persistent-keepalive 0`),
    words(`wg set flannel-wg peer ${one.publicKey} preshared-key /dev/null`),
    words(`wg set flannel-wg peer ${one.publicKey} remove`),
  );
  await room.put({ ...one, presharedKey: null, keepalive: 0 });
  assert.match(
    await run(words("wg show flannel-wg preshared-keys")),
    new RegExp(`${one.publicKey}\\s\\(none\\)`.replaceAll("+", "\\+")),
  );

  const allowed: AllowedIp = { kind: "allowed-ip", link: "flannel-wg", cidr: parseCidr("10.244.2.0/24"), publicKey: one.publicKey };
  const allowed6: AllowedIp = { ...allowed, cidr: parseCidr("fd00:244:0:2::/64") };
  const beside: AllowedIp = { ...allowed, cidr: parseCidr("10.244.3.0/24") };
  await room.put(allowed, allowed6, beside);
  await room.survives(
    allowed,
    words(`wg set flannel-wg peer ${one.publicKey} allowed-ips 10.244.3.0/24`),
    words(`wg set flannel-wg peer ${two.publicKey} allowed-ips 10.244.2.0/24`),
  );
  await room.put(allowed6, { ...allowed, publicKey: two.publicKey }); // it moves
  await room.drop({ ...allowed, publicKey: two.publicKey });
  room.assertHeld(beside);
  assert.equal((await run(words("wg show flannel-wg peers"))).trim().split("\n").length, 2, "what it went to is left over");

  const src = parseIp("10.244.1.0");
  const over = { via: null, link: "flannel-wg", onlink: false };
  await room.put(route("10.244.2.0/24", over, src), route("10.244.3.0/24", over, src), route("fd00:244:0:2::/64", over));
  assert.match(await run(words("ip route show 10.244.2.0/24")), /dev flannel-wg proto 87 scope link src 10\.244\.1\.0/);
  await room.drop(route("10.244.2.0/24", over, src));
  await room.put(route("10.244.2.0/24", hop("192.0.2.2", "d0")));
  await room.put(route("10.244.2.0/24", over, src)); // in place, both ways
  await room.drop(one);
  assert.equal(room.held(beside), null, "a peer takes with it what it is allowed");
}, noWireguard);

labTest("what is left of flanneld's wireguard is seen: the route of the whole network over its device", async () => {
  using room = await Room.open();
  await room.put(await device());
  await ip("route add 10.244.0.0/16 dev flannel-wg scope link", "route add fd00:244::/48 dev flannel-wg");
  const over = { via: null, link: "flannel-wg", onlink: false };
  for (const dst of ["10.244.0.0/16", "fd00:244::/48"]) {
    const left = { ...route(dst, over), adopted: true as const };
    room.assertHeld(left);
    await room.drop(left);
  }
}, noWireguard);
