/**
 * The contract of lease stores, kept by the Kubernetes store over a real API server: one that reads lists in pages, because its etcd is
 * old, and one that streams them.
 *
 * @module
 */

import { after, before, describe } from "node:test";
import { KubernetesBacking } from "../contracts/kubernetes_backing.ts";
import { leaseStoreContract } from "../contracts/lease_store.ts";
import { ANY_ETCD, type Found, KUBE_APISERVER, lackOf, NEW_ETCD } from "./kubernetes_binaries.ts";
import { KubernetesServer } from "./kubernetes_server.ts";

function contractOver(name: string, etcd: Found): void {
  const skip = lackOf(KUBE_APISERVER, etcd);
  describe(name, { skip }, () => {
    let server: KubernetesServer;
    before(async () => {
      if (!skip) server = await KubernetesServer.start(etcd);
    });
    after(() => server?.[Symbol.asyncDispose]());
    leaseStoreContract(name, () => Promise.resolve(new KubernetesBacking(server)), { allocates: false, expires: false });
  });
}

contractOver("Kubernetes, lists in pages", ANY_ETCD);
contractOver("Kubernetes, lists streamed", NEW_ETCD);
