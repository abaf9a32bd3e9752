/**
 * The wireguard backend: its options, its items field by field, and its keys in real files.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { leaseDataOf, nodeSide, optionsOf, peerOf } from "../test/contracts/backend.ts";
import { type EffectContext, type Family, type Ip, type NodeSide, parseIp, type Peer } from "../src/mod.ts";
import wireguard, { publicKeyOf, type WireguardData, type WireguardState } from "./wireguard.ts";

const OWN = `${"A".repeat(42)}E=`;
const THEIRS = `${"A".repeat(42)}I=`;
const PSK = `${"B".repeat(42)}E=`;

const STATE: WireguardState = {
  publicKey: OWN,
  keyFile: "/run/flannel/wgkey",
  presharedKey: null,
  addresses: [parseIp("192.0.2.1"), parseIp("2001:db8::1")],
};
const side = (family: Family, state = STATE): NodeSide<WireguardState> => ({ ...nodeSide(family), state });
const peer = (family: Family, data: Partial<WireguardData> = {}, publicIps?: readonly Ip[]): Peer<WireguardData> => {
  const made = peerOf(family, 2, { PublicKey: THEIRS, Port: 7, ...data });
  return publicIps === undefined ? made : { ...made, publicIps, publicIp: publicIps[family === 4 ? 0 : 1]! };
};
const defaults = optionsOf(wireguard, { Type: "wireguard" });
const inMode = (Mode: string) => optionsOf(wireguard, { Mode });

test("by default each family has flannel's device, port and address", () => {
  for (
    const [family, name, port, ip, length] of [
      [4, "flannel-wg", 51820, "10.244.1.0", 32],
      [6, "flannel-wg-v6", 51821, "fd00:10:244:1::", 128],
    ] as const
  ) {
    assert.deepEqual(wireguard.node(side(family), defaults), [
      { kind: "link", name, type: "wireguard", port, publicKey: OWN, privateKeyFile: STATE.keyFile, mtu: 1450 },
      { kind: "address", link: name, ip, length },
    ]);
    assert.deepEqual(wireguard.publish(side(family), defaults), { PublicKey: OWN, Port: port });
  }
  assert.deepEqual(wireguard.links(), ["flannel-wg", "flannel-wg-v6"]);
});

test("a peer is known by its key, at its address and port, and allowed its subnet", () => {
  const presharedKey = { file: "/run/flannel/wgkey.psk", digest: "0123456789abcdef" };
  const options = optionsOf(wireguard, { PersistentKeepaliveInterval: 25 });
  const src = "10.244.1.0";
  assert.deepEqual(wireguard.peer(peer(4), side(4, { ...STATE, presharedKey }), options), {
    path: "wireguard",
    items: [
      {
        ...{ kind: "wireguard-peer", link: "flannel-wg", publicKey: THEIRS, endpoint: { ip: "192.0.2.2", port: 7 } },
        ...{ keepalive: 25, presharedKey },
      },
      { kind: "allowed-ip", link: "flannel-wg", cidr: "10.244.2.0/24", publicKey: THEIRS },
      { kind: "route", dst: "10.244.2.0/24", to: { via: null, link: "flannel-wg", onlink: false }, src },
    ],
  });
});

/** The far end of a peer as each family's items have it. */
function farEnds(mode: string, publicIps: readonly Ip[], addresses = STATE.addresses): unknown[] {
  return ([4, 6] as const).map((family) => {
    const { items } = wireguard.peer(peer(family, {}, publicIps), side(family, { ...STATE, addresses }), inMode(mode));
    const found = items.find((item) => item.kind === "wireguard-peer");
    assert.ok(
      items.every((item) =>
        !("link" in item) || item.link === (mode === "separate" && family === 6 ? "flannel-wg-v6" : "flannel-wg")
      ),
    );
    return found?.kind === "wireguard-peer" ? found.endpoint!.ip : null;
  });
}

