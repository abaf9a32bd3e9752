/**
 * The contract of backends, which is the suite of `agent plugin check`, for those that are built in; and a node and peers for their own
 * tests.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { type Family, type Ip, parseCidr, parseIp, parseMac } from "../../src/model/ip.ts";
import type { Backend, NodeSide, Peer } from "../../src/model/backend.ts";
import { checkOptions, checkWith } from "../../src/model/schema.ts";
import type { Subject } from "../../src/plugins/check/bench.ts";
import { PLANNER_CHECKS } from "../../src/plugins/check/planners.ts";
import { asBackend } from "../../src/plugins/shape.ts";
import { withTraps } from "../../src/plugins/traps.ts";
import { inProcess } from "../../src/reconcile/in_process.ts";

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
function deepFreeze<T>(value: T): T {
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

/** A built-in backend, as the suite of `agent plugin check` asks it: its planners run where the clock and chance are out of reach. */
export function builtIn(backend: Backend, given: Readonly<Record<string, unknown>>): Subject {
  const { mtu, publish, node, peer } = backend;
  const trapped: Backend = {
    ...backend,
    mtu: (...args) => withTraps(() => mtu(...args)),
    publish: (...args) => withTraps(() => publish(...args)),
    node: (...args) => withTraps(() => node(...args)),
    peer: (...args) => withTraps(() => peer(...args)),
  };
  return {
    name: backend.name,
    open: () => Promise.resolve(inProcess(trapped, deepFreeze(optionsOf(backend, given)))),
    example: () => Promise.resolve(null),
  };
}

/** Runs the suite's checks of planners. Those with a kernel run in the lab. */
export function backendContract(name: string, backend: Backend, given: Readonly<Record<string, unknown>>): void {
  const subject = builtIn(backend, given);
  test(`${name}: has the shape of a backend`, () => {
    assert.equal(asBackend(backend, backend.name), backend);
  });
  for (const check of PLANNER_CHECKS) {
    test(`${name}: it ${check.name}`, async () => void await check.run({ subject, state: null }));
  }
}
