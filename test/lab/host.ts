/**
 * One network namespace of the lab seen as a machine: programs run in it, packets and connections sent from it.
 *
 * @module
 */

import { mkdirSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { attempt, Daemon, type Outcome, run, type RunOptions, until } from "./command.ts";
import { Flow } from "./flow.ts";
import { runtimeCommand } from "./paths.ts";
import { parsePing, pingArguments, Pinger, type PingOptions, type PingResult } from "./ping.ts";

/** Where a host stands. */
export interface Place {
  /** Its name in the lab, such as `a1`. */
  readonly name: string;
  /** The name of its network namespace for `ip -n`. */
  readonly namespace: string;
  /** The folder for its files. */
  readonly dir: string;
  /** Its addresses without prefix length; `null` where it has none of the family. */
  readonly ipv4: string | null;
  readonly ipv6: string | null;
}

/** How a program in the background is started. */
export interface SpawnOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** The name of its log in the host's folder, without `.log`; the program's name if absent. */
  readonly log?: string;
}

/** How a connection is kept up. */
export interface FlowOptions {
  readonly family?: 4 | 6;
  /** Milliseconds between two messages; 10 if absent. */
  readonly interval?: number;
}

const TCP_PEER = resolve(import.meta.dirname!, "tcp_peer.ts");
const TCP_PORT = 7000;

/** A machine of the lab: a node, a pod or the router. */
export class Host implements Place {
  readonly name: string;
  readonly namespace: string;
  readonly dir: string;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly #daemons = new Set<Daemon>();
  readonly #names = new Map<string, number>();
  #server: Promise<unknown> | null = null;

  /** @param place A namespace that exists; the folder is made. */
  constructor(place: Place) {
    ({ name: this.name, namespace: this.namespace, dir: this.dir, ipv4: this.ipv4, ipv6: this.ipv6 } = place);
    mkdirSync(this.dir, { recursive: true });
  }

  /** Its IPv4 address. @throws {Error} If it has none. */
  get address(): string {
    return this.addressOf(4);
  }

  /** Its IPv6 address. @throws {Error} If it has none. */
  get address6(): string {
    return this.addressOf(6);
  }

  /** Its address of one family. @throws {Error} If it has none. */
  addressOf(family: 4 | 6): string {
    const address = family === 4 ? this.ipv4 : this.ipv6;
    if (address === null) throw new Error(`${this.name} has no IPv${family} address; was the lab made with { ipv6: true }?`);
    return address;
  }

  /** A command line that runs `argv` in this host's network. */
  command(argv: readonly string[]): string[] {
    return ["nsenter", `--net=/run/netns/${this.namespace}`, "--", ...argv];
  }

  /** Runs a program here to its end. @returns Its standard output. @throws {Error} If its exit code is not 0. */
  async exec(argv: readonly string[], options?: RunOptions): Promise<string> {
    return await run(this.command(argv), options);
  }

  /** Runs a program here to its end, whatever its exit code. */
  async attempt(argv: readonly string[], options?: RunOptions): Promise<Outcome> {
    return await attempt(this.command(argv), options);
  }

  /** Runs a program here and parses its output, as of `ip -j route`. No output is an empty list, as `ip` means it. */
  // deno-lint-ignore no-explicit-any -- what ip(8) prints has no published type, and a test names the fields it reads
  async json(argv: readonly string[]): Promise<any> {
    const text = await this.exec(argv);
    return text.trim() === "" ? [] : JSON.parse(text);
  }

  /** Carries out commands of ip(8), one a line, all in one process. @throws {Error} At the first that fails. */
  async ip(...lines: readonly string[]): Promise<void> {
    await run(["ip", "-n", this.namespace, "-batch", "-"], { input: lines.join("\n") });
  }

  /** Sets kernel parameters of this host's network, named as under /proc/sys: `net/ipv4/ip_forward`. */
  async sysctl(values: Readonly<Record<string, string | number>>): Promise<void> {
    const script = 'for pair; do echo "${pair#*=}" >"/proc/sys/${pair%%=*}" || exit 1; done';
    await this.exec(["sh", "-c", script, "sysctl", ...Object.entries(values).map(([name, value]) => `${name}=${value}`)]);
  }

