/**
 * The contract of backends: what the core relies on, checked for one backend and one set of options.
 *
 * A backend is pure: its answers follow from its arguments, which it leaves as they are. What it answers must be well formed, on its
 * own devices, and inside the network that it was asked about.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import {
  type Cidr,
  contains,
  type Family,
  familyOf,
  type Ip,
  type Mac,
  networkOf,
  parseCidr,
  parseIp,
  parseMac,
} from "../../src/model/ip.ts";
import { type Item, keyOf, KINDS } from "../../src/model/item.ts";
import { type Backend, BACKEND_API, type NodeSide, type Peer } from "../../src/model/backend.ts";
import { checkOptions, checkWith } from "../../src/model/schema.ts";

/** What a backend is checked with. */
export interface BackendCase {
  /** A `Backend` object of net-conf.json. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What peers publish, by family; a value for each peer there shall be. */
  readonly data: Readonly<Record<Family, readonly unknown[]>>;
}

/** A node that is frozen, on one segment with those peers for which `onLink` says so. */
export function nodeSide(family: Family, onLink: (ip: Ip) => string | null = () => null): NodeSide {
  const side: NodeSide = {
    family,
    network: parseCidr(family === 4 ? "10.244.0.0/16" : "fd00:10:244::/48"),
    subnet: parseCidr(family === 4 ? "10.244.1.0/24" : "fd00:10:244:1::/64"),
    link: "eth0",
    segments: Object.freeze(["eth0"]),
    address: parseIp(family === 4 ? "192.0.2.1" : "2001:db8::1"),
    publicIp: parseIp(family === 4 ? "192.0.2.1" : "2001:db8::1"),
    state: null,
    mtu: 1450,
    onLink,
    macFor: (link) => parseMac(link.includes("v6") ? "02:00:00:00:06:01" : "02:00:00:00:04:01"),
  };
  return Object.freeze(side);
}

/** The n-th peer of a node, with what it published. */
export function peerOf<Data>(family: Family, n: number, data: Data): Peer<Data> {
  const publicIps = [parseIp(`192.0.2.${n}`), parseIp(`2001:db8::${n.toString(16)}`)] as const;
  return Object.freeze({
    subnet: parseCidr(family === 4 ? `10.244.${n}.0/24` : `fd00:10:244:${n.toString(16)}::/64`),
    publicIp: publicIps[family === 4 ? 0 : 1],
    publicIps,
    data,
  });
}

/** What a peer published, checked as the agent does; or what is wrong with it. */
export function leaseDataOf<Options, Data>(backend: Backend<Options, Data>, value: unknown): { value: Data } | { issue: string } {
  return checkWith(backend.leaseData, value);
}

/** Makes everything below a value unchangeable. */
export function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    Object.values(value).forEach(deepFreeze);
  }
  return value;
}

/** Checks options as the agent does. */
export function optionsOf<Options, Data>(backend: Backend<Options, Data>, given: Readonly<Record<string, unknown>>): Options {
  const checked = checkOptions(backend.options, given);
  if ("issue" in checked) throw new Error(checked.issue);
  return checked.value;
}

const WAYS: Readonly<Record<string, (ip: Ip) => string | null>> = { "on-link": () => "eth0", "far away": () => null };

