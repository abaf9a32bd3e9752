/**
 * Keys of a real etcd as the lease-store contract and the other tests of the store need them: below a prefix of their own, and written
 * to behind the stores' back over etcd's own gateway.
 *
 * @module
 */

import { leaseKey, leaseValue } from "../../src/stores/lease_value.ts";
import { type EtcdOptions, EtcdStore } from "../../src/stores/etcd/store.ts";
import type { EtcdCluster } from "../e2e/etcd_cluster.ts";
import { BROKEN, GOOD } from "./lease_entries.ts";
import type { Backing, ForeignLease } from "./lease_store.ts";

/** Entries that are no leases. */
const ALL_BROKEN: typeof BROKEN = [
  ...BROKEN,
  ["10.5.199.0-24/x", GOOD],
  ["10.5.208.0-24", `{"PublicIP":"10.0.0.1","BackendData":"${"x".repeat(1_000_000)}"}`],
];

let backings = 0;

/** The backing of etcd stores. */
export class EtcdBacking implements Backing {
  readonly cluster: EtcdCluster;
  readonly prefix = `/test-${++backings}/network`;
  readonly logged: string[] = [];

  constructor(cluster: EtcdCluster) {
    this.cluster = cluster;
  }

  open(_node: unknown = null, given: Partial<EtcdOptions> = {}): Promise<EtcdStore> {
    const store = new EtcdStore({
      endpoints: this.cluster.endpoints,
      prefix: this.prefix,
      tls: { caFile: null, certFile: null, keyFile: null },
      user: null,
      userAgent: "weft/test",
      now: Date.now,
      random: Math.random,
      log: (_level, message) => this.logged.push(message),
      ...given,
    });
    return Promise.resolve(store);
  }

  async put({ node, backendType, data, lifetime }: ForeignLease): Promise<string> {
    const endpoints = node.subnets.map((subnet, i) => ({ subnet, publicIp: node.publicIps[i]!, data: data[i] ?? null }));
    const key = leaseKey(node.subnets);
    const lease = lifetime === null ? "0" : await this.cluster.grant(Math.ceil(lifetime / 1000));
    await this.cluster.put(this.path(key), leaseValue({ backendType, endpoints }), lease);
    return key;
  }

  async putBroken(): Promise<readonly string[]> {
    for (const [key, value] of ALL_BROKEN) await this.cluster.put(this.path(key), value);
    return ALL_BROKEN.map(([key]) => key);
  }

  async remove(key: string): Promise<void> {
    await this.cluster.delete(this.path(key));
  }

  async configure(text: string): Promise<void> {
    await this.cluster.put(`${this.prefix}/config`, text);
  }

  /** The whole key of a lease. */
  path(key: string): string {
    return `${this.prefix}/subnets/${key}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster.delete(`${this.prefix}/`, true);
  }
}