  /** Starts a program here in the background. It is killed with the lab. */
  spawn(argv: readonly string[], { env = {}, log = argv[0]!.split("/").at(-1)! }: SpawnOptions = {}): Daemon {
    const daemon = new Daemon(`${log} on ${this.name}`, this.command(argv), join(this.dir, `${log}.log`), env);
    this.#daemons.add(daemon);
    daemon.exited.finally(() => this.#daemons.delete(daemon)).catch(() => {});
    return daemon;
  }

  /** Sends packets to an address and counts those that come back; all lost is a result, not an error. */
  async ping(address: string, { count = 3, ...options }: PingOptions = {}): Promise<PingResult> {
    const { interval = 0.01 } = options;
    const timeout = 30_000 + count * interval * 1000;
    const { stdout, stderr } = await this.attempt(pingArguments(address, { ...options, count }), { timeout });
    return parsePing(stdout + stderr);
  }

  /** Pings an address until stopped. Returns after the first answer. @throws {Error} If none comes in 5 s. */
  async pinger(address: string, options: PingOptions = {}): Promise<Pinger> {
    const daemon = this.spawn(pingArguments(address, options), { log: this.#fresh("ping") });
    const pinger = new Pinger(daemon);
    const ended = () => daemon.exitCode !== null;
    await until(`${address} answers ${this.name}`, () => pinger.received() > 0 || ended(), {
      timeout: 5000,
      state: () => daemon.tail(),
    });
    if (ended()) throw new Error(`Cannot ping ${address} from ${this.name}: ${daemon.tail()}`);
    return pinger;
  }

  /** Opens a TCP connection to another host and keeps messages going. @throws {Error} If it is not open within 5 s. */
  async connect(to: Host, { family = 4, interval = 10 }: FlowOptions = {}): Promise<Flow> {
    await to.#serve();
    const argv = [...runtimeCommand(), TCP_PEER, "connect", to.addressOf(family), String(TCP_PORT), String(interval)];
    const client = this.spawn(argv, { log: this.#fresh("tcp") });
    await said(client, "connected", `${this.name} connects to ${to.name}`);
    return new Flow(client);
  }

  /**
   * Writes down what changes in this host's network, with the time, as `ip -ts monitor` shows it.
   *
   * @param objects What to watch, such as `route`, `neigh`, `link`; all if absent.
   * @returns The running monitor: `text()` is what it saw.
   */
  async monitor(...objects: readonly string[]): Promise<Daemon> {
    const daemon = this.spawn(["ip", "-ts", "monitor", ...objects], { log: this.#fresh("monitor") });
    // It says nothing at the start, but its process holds a netlink socket once it listens.
    await until(`the monitor on ${this.name} listens`, () => {
      const sockets = readFileSync(`/proc/${daemon.pid}/net/netlink`, "utf8").split("\n");
      return sockets.some((line) => line.trim().split(/\s+/)[2] === String(daemon.pid));
    });
    return daemon;
  }

  /** Kills all that was started here. */
  async killAll(): Promise<void> {
    await Promise.all([...this.#daemons].map((daemon) => daemon[Symbol.asyncDispose]()));
  }

  #fresh(name: string): string {
    const number = (this.#names.get(name) ?? 0) + 1;
    this.#names.set(name, number);
    return `${name}-${number}`;
  }

  #serve(): Promise<unknown> {
    return this.#server ??= said(
      this.spawn([...runtimeCommand(), TCP_PEER, "serve", String(TCP_PORT)], { log: "tcp-server" }),
      "listening",
      `${this.name} serves TCP`,
    );
  }
}

async function said(daemon: Daemon, word: string, what: string): Promise<void> {
  await until(what, () => daemon.exitCode !== null || daemon.text().includes(word), { timeout: 5000, state: () => daemon.tail() });
  if (daemon.exitCode !== null) throw new Error(`Not so: ${what}: ${daemon.tail()}`);
}
