/**
 * The service account of agents in a cluster, with the rights that the walk-through's manifest gives it and no more.
 *
 * @module
 */

import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { KubernetesServer } from "./kubernetes_server.ts";

/** The rules of the walk-through's ClusterRole. Nothing else may be needed. */
export const RULES = [
  { apiGroups: [""], resources: ["pods"], verbs: ["get"] },
  { apiGroups: [""], resources: ["nodes"], verbs: ["list", "watch"] },
  { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
];
/** Where the API server keeps roles. */
export const RBAC = "/apis/rbac.authorization.k8s.io/v1";
/** Where it keeps what is in the account's namespace. */
export const NAMESPACE = "/api/v1/namespaces/kube-system";
/** The account's name as a user. */
export const ACCOUNT = "system:serviceaccount:kube-system:flannel";

/** Makes the account and gives it its rights. */
export async function makeAccount(server: KubernetesServer): Promise<void> {
  await server.must("POST", `${NAMESPACE}/serviceaccounts`, { metadata: { name: "flannel" } });
  await server.must("POST", `${RBAC}/clusterroles`, { metadata: { name: "flannel" }, rules: RULES });
  await server.must("POST", `${RBAC}/clusterrolebindings`, {
    metadata: { name: "flannel" },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "flannel" },
    subjects: [{ kind: "ServiceAccount", name: "flannel", namespace: "kube-system" }],
  });
}

/** A new token of the account. */
export async function tokenOf(server: KubernetesServer): Promise<string> {
  const body = { apiVersion: "authentication.k8s.io/v1", kind: "TokenRequest", spec: { expirationSeconds: 3600 } };
  const { status } = await server.must<{ status: { token: string } }>("POST", `${NAMESPACE}/serviceaccounts/flannel/token`, body);
  return status.token;
}

/** Writes what a pod with the account finds in its folder. */
export async function writeAccount(server: KubernetesServer, folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "token"), await tokenOf(server));
  cpSync(server.caFile, join(folder, "ca.crt"));
}

/** Makes a pod of the account on a node. */
export async function makePod(server: KubernetesServer, name: string, nodeName: string): Promise<void> {
  const spec = { serviceAccountName: "flannel", nodeName, containers: [{ name: "x", image: "x" }] };
  await server.must("POST", `${NAMESPACE}/pods`, { metadata: { name }, spec });
}
