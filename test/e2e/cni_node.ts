/**
 * A node of the lab whose pods are attached by CNI plugins, as a container runtime has them attached.
 *
 * The plugins see the paths that they see on a machine: subnet.env is /run/flannel/subnet.env, state and addresses are in /var/lib/cni.
 *
 * @module
 */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Host } from "../lab/host.ts";
import { run } from "../lab/command.ts";
import type { Node, SubnetEnv } from "../lab/node.ts";
import { agentCommand } from "../lab/paths.ts";
import { type Attached, type ConfList, PLUGIN_DIRS, type Result, Runtime } from "./cni_runtime.ts";

/** The configuration list of the walk-through and of flannel's manifests, which differ in the version. */
export function flannelList(cniVersion?: string, delegate: object = { hairpinMode: true, isDefaultGateway: true }): ConfList {
  return {
    name: "cbr0",
    ...(cniVersion === undefined ? {} : { cniVersion }),
    plugins: [{ type: "flannel", delegate }, { type: "portmap", capabilities: { portMappings: true } }],
  };
}

/** Lets the agent's executable be called as `flannel`. @returns A directory that holds it under this name. */
export function agentAsPlugin(): string {
  const directory = mkdtempSync("/run/plugin-");
  symlinkSync(agentCommand("binary")[0]!, join(directory, "flannel"));
  return directory;
}

/** A pod, and what it got. */
export interface Pod {
  readonly host: Host;
  readonly attached: Attached;
  readonly result: Result;
}

/** What plugins leave on a node. */
export interface Remains {
  readonly links: readonly string[];
  readonly addresses: readonly string[];
  readonly state: readonly string[];
  /** Lines of the nat table that CNI plugins made for pods. */
  readonly rules: readonly string[];
}

export const NOTHING: Remains = { links: [], addresses: [], state: [], rules: [] };

/** A node with a container runtime. */
export class CniNode {
  readonly node: Node;
  readonly runtime: Runtime;
  readonly #list: ConfList;

  constructor(node: Node, list: ConfList, plugins: string) {
    this.node = node;
    this.#list = list;
    this.runtime = this.runtimeOf(list, plugins);
    for (const path of ["run", "var-lib/cni"]) mkdirSync(join(node.dir, path), { recursive: true });
  }

  /** A runtime on this node with another configuration list. */
  runtimeOf(list: ConfList, plugins: string): Runtime {
    return new Runtime(list, [plugins, ...PLUGIN_DIRS], (argv) => this.enter(argv));
  }

  /** Writes subnet.env where plugins look for it. */
  writeSubnet(env: SubnetEnv): void {
    writeFileSync(join(this.node.dir, "run/subnet.env"), Object.entries(env).map(([name, value]) => `${name}=${value}\n`).join(""));
  }

  /** A command line that runs in this node's network, with this node's files. */
  enter(argv: readonly string[]): string[] {
    const script = 'mkdir -p /run/flannel && mount --bind "$0/run" /run/flannel && mount --bind "$0/var-lib" /var/lib && exec "$@"';
    return this.node.command(["unshare", "--mount", "--", "sh", "-c", script, this.node.dir, ...argv]);
  }

  /** Makes a namespace and attaches it. */
  async addPod(id: string, options: { ifname?: string; capabilities?: Readonly<Record<string, unknown>> } = {}): Promise<Pod> {
    const namespace = `${this.node.namespace}-${id}`;
    await run(["ip", "netns", "add", namespace]);
    const attached = { containerId: id, netns: `/run/netns/${namespace}`, ifname: "eth0", ...options };
    const result = await this.runtime.add(attached);
    const [address = null] = addressesOf(result);
    const host = new Host({ name: id, namespace, dir: join(this.node.dir, id), ipv4: address, ipv6: null });
    await host.ip("link set lo up");
    return { host, attached, result };
  }

  /** Detaches a pod and removes its namespace. */
  async removePod(pod: Pod): Promise<void> {
    await pod.host.killAll();
    await this.runtime.del(pod.attached);
    await run(["ip", "netns", "del", pod.host.namespace]);
  }

  /** The plugin's folder of state. */
  get dataDir(): string {
    return join(this.node.dir, "var-lib/cni/flannel");
  }

  /** What is there for pods. */
  async remains(): Promise<Remains> {
    const links: { ifname: string }[] = await this.node.json(["ip", "-j", "link", "show", "type", "veth"]);
    const networks = join(this.node.dir, "var-lib/cni/networks", this.#list.name);
    const nat = await this.node.exec(["iptables-save", "-t", "nat"]);
    return {
      links: links.map(({ ifname }) => ifname).filter((name) => name.startsWith("veth")),
      addresses: namesIn(networks).filter((name) => /^[0-9a-f]+[.:]/.test(name)),
      state: namesIn(this.dataDir),
      rules: nat.split("\n").filter((line) => /^-A CNI-(DN-|[0-9a-f])/.test(line)),
    };
  }
}

/** The addresses of a result, in every version of CNI. */
export function addressesOf(result: Result): string[] {
  const { ip4, ip6 } = result as { ip4?: { ip: string }; ip6?: { ip: string } };
  const found = result.ips?.map(({ address }) => address) ?? [ip4?.ip, ip6?.ip].filter((address) => address !== undefined);
  return found.map((address) => address.split("/")[0]!);
}

function namesIn(directory: string): string[] {
  return existsSync(directory) ? readdirSync(directory).sort() : [];
}
