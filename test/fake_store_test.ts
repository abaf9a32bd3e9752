/**
 * The store in memory keeps the contract of the real ones: what is tested with it holds for them.
 *
 * @module
 */

import { chance, clock } from "../src/cli/adapters.ts";
import type { Lease } from "../src/model/lease.ts";
import { leaseKey } from "../src/stores/lease_value.ts";
import { type Backing, type ForeignLease, leaseStoreContract } from "./contracts/lease_store.ts";
import { FakeCluster } from "./fake_store.ts";

function make(): Promise<Backing> {
  const cluster = new FakeCluster(clock, () => chance.number());
  return Promise.resolve({
    open: ({ name }) => Promise.resolve(cluster.open(name)),
    put({ node, backendType, data, lifetime }: ForeignLease) {
      const endpoints = node.subnets.map((subnet, i) => ({ subnet, publicIp: node.publicIps[i]!, data: data[i] }));
      const lease: Lease = {
        key: leaseKey(node.subnets),
        backendType,
        endpoints,
        expiresAt: lifetime === null ? null : Date.now() + lifetime,
      };
      cluster.put({ key: lease.key, lease }, node.name);
      return Promise.resolve(lease.key);
    },
    putBroken() {
      cluster.put({ key: "broken", reason: "it is not JSON" }, null);
      return Promise.resolve(["broken"]);
    },
    remove: (key) => Promise.resolve(cluster.remove(key)),
    configure: (text) => Promise.resolve(cluster.configure(text)),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  });
}

leaseStoreContract("the store in memory", make, { allocates: true, expires: true });
