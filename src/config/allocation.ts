/**
 * How a network is cut into subnets: defaults and checks of SubnetLen, SubnetMin and SubnetMax.
 *
 * The same rules serve both families, only the numbers differ. Source: flannel, `pkg/subnet/config.go`.
 *
 * @module
 */

import {
  bitsOf,
  type Cidr,
  cidrOf,
  contains,
  type Family,
  familyOf,
  type Ip,
  ipNumber,
  lengthOf,
  networkOf,
  plus,
} from "../model/ip.ts";
import type { Allocation } from "../model/lease.ts";

/** What the configuration says of the cut; `null` is for what it leaves to the defaults. */
export interface Wish {
  readonly length: number | null;
  readonly min: Ip | null;
  readonly max: Ip | null;
}

/** What is wrong with a wish. */
export interface Objection {
  readonly about: "Network" | "SubnetLen" | "SubnetMin" | "SubnetMax";
  /** The value objected to. */
  readonly value: string;
  readonly expected: string;
}

/** The usual length of a subnet, for networks that hold at least four of them. */
const USUAL: Readonly<Record<Family, number>> = { 4: 24, 6: 64 };

/**
 * Fills in defaults and checks. The first subnet of a network is left out by default.
 *
 * @example Usage
 * ```ts
 * import { allocationOf } from "./allocation.ts";
 * import { parseCidr } from "../model/ip.ts";
 * import assert from "node:assert/strict";
 *
 * const none = { length: null, min: null, max: null };
 * assert.deepEqual(allocationOf(parseCidr("10.3.0.0/16"), none), { length: 24, min: "10.3.1.0", max: "10.3.255.0" });
 * ```
 */
export function allocationOf(network: Cidr, wish: Wish): Allocation | Objection {
  const bits = bitsOf(familyOf(network));
  const outer = lengthOf(network);
  const longest = bits - 2;
  if (outer + 2 > longest) {
    return {
      about: "Network",
      value: network,
      expected: `a prefix of at most /${longest - 2}: it must hold four subnets, each with four addresses`,
    };
  }
  const usual = USUAL[familyOf(network)];
  const length = wish.length ?? (outer <= usual - 2 ? usual : outer + 2);
  if (length > longest || length < outer + 2) {
    const expected = `a number from ${outer + 2} to ${longest}, for four subnets or more in ${network}`;
    return { about: "SubnetLen", value: String(length), expected };
  }
  const size = 1n << BigInt(bits - length);
  const first = networkOf(network);
  const min = wish.min ?? plus(first, size);
  const max = wish.max ?? plus(first, (1n << BigInt(bits - outer)) - size);
  return wrongEnd("SubnetMin", min) ?? wrongEnd("SubnetMax", max) ??
    (ipNumber(min) > ipNumber(max) ? crossed() : { length, min, max });

  function wrongEnd(about: "SubnetMin" | "SubnetMax", ip: Ip): Objection | null {
    if (!contains(network, ip)) return { about, value: ip, expected: `an address in ${network}` };
    const start = networkOf(cidrOf(ip, length));
    return start === ip ? null : { about, value: ip, expected: `the first address of a /${length}, such as ${start}` };
  }

  function crossed(): Objection {
    return { about: "SubnetMax", value: max, expected: `an address not before SubnetMin, which is ${min}` };
  }
}
