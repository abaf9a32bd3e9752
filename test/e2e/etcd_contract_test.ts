/**
 * The contract of lease stores, kept by the etcd store over real servers, old and new.
 *
 * @module
 */

import { after, before, describe } from "node:test";
import { EtcdBacking } from "../contracts/etcd_backing.ts";
import { leaseStoreContract } from "../contracts/lease_store.ts";
import { ETCD, ETCD_3_6, ETCD_3_7, type Found, lackOf } from "./binaries.ts";
import { EtcdCluster } from "./etcd_cluster.ts";

function contractOver(name: string, etcd: Found): void {
  const skip = lackOf(etcd);
  describe(name, { skip }, () => {
    let cluster: EtcdCluster;
    before(async () => {
      if (!skip) cluster = await EtcdCluster.start({ etcd });
    });
    after(() => cluster?.[Symbol.asyncDispose]());
    leaseStoreContract(name, () => Promise.resolve(new EtcdBacking(cluster)), { allocates: true, expires: true });
  });
}

contractOver("etcd, the distribution's", ETCD);
contractOver("etcd 3.6", ETCD_3_6);
contractOver("etcd 3.7", ETCD_3_7);
