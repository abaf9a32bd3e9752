import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeNode } from "../../test/fake_node.ts";
import { FakeCluster } from "../../test/fake_store.ts";
import { leaseOf, NETWORK } from "../../test/leases.ts";
import { seeded } from "../../test/seed.ts";
import { VirtualClock } from "../../test/virtual_clock.ts";
import { parseCidr, parseIp } from "../model/ip.ts";
import { editionOf } from "../reconcile/lists.ts";
import { Surroundings } from "./surroundings.ts";

const IPV4 = { ...NETWORK, ranges: NETWORK.ranges.slice(0, 1) };
const PEER = leaseOf(2, { families: [4] });
const POD = "veth2";

test("look() has peers' ways asked again only after a change of what packets may leave by", () => {
  const clock = new VirtualClock();
  const { kernel, settings } = new FakeNode({ name: "a", clock, cluster: new FakeCluster(clock, () => 0), chance: seeded(7) });
  const surroundings = new Surroundings(kernel, settings);
  const asks = (routing: boolean) => {
    const before = kernel.lookups;
    surroundings.look(IPV4, [], routing);
    surroundings.settle(editionOf([PEER]), [], 0);
    return kernel.lookups > before;
  };
  assert.equal(asks(true), true, "at first");
  assert.equal(surroundings.problem, null);
  assert.equal(asks(false), false, "nothing has changed");
  kernel.device({ name: POD, addresses: [[parseIp("fe80::2"), 64]] });
  assert.equal(asks(false), false, "a pod's device has come");
  kernel.unplug(POD);
  assert.equal(asks(false), false, "and gone");
  kernel.device({ name: "eth0", carrier: false });
  assert.equal(asks(false), true, "a device with an address has no carrier");
  kernel.otherRoute(parseCidr("192.0.2.0/24"), "eth0", null);
  assert.equal(asks(true), true, "a route is said to have changed");
});
