/**
 * Node objects of a real API server as the lease-store contract and the other tests of the store need them.
 *
 * @module
 */

import { mkdtempSync, rmSync } from "node:fs";
import { rename, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { watchFolder } from "../watch_folder.ts";
import { familyOf } from "../../src/model/ip.ts";
import { credentialsOf } from "../../src/stores/kubernetes/credentials.ts";
import { type KubernetesOptions, KubernetesStore } from "../../src/stores/kubernetes/store.ts";
import type { KubernetesServer } from "../e2e/kubernetes_server.ts";
import type { Backing, ForeignLease, TestNode } from "./lease_store.ts";

/** What annotations begin with in tests; the default of the flag. */
export const PREFIX = "flannel.alpha.coreos.com";

const GOOD = { "kube-subnet-manager": "true", "backend-type": "vxlan", "backend-data": "null", "public-ip": "192.168.64.200" };
/** Annotations and pod subnets that are no leases. */
const BROKEN: readonly (readonly [annotations: Readonly<Record<string, string>>, podCidrs: readonly string[]])[] = [
  [GOOD, []],
  [{ ...GOOD, "public-ip": "" }, ["10.5.200.0/24"]],
  [{ ...GOOD, "public-ip": "192.168.64.0200" }, ["10.5.201.0/24"]],
  [{ ...GOOD, "public-ip": "fd00::1" }, ["10.5.202.0/24"]],
  [{ ...GOOD, "backend-data": "{" }, ["10.5.203.0/24"]],
  [{ ...GOOD, "backend-data": "x".repeat(100_000) }, ["10.5.204.0/24"]],
  [{ ...GOOD, "backend-type": "y".repeat(100_000) }, ["10.5.205.0/24"]],
  [{ ...GOOD, "public-ip": "1".repeat(100_000) }, ["10.5.206.0/24"]],
  [{ ...GOOD, "public-ipv6": "192.168.64.200" }, ["10.5.207.0/24", "fd00:5:0:207::/64"]],
];

/** The backing of Kubernetes stores. */
export class KubernetesBacking implements Backing {
  readonly server: KubernetesServer;
  readonly warnings: string[] = [];
  readonly #folder = mkdtempSync(join(tmpdir(), "weft-net-conf-"));
  readonly netConfigPath = join(this.#folder, "net-conf.json");

  constructor(server: KubernetesServer) {
    this.server = server;
  }

  async open({ name, subnets }: TestNode, given: Partial<KubernetesOptions> = {}): Promise<KubernetesStore> {
    await this.#ensure(name, subnets);
    return this.store({ node: name, ...given });
  }

  /** A store, whatever there is of its node. */
  store(given: Partial<KubernetesOptions> & Pick<KubernetesOptions, "node">): KubernetesStore {
    return new KubernetesStore({
      credentials: credentialsOf({
        apiUrl: null,
        kubeconfigFile: this.server.kubeconfig,
        env: {},
        run: () => Promise.reject(new Error("no plugin is named")),
        now: Date.now,
        warn: (message) => this.warnings.push(message),
      }),
      annotationPrefix: PREFIX,
      netConfigPath: this.netConfigPath,
      watchFolder,
      userAgent: "weft/test",
      now: Date.now,
      random: Math.random,
      warn: (message) => this.warnings.push(message),
      ...given,
    });
  }

  async put({ node, backendType, data }: ForeignLease): Promise<string> {
    await this.#ensure(node.name, node.subnets);
    await this.server.annotate(
      node.name,
      named({
        "kube-subnet-manager": "true",
        "backend-type": backendType,
        ...Object.assign(
          {},
          ...node.publicIps.map((ip, i) => {
            const text = JSON.stringify(data[i] ?? null);
            return familyOf(ip) === 4 ? { "public-ip": ip, "backend-data": text } : { "public-ipv6": ip, "backend-v6-data": text };
          }),
        ),
      }),
    );
    return node.name;
  }

  async putBroken(): Promise<readonly string[]> {
    for (const [i, [annotations, podCidrs]] of BROKEN.entries()) {
      await this.server.makeNode(`broken-${i}`, podCidrs, named(annotations));
    }
    return BROKEN.map((_, i) => `broken-${i}`);
  }

  async remove(key: string): Promise<void> {
    await this.server.annotate(key, named({ "kube-subnet-manager": null }));
  }

  async configure(text: string): Promise<void> {
    await writeFile(`${this.netConfigPath}.new`, text);
    await rename(`${this.netConfigPath}.new`, this.netConfigPath);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server.deleteNode();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #ensure(name: string, subnets: readonly string[]): Promise<void> {
    const { status } = await this.server.ask("GET", `/api/v1/nodes/${name}`);
    if (status === 404) await this.server.makeNode(name, subnets);
  }
}

/** Annotations by their full names. */
export function named<T>(annotations: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(annotations).map(([name, value]) => [`${PREFIX}/${name}`, value]));
}
