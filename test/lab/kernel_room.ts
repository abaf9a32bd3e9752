/**
 * A place for tests of the kernel adapter: the lab's own network, with a segment, and few words to put, look and disturb.
 *
 * ```
 *   d0 ── d1     192.0.2.1/24 and 2001:db8::1/64 on d0
 *   flannel.1, flannel-v6.1, flannel.ipip, flannel-wg: devices, where a test puts them
 * ```
 *
 * @module
 */

import assert from "node:assert/strict";
import { openDriver } from "../../ffi/mod.ts";
import { keys } from "../../src/cli/adapters.ts";
import { openKernel } from "../../src/kernel/kernel.ts";
import { type Ip, parseCidr, parseIp, parseMac } from "../../src/model/ip.ts";
import {
  type Address,
  describe,
  type Hop,
  type Item,
  keyOf,
  KINDS,
  type Route,
  same,
  type VxlanLink,
} from "../../src/model/item.ts";
import type { Kernel, Observation, Ownership, Refusal } from "../../src/model/kernel.ts";
import { run } from "./command.ts";

/** What the tests hold for their own. */
export const OWN: Ownership = {
  links: ["flannel.1", "flannel-v6.1", "flannel.ipip", "flannel-wg"],
  networks: [
    { network: parseCidr("10.244.0.0/16"), length: 24, subnet: parseCidr("10.244.1.0/24") },
    { network: parseCidr("fd00:244::/48"), length: 64, subnet: parseCidr("fd00:244:0:1::/64") },
  ],
  nexthops: new Set([0xf0000002]),
  reversePath: ["d0"],
  adopts: true,
};

export const VXLAN: VxlanLink = {
  kind: "link",
  name: "flannel.1",
  type: "vxlan",
  vni: 1,
  port: 8472,
  local: parseIp("192.0.2.1"),
  mac: parseMac("02:00:00:00:00:01"),
  mtu: 1450,
  learning: false,
  gbp: false,
};
export const VXLAN6: VxlanLink = {
  ...VXLAN,
  name: "flannel-v6.1",
  local: parseIp("2001:db8::1"),
  mac: parseMac("02:00:00:00:00:06"),
  mtu: 1430,
};
export const ADDRESS: Address = { kind: "address", link: "flannel.1", ip: parseIp("10.244.1.0"), length: 32 };
export const ADDRESS6: Address = { kind: "address", link: "flannel-v6.1", ip: parseIp("fd00:244:0:1::"), length: 128 };

/** A hop of an item. */
export function hop(via: string, link: string, onlink = false): Hop {
  return { via: parseIp(via), link, onlink };
}

/** A route of an item. */
export function route(dst: string, to: Hop | number, src: Ip | null = null): Route {
  return { kind: "route", dst: parseCidr(dst), to, src };
}

/** Runs command lines of `ip`. */
export async function ip(...lines: readonly string[]): Promise<void> {
  await run(["ip", "-batch", "-"], { input: lines.join("\n") });
}

/** The kernel of this namespace. */
export class Room implements Disposable {
  readonly kernel: Kernel & Disposable;

  constructor(kernel: Kernel & Disposable) {
    this.kernel = kernel;
  }

  /** Clears the namespace and makes the segment. */
  static async open(nexthopObjects = true): Promise<Room> {
    for (const link of JSON.parse(await run(["ip", "-j", "link", "show"])) as { ifname: string }[]) {
      if (link.ifname !== "lo") await run(["ip", "link", "del", link.ifname]).catch(() => {}); // with its pair it is gone already
    }
    await run(["ip", "nexthop", "flush"]);
    await ip(
      "link add d0 type veth peer name d1",
      "addr add 192.0.2.1/24 dev d0",
      "addr add 2001:db8::1/64 dev d0 nodad",
      "link set d0 up",
      "link set d1 up",
    );
    return new Room(openKernel(await openDriver(), { keys, nexthopObjects }));
  }

  /** A look at all kinds. */
  look(): Observation {
    return this.kernel.observe(new Set(KINDS), OWN);
  }

  /** What the kernel holds under an item's key. */
  held(item: Item): Item | null {
    return this.look().items.get(keyOf(item)) ?? null;
  }

  /** Puts an item over what is there, which is refused. */
  async refused(item: Item): Promise<Refusal> {
    const [refusal] = (await this.#put(item)).values();
    assert.ok(refusal !== undefined, `${describe(item)} was put`);
    return refusal;
  }

  /** Puts items over what is there, and checks that the kernel holds them then. */
  async put(...items: readonly Item[]): Promise<void> {
    for (const item of items) {
      assert.deepEqual([...await this.#put(item)], []);
      this.assertHeld(item);
    }
  }

  /** Drops an item, and checks that it is gone. */
  async drop(item: Item): Promise<void> {
    assert.deepEqual([...await this.kernel.apply([{ op: "drop", item }])], []);
    assert.equal(this.held(item), null);
  }

  #put(item: Item) {
    return this.kernel.apply([{ op: "put", item, old: this.held(item) }]);
  }

  assertHeld(item: Item): void {
    const held = this.held(item);
    assert.ok(held !== null && same(item, held), `wanted: ${describe(item)}; held: ${held === null ? "nothing" : describe(held)}`);
  }

  /** Does each harm, and checks that it is seen and that a put heals it. */
  async survives(item: Item, ...harms: readonly (readonly string[])[]): Promise<void> {
    for (const harm of harms) {
      await run(harm);
      const held = this.held(item);
      assert.ok(held === null || !same(item, held), `"${harm.join(" ")}" was not seen`);
      await this.put(item);
    }
  }

  [Symbol.dispose](): void {
    this.kernel[Symbol.dispose]();
  }
}
