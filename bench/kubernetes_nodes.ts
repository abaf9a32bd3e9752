/**
 * A large cluster for benches: Node objects as kubelets and agents leave them.
 *
 * @module
 */

import type { KubernetesServer } from "../test/e2e/kubernetes_server.ts";

/** Fills a server with nodes of a size. */
export async function fill(server: KubernetesServer, nodes: number, kilobytes: number): Promise<void> {
  await inParallel(nodes, (i) => server.must("POST", "/api/v1/nodes", node(i, kilobytes)));
}

function node(i: number, kilobytes: number) {
  const prefix = "flannel.alpha.coreos.com";
  const hex = i.toString(16).padStart(4, "0");
  const images = Array.from({ length: Math.max(0, Math.floor(kilobytes * 1024 / 260) - 8) }, (_, j) => ({
    names: [
      `registry.example/some/project/image-${i}-${j}@sha256:${hex.repeat(16)}`,
      `registry.example/some/project/image-${j}:v1.${j}.0`,
    ],
    sizeBytes: 12345678 + j,
  }));
  return {
    apiVersion: "v1",
    kind: "Node",
    metadata: {
      name: nameOf(i),
      annotations: {
        [`${prefix}/kube-subnet-manager`]: "true",
        [`${prefix}/backend-type`]: "vxlan",
        [`${prefix}/backend-data`]: `{"VNI":1,"VtepMAC":"0a:00:00:00:${hex.slice(0, 2)}:${hex.slice(2)}"}`,
        [`${prefix}/public-ip`]: `192.168.${20 + (i >> 8)}.${i & 255}`,
      },
    },
    spec: { podCIDR: `10.${i >> 8}.${i & 255}.0/24`, podCIDRs: [`10.${i >> 8}.${i & 255}.0/24`] },
    status: { images },
  };
}

/** The name of a node by its number. */
export function nameOf(i: number): string {
  return `node-${String(i).padStart(5, "0")}`;
}

/** Runs something for every number below a count, some at a time. */
export async function inParallel(count: number, run: (i: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let i = next++; i < count; i = next++) await run(i);
  }));
}
