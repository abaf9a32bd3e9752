/**
 * The API server that the tests of the Kubernetes store need, and the etcd below it.
 *
 * @module
 */

import { ETCD, ETCD_3_6, find, type Found } from "./binaries.ts";

export { type Found, lackOf } from "./binaries.ts";

/** The API server. */
export const KUBE_APISERVER: Found = find("kube-apiserver", "KUBE_APISERVER", "kubernetes", ["kube-apiserver"]);
/** An etcd of today, over which an API server can stream lists. */
export const NEW_ETCD: Found = ETCD_3_6;
/** Any etcd, by preference the distribution's old one, over which an API server can not. */
export const ANY_ETCD: Found = "lack" in ETCD ? NEW_ETCD : ETCD;