test("separate devices reach a peer in each family, one device for both by one address", () => {
  const [v4, v6] = [parseIp("198.51.100.2"), parseIp("2001:db8::2")];
  const [private4, private6] = [parseIp("172.31.0.2"), parseIp("fd12::2")];
  assert.deepEqual(farEnds("separate", [v4, v6]), [v4, v6]);
  assert.deepEqual(farEnds("ipv4", [v4, v6]), [v4, null]);
  assert.deepEqual(farEnds("ipv6", [v4, v6]), [null, v6]);
  assert.deepEqual(farEnds("auto", [v4, v6]), [v4, null]);
  assert.deepEqual(farEnds("auto", [private4, v6]), [null, v6]);
  assert.deepEqual(farEnds("auto", [private4, private6]), [private4, null]);
  assert.deepEqual(farEnds("auto", [private4, v6], [parseIp("10.0.0.1"), private6]), [private4, null]);
  for (const near of ["10.1.2.3", "172.16.0.1", "192.168.7.7"]) assert.deepEqual(farEnds("auto", [parseIp(near), v6]), [null, v6]);
  for (const far of ["11.0.0.1", "172.32.0.1", "192.169.0.1"]) assert.deepEqual(farEnds("auto", [parseIp(far), v6]), [far, null]);
});

test("one device for both families has one port, which both families publish", () => {
  for (const family of [4, 6] as const) {
    const [link] = wireguard.node(side(family), inMode("auto"));
    assert.equal(link?.kind === "link" && link.type === "wireguard" && link.port, 51820);
    assert.deepEqual(wireguard.publish(side(family), inMode("auto")), { PublicKey: OWN, Port: 51820 });
  }
});

test("a peer of one family is reached by that one, whatever the mode", () => {
  for (const mode of ["auto", "ipv4", "ipv6"]) {
    const only = { ...peer(6), publicIps: [parseIp("2001:db8::2")] };
    assert.equal(wireguard.peer(only, side(6), inMode(mode)).items[0]!.kind, "wireguard-peer");
  }
});

test("an older flanneld publishes no port: then it is our own", () => {
  for (const [family, port] of [[4, 51820], [6, 51821]] as const) {
    const read = leaseDataOf(wireguard, { PublicKey: THEIRS });
    assert.ok("value" in read);
    const [item] = wireguard.peer({ ...peer(family), data: read.value }, side(family), defaults).items;
    assert.equal(item?.kind === "wireguard-peer" && item.endpoint?.port, port);
  }
});

test("a peer that publishes our own key waits, with what to do", () => {
  const { items, pending } = wireguard.peer(peer(4, { PublicKey: OWN }), side(4), defaults);
  assert.deepEqual(items, []);
  assert.match(pending!, /this node's own key/);
});

test("the MTU leaves room for the larger outer header, and can be set", () => {
  assert.equal(wireguard.mtu(1500, [4], defaults), 1420);
  assert.equal(wireguard.mtu(1500, [4], optionsOf(wireguard, { mtu: 1400 })), 1320);
});

test("options that are wrong are named, and a key that is wrong is not shown", () => {
  const wrong = (given: Record<string, unknown>) => {
    try {
      optionsOf(wireguard, given);
    } catch (error) {
      return (error as Error).message;
    }
  };
  assert.equal(wrong({ ListenPort: 65536 }), "ListenPort: expected a whole number from 1 to 65535");
  assert.equal(
    wrong({ PersistentKeepaliveInterval: "25" }),
    "PersistentKeepaliveInterval: expected a whole number from 0 to 65535",
  );
  assert.equal(wrong({ ListenPortV6: 0 }), "ListenPortV6: expected a whole number from 1 to 65535");
  assert.equal(wrong({ Mode: "both" }), "Mode: expected one of separate, auto, ipv4, ipv6");
  for (const key of [`${PSK}x`, PSK.slice(1), "c2VjcmV0", 7]) {
    assert.equal(wrong({ PSK: key }), 'PSK: expected a key, as "wg genpsk" makes it');
  }
});

test("what others publish is checked: a key of 32 bytes and a port", () => {
  for (
    const data of [null, "x", {}, { PublicKey: 1 }, { PublicKey: "AAAA" }, { PublicKey: `${THEIRS}\n` }, {
      PublicKey: `${"A".repeat(43)}=x`,
    }]
  ) {
    assert.ok("issue" in leaseDataOf(wireguard, data), JSON.stringify(data));
  }
  for (const Port of [-1, 65536, 1.5, "7"]) assert.ok("issue" in leaseDataOf(wireguard, { PublicKey: THEIRS, Port }));
  assert.deepEqual(leaseDataOf(wireguard, { PublicKey: THEIRS, Port: 7, More: 1 }), { value: { PublicKey: THEIRS, Port: 7 } });
});

test("the public key is the one that belongs to the private one", () => {
  for (let i = 0; i < 10; i++) {
    const { d, x } = generateKeyPairSync("x25519").privateKey.export({ format: "jwk" });
    const base64 = (text: string | undefined) => Buffer.from(text!, "base64url").toString("base64");
    assert.equal(publicKeyOf(base64(d)), base64(x));
  }
});

/** A folder with a key file in it, and what was logged. */
class Folder implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "weft-wireguard-"));
  readonly file = join(this.dir, "flannel", "wgkey");
  readonly logged: string[] = [];
  readonly context: EffectContext = {
    signal: new AbortController().signal,
    log: (level, message) => this.logged.push(`${level} ${message}`),
  };
  readonly #before = process.env["WIREGUARD_KEY_FILE"];

  constructor() {
    process.env["WIREGUARD_KEY_FILE"] = this.file;
  }

  start(given: Record<string, unknown> = {}): Promise<WireguardState> {
    const { subnet: _, state: __, ...bare } = side(4);
    return wireguard.effects.start(this.context, { name: "a1", sides: [bare] }, optionsOf(wireguard, given));
  }

  health(state: WireguardState): Promise<string | null> {
    return wireguard.effects.health(this.context, { name: "a1", sides: [side(4, state)] });
  }

  [Symbol.dispose](): void {
    if (this.#before === undefined) delete process.env["WIREGUARD_KEY_FILE"];
    else process.env["WIREGUARD_KEY_FILE"] = this.#before;
    rmSync(this.dir, { recursive: true });
  }
}