/** Runs the contract. */
export function backendContract(name: string, backend: Backend, { options: given, data }: BackendCase): void {
  const options = deepFreeze(optionsOf(backend, given));
  const read = (value: unknown) => {
    const checked = checkWith(backend.leaseData, value);
    if ("issue" in checked) throw new Error(checked.issue);
    return deepFreeze(checked.value);
  };
  const peers = (family: Family) => data[family].map((value, i) => peerOf(family, i + 2, read(value)));

  test(`${name}: has a name, a type and the version of the interface`, () => {
    assert.match(backend.name, /^[a-z][a-z0-9-]*$/);
    assert.match(backend.type, /^[a-z][a-z0-9-]*$/);
    assert.equal(backend.api, BACKEND_API);
  });

  test(`${name}: answers the same for the same, and leaves its arguments as they are`, () => {
    for (const family of [4, 6] as const) {
      for (const onLink of Object.values(WAYS)) {
        const ask = () => {
          const side = nodeSide(family, onLink);
          return [
            backend.node(side, options),
            peers(family).map((peer) => backend.peer(peer, side, options)),
            backend.publish(side, options),
          ];
        };
        assert.deepEqual(ask(), ask());
      }
    }
    assert.deepEqual(backend.links(options), backend.links(options));
    assert.equal(backend.mtu(1500, [4, 6], options), backend.mtu(1500, [4, 6], options));
  });

  test(`${name}: its items are well formed, on its own devices, and of the family that was asked for`, () => {
    for (const family of [4, 6] as const) {
      for (const onLink of Object.values(WAYS)) {
        const side = nodeSide(family, onLink);
        for (const item of backend.node(side, options)) checkItem(item, side, backend.links(options));
        for (const peer of peers(family)) {
          const { path, items } = backend.peer(peer, side, options);
          assert.match(path, /^[a-z][a-z0-9-]*$/);
          assert.ok(items.some((item) => item.kind === "route" && item.dst === peer.subnet), "a route to the peer's subnet");
          for (const item of items) checkItem(item, side, backend.links(options), peer);
        }
      }
    }
  });

  test(`${name}: no two items of a node and its peers have one key`, () => {
    for (const family of [4, 6] as const) {
      const side = nodeSide(family);
      const items = [...backend.node(side, options), ...peers(family).flatMap((peer) => backend.peer(peer, side, options).items)];
      assert.equal(new Set(items.map(keyOf)).size, items.length);
    }
  });

  test(`${name}: a peer's items do not depend on the other peers`, () => {
    const side = nodeSide(4);
    const one = peers(4).map((peer) => backend.peer(peer, side, options));
    const other = peers(4).reverse().map((peer) => backend.peer(peer, side, options)).reverse();
    assert.deepEqual(one, other);
  });

  test(`${name}: reads what it publishes itself`, () => {
    for (const family of [4, 6] as const) {
      const published = JSON.parse(JSON.stringify(backend.publish(nodeSide(family), options)));
      assert.doesNotThrow(() => read(published));
    }
  });

  test(`${name}: pods get no larger packets than the device can take`, () => {
    for (const families of [[4], [6], [4, 6]] as const) {
      const mtu = backend.mtu(1500, families, options);
      assert.ok(Number.isInteger(mtu) && mtu > 0 && mtu <= 1500, `${mtu}`);
    }
  });
}

function checkItem(item: Item, { family, network }: NodeSide, links: readonly string[], peer?: Peer<unknown>): void {
  assert.ok(KINDS.includes(item.kind));
  const own = (link: string) => assert.ok(links.includes(link), `${keyOf(item)} is on ${link}, which is not its own`);
  const inFamily = (value: Ip | Cidr) => assert.equal(familyOf(value), family, keyOf(item));
  const mac = (value: Mac) => assert.equal(parseMac(value), value);
  switch (item.kind) {
    case "link":
      own(item.name);
      if (item.type === "vxlan") mac(item.mac);
      assert.ok(item.name.length < 16, "IFNAMSIZ");
      assert.equal(item.down, undefined);
      break;
    case "reverse-path":
      assert.equal(peer, undefined, "a peer has no say in this node's filters");
      break;
    case "address":
      own(item.link);
      inFamily(item.ip);
      break;
    case "wireguard-peer":
      own(item.link);
      assert.ok(item.endpoint !== null, "a peer has an endpoint");
      break;
    case "allowed-ip":
      own(item.link);
      inFamily(item.cidr);
      assert.equal(item.cidr, peer?.subnet, "a peer is allowed its own subnet");
      break;
    case "fdb":
      own(item.link);
      mac(item.mac);
      break;
    case "neighbour":
      own(item.link);
      mac(item.mac);
      inFamily(item.ip);
      break;
    case "nexthop":
      assert.fail("nexthop objects are the core's affair");
      break;
    case "route":
      inFamily(item.dst);
      assert.ok(
        peer !== undefined && contains(peer.subnet, networkOf(item.dst)) && contains(network, item.dst),
        "inside the peer's subnet",
      );
      assert.equal(item.adopted, undefined);
      break;
    case "blackhole":
      assert.fail("what happens to the rest of a subnet is the core's affair");
      break;
    default:
      item satisfies never;
  }
}
