/**
 * The programs of a real Kubernetes, and the etcd below it.
 *
 * @module
 */

import { ETCD, ETCD_3_6, find, type Found } from "./binaries.ts";

export { type Found, lackOf } from "./binaries.ts";

/** The API server. */
export const KUBE_APISERVER: Found = kubernetesProgram("kube-apiserver");
/** An etcd of today, over which an API server can stream lists. */
export const NEW_ETCD: Found = ETCD_3_6;
/** Any etcd, by preference the distribution's old one, over which an API server can not. */
export const ANY_ETCD: Found = "lack" in ETCD ? NEW_ETCD : ETCD;

/** A program of Kubernetes, by its name. */
export function kubernetesProgram(name: string): Found {
  return find("kubernetes", name);
}
