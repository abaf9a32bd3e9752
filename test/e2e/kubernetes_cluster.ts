/**
 * A lab whose nodes are Nodes of a real API server, and agents on them that run as the walk-through's pods do: with its rights, its
 * environment and the files of its service account.
 *
 * @module
 */

import { join } from "node:path";
import { Lab, type LabOptions } from "../lab/lab.ts";
import type { Agent } from "../lab/agent.ts";
import type { AgentOptions, Node } from "../lab/node.ts";
import { joinOutside, leaveOutside, OUTSIDE } from "../lab/outside.ts";
import { makeAccount, makePod, writeAccount } from "./kubernetes_account.ts";
import type { Found } from "./kubernetes_binaries.ts";
import { KubernetesServer } from "./kubernetes_server.ts";

/** The lab's own `/run` holds it. */
const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/** The pod subnets of the lab's first, second … node. */
export function podCidrsOf(number: number): string[] {
  return [`10.244.${number}.0/24`, `fd00:10:244:${number}::/64`];
}

/** A cluster. */
export class KubernetesCluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly server: KubernetesServer;

  private constructor(lab: Lab, server: KubernetesServer) {
    this.lab = lab;
    this.server = server;
  }

  /** Builds the lab, the API server, a Node and a pod for each node; starts no agent. Nodes are known by their addresses. */
  static async create(options: LabOptions, etcd?: Found): Promise<KubernetesCluster> {
    await using stack = new AsyncDisposableStack();
    const lab = stack.use(await Lab.create(options));
    await joinOutside(lab);
    const server = stack.use(await KubernetesServer.start(etcd, OUTSIDE));
    await makeAccount(server);
    await writeAccount(server, SERVICE_ACCOUNT);
    for (const [i, node] of lab.nodes.entries()) {
      await server.makeNode(node.address, podCidrsOf(i + 1));
      await makePod(server, podOf(node), node.address);
    }
    stack.move();
    return new KubernetesCluster(lab, server);
  }

  /** Starts an agent as its pod would, on no other backend than the configuration's unless its options say so. */
  agent(node: Node, { args = [], env = {}, ...options }: AgentOptions = {}): Agent {
    return node.agent({
      store: "none",
      ...options,
      args: ["--kube-subnet-mgr", "--node-name=", `--net-config-path=${join(this.lab.dir, "net-conf.json")}`, ...args],
      env: {
        KUBERNETES_SERVICE_HOST: OUTSIDE,
        KUBERNETES_SERVICE_PORT: String(this.server.port),
        POD_NAMESPACE: "kube-system",
        POD_NAME: podOf(node),
        ...env,
      },
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
    await this.server[Symbol.asyncDispose]();
    await leaveOutside();
  }
}

function podOf({ name }: Node): string {
  return `kube-flannel-ds-${name}`;
}
