/**
 * A node of the lab: a host on a segment, with the agent it runs and the pods behind it.
 *
 * Pods are attached as flannel's bridge plugin attaches them: a bridge `cni0` with the subnet's first address, and a veth pair for each.
 *
 * @module
 */

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./command.ts";
import { Agent } from "./agent.ts";
import { Host, type Place } from "./host.ts";
import { familyOf, type Ip, parseIp, plus } from "../../src/model/ip.ts";
import { agentCommand } from "./paths.ts";

/** What all nodes of a lab share. */
export interface Shared {
  /** The file of the embedded lease store. */
  readonly leaseDb: string;
  /** The file with the network's configuration. */
  readonly netConf: string;
}

/** How an agent is started. */
export interface AgentOptions {
  /** `--backend`; none is given if absent. */
  readonly backend?: string;
  /** Further arguments, after all others. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The command line up to the flags; that of {@linkcode agentCommand} if absent. */
  readonly command?: readonly string[];
  /** `embedded` (the default) gives the lab's lease database and net-conf; `none` leaves the store to `args` and `env`. */
  readonly store?: "embedded" | "none";
  /** Where it serves its status: on a unix `socket` (the default), or on its usual `port` as on a real node. */
  readonly status?: "socket" | "port";
}

/** What an agent writes to subnet.env, by variable. */
export type SubnetEnv = Readonly<Record<string, string>>;

/** A machine with pods. */
export class Node extends Host {
  /** The segment it stands on. */
  readonly segment: string;
  /** The router's link to this node: `router.ip("link set <port> down")` pulls the cable. */
  readonly port: string;
  /** Where its agent writes subnet.env. */
  readonly subnetFile: string;
  readonly #shared: Shared;
  readonly #pods: Host[] = [];

  /** @param place A namespace that exists and is wired. */
  constructor(place: Place, segment: string, port: string, shared: Shared) {
    super(place);
    this.segment = segment;
    this.port = port;
    this.subnetFile = join(this.dir, "subnet.env");
    this.#shared = shared;
  }

  /** The pods added so far. */
  get pods(): readonly Host[] {
    return this.#pods;
  }

  /** Starts an agent here. Wait for {@linkcode Agent.ready} next. */
  agent(options: AgentOptions = {}): Agent {
    const { command = agentCommand(), store = "embedded", env = {} } = options;
    const socket = options.status === "port" ? null : join(this.dir, "status.sock");
    const embedded = [`--lease-db=${this.#shared.leaseDb}`, `--net-config-path=${this.#shared.netConf}`];
    const argv = [
      ...command,
      `--node-name=${this.name}`,
      "--iptables-forward-rules=false", // the lab forwards everything; cases about rules say so in their args
      `--subnet-file=${this.subnetFile}`,
      ...(socket === null ? [] : [`--status-listen=unix:${socket}`]),
      ...(store === "embedded" ? embedded : []),
      ...(options.backend === undefined ? [] : [`--backend=${options.backend}`]),
      ...(options.args ?? []),
    ];
    return new Agent(
      this,
      this.spawn(argv, { log: "agent", env: { WIREGUARD_KEY_FILE: join(this.dir, "wgkey"), ...env } }),
      socket,
    );
  }

  /** What the agent wrote to subnet.env. @throws {Error} If there is no file. */
  subnetEnv(): SubnetEnv {
    const lines = readFileSync(this.subnetFile, "utf8").split("\n").filter((line) => line.includes("="));
    return Object.fromEntries(lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]));
  }

  /** Writes subnet.env by hand, for tests without an agent. */
  writeSubnetEnv(env: SubnetEnv): void {
    writeFileSync(this.subnetFile, Object.entries(env).map(([name, value]) => `${name}=${value}\n`).join(""));
  }

  /**
   * Adds a pod.
   *
   * @param env The subnet; what {@linkcode subnetEnv} reads if absent.
   * @returns The pod, with addresses from .2 on and default routes over `cni0`.
   */
  async addPod(env: SubnetEnv = this.subnetEnv()): Promise<Host> {
    const number = this.#pods.length + 1;
    const [gateways, mtu] = [gatewaysOf(env), env["FLANNEL_MTU"] ?? "1500"];
    const addresses = gateways.map((gateway) => plus(gateway.ip, number));
    const [name, namespace] = [`pod${number}`, `${this.namespace}-pod${number}`];
    const pod = new Host({
      name: `${this.name}-${name}`,
      namespace,
      dir: join(this.dir, name),
      ipv4: addresses.find((ip) => familyOf(ip) === 4) ?? null,
      ipv6: addresses.find((ip) => familyOf(ip) === 6) ?? null,
    });
    this.#pods.push(pod);
    if (number === 1) await this.#addBridge(gateways, mtu);
    await run(["ip", "netns", "add", namespace]);
    await this.ip(
      `link add ${name} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${namespace}`,
      `link set ${name} master cni0 up`,
    );
    await pod.ip(
      "link set lo up",
      "link set eth0 up",
      ...gateways.map(({ length }, i) => `addr add ${addresses[i]}/${length} dev eth0${flags(addresses[i]!)}`),
      ...gateways.map(({ ip }) => `route add default via ${ip}`),
    );
    return pod;
  }

  async #addBridge(gateways: readonly Gateway[], mtu: string): Promise<void> {
    await this.ip(
      `link add cni0 mtu ${mtu} type bridge mcast_snooping 0`,
      ...gateways.map(({ ip, length }) => `addr add ${ip}/${length} dev cni0${flags(ip)}`),
      "link set cni0 up",
    );
  }
}

/** The node's own address in a subnet, which is the pods' gateway. */
interface Gateway {
  readonly ip: Ip;
  readonly length: string;
}

function gatewaysOf(env: SubnetEnv): Gateway[] {
  const texts = [env["FLANNEL_SUBNET"], env["FLANNEL_IPV6_SUBNET"]].filter((text) => text !== undefined);
  if (texts.length === 0) throw new Error(`subnet.env names no subnet: ${JSON.stringify(env)}`);
  return texts.map((text) => {
    const [ip, length] = text.split("/");
    return { ip: parseIp(ip!), length: length! };
  });
}

/** Without nodad an IPv6 address is of no use for a second. */
export function flags(ip: Ip): string {
  return familyOf(ip) === 6 ? " nodad" : "";
}