test("a key is made once, and nobody but its owner can read it", async () => {
  using folder = new Folder();
  const first = await folder.start();
  assert.deepEqual([first.keyFile, first.presharedKey, first.addresses], [folder.file, null, ["192.0.2.1"]]);
  const key = readFileSync(folder.file, "utf8");
  assert.equal(first.publicKey, publicKeyOf(key));
  assert.equal(statSync(folder.file).mode & 0o777, 0o400);
  assert.deepEqual(await folder.start(), first);
  assert.deepEqual(readdirSync(join(folder.dir, "flannel")), ["wgkey"]);
  const bytes = Buffer.from(key, "base64");
  assert.deepEqual([bytes[0]! & 7, bytes[31]! >> 6], [0, 1], "the kernel would change some of its bits");
  assert.deepEqual(folder.logged, [`info made a new key in "${folder.file}"`]);
});

test("a key that flanneld or wg(8) made is used, and closed to others if it was not", async () => {
  using folder = new Folder();
  await folder.start();
  const key = readFileSync(folder.file, "utf8");
  chmodSync(folder.file, 0o644);
  writeFileSync(folder.file, `${key}\n`);
  assert.equal((await folder.start()).publicKey, publicKeyOf(key));
  assert.equal(statSync(folder.file).mode & 0o777, 0o400);
  assert.match(folder.logged.at(-1)!, /^warning others than root could read the key/);
});

test("a file that holds no key is named, with nothing of what is in it", async () => {
  using folder = new Folder();
  await folder.start();
  chmodSync(folder.file, 0o600);
  writeFileSync(folder.file, "secret");
  await assert.rejects(async () => await folder.start(), (error: Error) => {
    assert.match(error.message, /wgkey" holds no key: .*remove it/);
    assert.doesNotMatch(error.message, /secret/);
    return true;
  });
});

test("the shared key is kept beside the own one, known by a digest, changed and removed with the options", async () => {
  using folder = new Folder();
  const file = `${folder.file}.psk`;
  const { presharedKey } = await folder.start({ PSK });
  assert.equal(presharedKey!.file, file);
  assert.match(presharedKey!.digest, /^[0-9a-f]{16}$/);
  assert.equal(readFileSync(file, "utf8"), PSK);
  assert.equal(statSync(file).mode & 0o777, 0o400);
  const other = await folder.start({ PSK: THEIRS });
  assert.notEqual(other.presharedKey!.digest, presharedKey!.digest);
  assert.equal(readFileSync(file, "utf8"), THEIRS);
  assert.equal((await folder.start()).presharedKey, null);
  assert.equal(existsSync(file), false);
});

test("a key file that is replaced or removed while the agent runs is told of", async () => {
  using folder = new Folder();
  const state = await folder.start();
  assert.equal(await folder.health(state), null);
  rmSync(folder.file);
  assert.match((await folder.health(state))!, /is gone: restart the agent/);
  const { publicKey } = await folder.start();
  assert.match((await folder.health(state))!, /is another now: restart the agent/);
  assert.equal(await folder.health({ ...state, publicKey }), null);
});
