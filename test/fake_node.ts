/**
 * An agent on a node in memory: fake kernel, fake store, virtual clock, seeded chance.
 *
 * @module
 */

import { Agent, type AgentOptions } from "../src/agent.ts";
import type { SubnetFile } from "../src/agent/ports.ts";
import { parseCommand } from "../src/config/command.ts";
import type { Settings } from "../src/config/settings.ts";
import type { Cidr, Ip } from "../src/model/ip.ts";
import { parseCidr, parseIp } from "../src/model/ip.ts";
import type { Backends } from "../src/model/backend_port.ts";
import { type PeerReport, reasonNotReady, type Report } from "../src/model/report.ts";
import { openBackends } from "../src/plugins.ts";
import { FakeKernel } from "./fake_kernel.ts";
import type { FakeCluster, FakeStore } from "./fake_store.ts";
import { type Seeded, seeded } from "./seed.ts";
import type { VirtualClock } from "./virtual_clock.ts";

/** What a node is made of; what is left out is as on a node of the test's segment A. */
export interface FakeNodeOptions {
  readonly name: string;
  readonly clock: VirtualClock;
  readonly cluster: FakeCluster;
  readonly chance?: Seeded;
  /** The address of `eth0`, in a `/24`. */
  readonly ip?: string;
  /** The IPv6 address of `eth0`, in a `/64`. */
  readonly ip6?: string;
  readonly flags?: readonly string[];
  readonly kind?: string;
  readonly relieve?: () => Promise<void>;
  readonly nexthopObjects?: boolean;
  /** The built-in ones if absent. */
  readonly backends?: Backends;
}

/** subnet.env in memory. */
export class FakeFile implements SubnetFile {
  text: string | null = null;
  /** Every text that was written. */
  readonly written: string[] = [];
  /** Writing fails with this. */
  fails: string | null = null;

  read(): Promise<string | null> {
    return Promise.resolve(this.text);
  }

  write(text: string): Promise<void> {
    if (this.fails !== null) return Promise.reject(new Error(this.fails));
    this.text = text;
    this.written.push(text);
    return Promise.resolve();
  }
}

/** A node; the agent on it may be started and stopped, while the kernel and the file stay. */
export class FakeNode {
  readonly name: string;
  readonly kernel: FakeKernel;
  readonly store: FakeStore;
  readonly file = new FakeFile();
  /** All that agents on this node have logged. */
  readonly log: string[] = [];
  readonly traffic = { intents: 0, lastError: null as string | null };
  settings: Settings;
  agent: Agent;
  /** Why the agent ended; `undefined` while it runs, `null` if it was asked to. */
  ended: Error | null | undefined;
  readonly #o: FakeNodeOptions;
  readonly #chance: Seeded;
  #stop = new AbortController();
  #running: Promise<void> = Promise.resolve();

  constructor(options: FakeNodeOptions) {
    const { name, cluster, ip = "192.0.2.1", ip6, flags = [], kind, nexthopObjects } = options;
    this.#o = options;
    this.#chance = options.chance ?? seeded(1);
    this.name = name;
    const addresses: [Ip, number][] = [[parseIp(ip), 24], ...(ip6 === undefined ? [] : [[parseIp(ip6), 64]] as [Ip, number][])];
    this.kernel = new FakeKernel({ nexthopObjects: nexthopObjects ?? true, devices: [{ name: "eth0", addresses }] });
    this.kernel.otherRoute(parseCidr("0.0.0.0/0"), "eth0", parseIp("192.0.2.254"));
    if (ip6 !== undefined) this.kernel.otherRoute(parseCidr("::/0"), "eth0", parseIp("fe80::1"));
    this.store = cluster.open(name, kind);
    this.settings = settingsOf(flags);
    this.agent = new Agent(this.#options());
  }

  /** Starts the agent, with other flags if they are given. */
  start(flags?: readonly string[]): void {
    if (flags !== undefined) this.settings = settingsOf(flags);
    this.agent = new Agent(this.#options());
    this.#stop = new AbortController();
    this.ended = undefined;
    this.#running = this.agent.run(this.#stop.signal).then(() => void (this.ended = null), (error) => void (this.ended = error));
  }

  /** Asks the agent to stop, and waits until it has. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("SIGTERM was received"));
    await this.#running;
  }

  /** What a dry run would change. */
  dryRun() {
    return Agent.dryRun(this.#options(), new AbortController().signal);
  }

  get report(): Report {
    return this.agent.report();
  }

  /** Why the node is not ready; `null` if it is. */
  get notReady(): string | null {
    return reasonNotReady(this.report.conditions);
  }

  /** This node's subnet. */
  get subnet(): Cidr {
    const { subnet } = this.report.lease;
    if (subnet === null) throw new Error(`${this.name} has no subnet: ${this.notReady}`);
    return subnet;
  }

  /** What the agent says of a peer in IPv4. */
  peer(subnet: Cidr): PeerReport["sides"][number] | undefined {
    return this.report.peers.flatMap(({ sides }) => sides).find((side) => side.subnet === subnet);
  }

  #options(): AgentOptions {
    const { name, clock } = this.#o;
    const { traffic } = this;
    return {
      version: "test",
      node: () => name,
      settings: this.settings,
      backends: this.#o.backends ?? openBackends({ folders: [], log: () => {} }),
      kernel: this.kernel,
      store: this.store,
      storeNote: null,
      traffic: {
        keep: () => traffic.intents++,
        get state() {
          const { lastError } = traffic;
          return {
            held: "iptables-nft",
            inPlace: lastError === null,
            clean: true,
            lastError,
            repairs: 0,
            lastRepair: null,
          } as const;
        },
      },
      subnetFile: this.file,
      clock,
      chance: this.#chance,
      relieve: this.#o.relieve ?? null,
      log: (level, message) => this.log.push(`${level} ${message}`),
    };
  }
}

/** The settings of an agent with etcd. */
function settingsOf(flags: readonly string[]): Settings {
  const command = parseCommand("agent", ["--etcd-endpoints=http://127.0.0.1:2379", ...flags], {});
  if (command.name !== "agent") throw new Error(`These are no flags of an agent: ${flags.join(" ")}`);
  return command.settings;
}
