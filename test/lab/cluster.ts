/**
 * A lab with an agent and a pod on every node: where most cases begin.
 *
 * @module
 */

import type { Agent } from "./agent.ts";
import type { Host } from "./host.ts";
import { Lab, type LabOptions } from "./lab.ts";
import type { AgentOptions, Node } from "./node.ts";
import type { Pinger } from "./ping.ts";
import { until } from "./command.ts";

/** One node of the cluster. */
export interface Member {
  readonly node: Node;
  agent: Agent;
  readonly pod: Host;
}

/** What goes on between pods while something is done to the network. */
export interface Traffic extends AsyncDisposable {
  /** Ends it; lost packets and broken connections by pair. Empty if all went well. */
  stop(): Promise<string[]>;
}

/** Nodes with agents and pods. */
export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly members: readonly Member[];
  readonly #options: AgentOptions;

  private constructor(lab: Lab, members: readonly Member[], options: AgentOptions) {
    this.lab = lab;
    this.members = members;
    this.#options = options;
  }

  /**
   * Builds the lab, starts the agents, waits until all see each other, and adds a pod to each node.
   *
   * @param options How agents are started, or what prepares the lab for them and then says so.
   */
  static async create(labOptions: LabOptions, options: AgentOptions | ((lab: Lab) => Promise<AgentOptions>)): Promise<Cluster> {
    const lab = await Lab.create(labOptions);
    try {
      const agentOptions = typeof options === "function" ? await options(lab) : options;
      const agents = lab.nodes.map((node) => ({ node, agent: node.agent(agentOptions) }));
      for (const { agent } of agents) await agent.inSync(lab.nodes.length - 1);
      for (const { agent } of agents) await agent.ready();
      const members = await Promise.all(agents.map(async (member) => ({ ...member, pod: await member.node.addPod() })));
      return new Cluster(lab, members, agentOptions);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The member on a node. */
  on(name: string): Member {
    const member = this.members.find(({ node }) => node.name === name);
    if (member === undefined) throw new Error(`There is no node ${name}`);
    return member;
  }

  /** Stops a node's agent and starts another in its place. */
  async restart(name: string, signal: NodeJS.Signals = "SIGTERM", options: AgentOptions = this.#options): Promise<void> {
    const member = this.on(name);
    await member.agent.stop(signal);
    member.agent = member.node.agent(options);
    await member.agent.inSync(this.members.length - 1);
    await member.agent.ready();
  }

  /** 100 packets a second in each family, and TCP connections, between the pods of some pairs of nodes. */
  async traffic(pairs: readonly (readonly [from: string, to: string])[], families: readonly (4 | 6)[] = [4, 6]): Promise<Traffic> {
    const running: { readonly name: string; readonly pinger: Pinger }[] = [];
    const flows: { readonly name: string; readonly flow: Awaited<ReturnType<Host["connect"]>> }[] = [];
    for (const [from, to] of pairs) {
      const [source, target] = [this.on(from), this.on(to)];
      for (const family of families) {
        const name = `${from} to ${to}, IPv${family}`;
        running.push({ name, pinger: await source.pod.pinger(target.pod.addressOf(family)) });
        flows.push({ name: `pod ${name}`, flow: await source.pod.connect(target.pod, { family }) });
        flows.push({ name: `node ${name}`, flow: await source.node.connect(target.pod, { family }) });
      }
    }
    return {
      async stop() {
        const faults: string[] = [];
        for (const { name, pinger } of running) {
          const { sent, lost, holes } = await pinger.stop();
          if (lost > 0) faults.push(`${lost} of ${sent} packets lost from ${name}: ${JSON.stringify(holes)}`);
        }
        for (const { name, flow } of flows) {
          const { error, answered } = await flow.stop();
          if (error !== null || answered === 0) faults.push(`connection of ${name}: ${error ?? "no answer"}`);
        }
        return faults;
      },
      async [Symbol.asyncDispose]() {
        for (const { pinger } of running) await pinger[Symbol.asyncDispose]();
        for (const { flow } of flows) await flow[Symbol.asyncDispose]();
      },
    };
  }

  /** Waits until the agent on a node reaches another node's subnet on the given way. */
  async way(from: string, to: string, path: string, timeout = 15_000): Promise<void> {
    const subnet = subnetOf(this.on(to));
    const { agent } = this.on(from);
    await agent.until(`reaches ${to} by ${path}`, async () => {
      const peer = (await agent.peers()).find((peer) => peer.subnet === subnet);
      if (peer?.path === path && peer.state === "in-sync") return true;
      throw new Error(`It has ${JSON.stringify(peer)}`);
    }, timeout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.lab[Symbol.asyncDispose]();
  }
}

/** A node's own IPv4 subnet, as its subnet.env has it. */
export function subnetOf({ node }: Member): string {
  return node.subnetEnv()["FLANNEL_SUBNET"]!.replace(/\.1\//, ".0/");
}

/** What is in a node's kernel, in the words of ip(8) and bridge(8): all that an agent may have put there. */
export async function kernelOf({ node }: Pick<Member, "node">): Promise<string> {
  const commands = [
    "for type in vxlan ipip wireguard; do ip -d -o link show type $type 2>/dev/null; done",
    "for link in $(wg show interfaces 2>/dev/null); do for what in public-key listen-port allowed-ips endpoints preshared-keys; do " +
    'wg show $link $what | sed "s/^/$link $what /"; done; done',
    "ip -o addr show",
    "ip -d route show table main",
    "ip -d -6 route show table main",
    "ip -d nexthop show",
    "ip neigh show nud permanent",
    "bridge fdb show",
    "cat /proc/sys/net/ipv4/conf/flannel*/rp_filter /proc/sys/net/ipv4/conf/eth0/rp_filter 2>/dev/null",
  ];
  const text = await node.exec(["sh", "-c", `${commands.join("; ")}; true`]);
  const lines = text.split("\n").filter((line) => !/veth|pod1|cni0/.test(line));
  return lines.map((line) => line.replace(/^\d+: /, "")).sort().join("\n"); // a device made anew has another number
}

/** Waits until a node's kernel holds again what it held. */
export async function restored(member: Member, before: string, timeout: number): Promise<void> {
  let now = "";
  await until(`${member.node.name} is as before`, async () => (now = await kernelOf(member)) === before, {
    timeout,
    state: () => `It differs:\n${difference(before, now)}\nIts agent's log ends:\n${member.agent.tail()}`,
  });
}

function difference(before: string, now: string): string {
  const [old, fresh] = [before.split("\n"), now.split("\n")];
  const missing = old.filter((line) => !fresh.includes(line)).map((line) => `- ${line}`);
  return [...missing, ...fresh.filter((line) => !old.includes(line)).map((line) => `+ ${line}`)].join("\n");
}
