/**
 * The agent: the event loop that brings settings, leases and the kernel together.
 *
 * Lease, kernel and timer events only mark what is to be looked at again; one cycle at a time then makes the kernel hold what the
 * latest state asks for. Stopping leaves everything in place. It reads no clock, file or randomness by itself: all that is handed in.
 *
 * ```text
 * configuration ─┐
 * kernel facts ──┼─► sides ─► what to publish ─► own lease ─┐
 * lease events ──┴─► fold ─► peers ─────────────────────────┴─► plan ─► reconcile ─► subnet.env, report
 * ```
 *
 * @module
 */

import { chooseExternal, type External } from "./agent/external.ts";
import { familiesOf, Macs, type NodeInput, ownershipOf, podMtu, published, sidesOf } from "./agent/node.ts";
import { OwnLease } from "./agent/own_lease.ts";
import type { Chance, Clock, Log, SubnetFile } from "./agent/ports.ts";
import { kernelStanding, reportPeers } from "./agent/report.ts";
import { settleWays, type Way } from "./agent/ways.ts";
import { parseNetConf } from "./config/net_conf.ts";
import type { Settings } from "./config/settings.ts";
import { parseSubnetEnv, previousSubnets, renderSubnetEnv } from "./config/subnet_env.ts";
import type { Backend, NodeSide } from "./model/backend.ts";
import { foldKeys } from "./model/fold_keys.ts";
import { type Cidr, familyOf, type Ip, lengthOf } from "./model/ip.ts";
import { type Change, describe, type Item, keyOf, KINDS, same } from "./model/item.ts";
import type { Dirty, Facts, Kernel, Lookup, Ownership } from "./model/kernel.ts";
import { endpointOf, type Lease, type LeaseEvent, type LeaseRecord, type LeaseStore, type Network } from "./model/lease.ts";
import type { Problem, Report } from "./model/report.ts";
import { fold, type Rejected } from "./reconcile/fold.ts";
import { nexthopIds } from "./reconcile/nexthops.ts";
import { checkWith, type Plan, Planner } from "./reconcile/plan.ts";
import { Reconciler } from "./reconcile/reconciler.ts";

/** What an agent is made of. */
export interface AgentOptions {
  readonly version: string;
  readonly node: string;
  readonly settings: Settings;
  readonly backends: readonly Backend[];
  readonly kernel: Kernel;
  readonly store: LeaseStore;
  /** What the operator should know of this kind of store; `null` if nothing. */
  readonly storeNote: string | null;
  readonly subnetFile: SubnetFile;
  readonly clock: Clock;
  readonly chance: Chance;
  readonly log: Log;
}

/** The agent could not start, for a reason that does not pass by itself. */
export class StartError extends Error {
  override readonly name = "StartError";
}

/** The network configuration with its backend. */
interface Setup {
  readonly network: Network;
  readonly backend: Backend;
  readonly options: unknown;
}

/** Facts are read again at most so often, in milliseconds: on a busy node every new pod is an event. */
const FACTS_PAUSE = 100;
/** An audit of everything catches what nobody told us; in milliseconds. */
const AUDIT = 5 * 60_000;

/** The agent. */
export class Agent {
  readonly #o: AgentOptions;
  readonly #reconciler: Reconciler;
  readonly #planner = new Planner();
  readonly #macs: Macs;
  readonly #timers = new Map<string, () => void>();
  #ownLease: OwnLease;
  #former: Ownership["networks"] = [];
  #setup: Setup | null = null;
  #configProblem: string | null = "the network configuration has not been read yet";
  #facts: Facts = { links: [], addresses: [] };
  #factsReadAt = -Infinity;
  #factsDirty = true;
  #external: External | null = null;
  #externalProblem: string | null = null;
  #sides: readonly NodeSide[] = [];
  #sidesKey = "";
  #ways: ReadonlyMap<Ip, Way> = new Map();
  #segments: readonly string[] = [];
  /** The kernel's answers for the peers' addresses, as of the last look at the facts. */
  #lookups: ReadonlyMap<Ip, Lookup> = new Map();
  #records = new Map<string, LeaseRecord>();
  #fullList = false;
  #plan: Plan = { items: new Map(), peers: [], waiting: [] };
  #rejected: readonly Rejected[] = [];
  #own: Ownership = { links: [], networks: [], nexthops: new Set(), reversePath: [] };
  #subnetEnv: string | null = null;
  #subnetEnvProblem: string | null = null;
  #lastSync: number | null = null;
  #kernelProblem: string | null = null;
  #wake: () => void = () => {};
  #woken = false;
  #fatal: StartError | null = null;

  constructor(options: AgentOptions) {
    this.#o = options;
    this.#reconciler = new Reconciler(options.kernel);
    this.#macs = new Macs(() => options.chance.mac());
    this.#ownLease = this.#newOwnLease([]);
  }

  /**
   * Runs until the signal ends it.
   *
   * @throws {StartError} If it can not start for a reason that does not pass by itself.
   */
  async run(signal: AbortSignal): Promise<void> {
    await this.#readFormer();
    using _watch = this.#o.kernel.watch(() => this.#own, (dirty) => this.#onKernel(dirty));
    const ended = new AbortController();
    const all = AbortSignal.any([signal, ended.signal]);
    const tasks = [this.#followConfig(all), this.#loop(all)];
    all.addEventListener("abort", () => this.#poke());
    try {
      await Promise.race([...tasks, new Promise((resolve) => signal.addEventListener("abort", resolve))]);
      if (this.#fatal !== null) throw this.#fatal;
    } finally {
      ended.abort();
      this.#timers.forEach((cancel) => cancel());
      await Promise.allSettled(tasks);
    }
  }

  /** What an agent with these options would change in the kernel now; nothing is written, not even a lease. */
  static async dryRun(options: AgentOptions, signal: AbortSignal): Promise<readonly Change[]> {
    const agent = new Agent(options);
    await agent.#readFormer();
    for await (const text of options.store.networkConfig(signal)) {
      agent.#configure(text);
      break;
    }
    agent.#refreshFacts();
    if (agent.#fatal !== null) throw agent.#fatal;
    const before = await options.store.previousLease(agent.#publicIps(), signal);
    if (before === null) {
      throw new StartError("This node has no lease yet, so there is nothing to plan with: start the agent first");
    }
    for await (const event of options.store.watch(signal)) {
      agent.#onLeases(event);
      break;
    }
    agent.#macs.know(agent.#facts, before);
    return agent.#changes(before);
  }

  /** What the agent says about itself. */
  report(): Report {
    const { version, node, store, storeNote } = this.#o;
    const lease = this.#ownLease.lease;
    const [v4, v6] = ([4, 6] as const).map((family) => lease === null ? undefined : endpointOf(lease, family));
    const standing = { observed: this.#reconciler.observed, failures: this.#reconciler.failures };
    const { inSync, missing } = kernelStanding(this.#plan, standing);
    const networkOf = (family: 4 | 6) =>
      this.#setup?.network.ranges.find(({ network }) => familyOf(network) === family)?.network ?? null;
    const publicOf = (family: 4 | 6) => this.#publicIps().find((ip) => familyOf(ip) === family) ?? null;
    const input = this.#input();
    return {
      version,
      node,
      conditions: this.#conditions(missing),
      backend: this.#setup?.backend.name ?? null,
      network: { ipv4: networkOf(4), ipv6: networkOf(6) },
      store: { kind: store.kind, ...store.health(), note: storeNote },
      lease: {
        subnet: v4?.subnet ?? null,
        ipv6Subnet: v6?.subnet ?? null,
        publicIP: v4?.publicIp ?? publicOf(4),
        publicIPv6: v6?.publicIp ?? publicOf(6),
        expiresAt: lease?.expiresAt ?? null,
      },
      link: {
        name: this.#external?.link.name ?? null,
        address: this.#external?.addresses.get(4) ?? this.#external?.addresses.get(6) ?? null,
        mtu: this.#external?.link.mtu ?? null,
      },
      mtu: input === null ? null : podMtu(input),
      peers: reportPeers(this.#plan, this.#rejected, standing),
      kernel: { items: inSync, pending: missing.length, repairs: this.#reconciler.repairs, lastSync: this.#lastSync },
      reversePath: [],
      problems: this.#problems(),
    };
  }

  #newOwnLease(previous: readonly Cidr[]): OwnLease {
    const { store, clock, log, chance, settings } = this.#o;
    return new OwnLease({
      store,
      clock,
      log,
      random: () => chance.number(),
      renewMargin: settings.renewMarginMinutes * 60_000,
      changed: () => this.#poke(),
    }, previous);
  }

  /** What the last run left in subnet.env: the subnets to ask for again, and the networks whose items may still be there. */
  async #readFormer(): Promise<void> {
    const text = await this.#o.subnetFile.read();
    if (text === null) return;
    this.#subnetEnv = text;
    this.#ownLease = this.#newOwnLease(previousSubnets(text));
    try {
      const { networks, subnets } = parseSubnetEnv(text, this.#o.settings.subnetFile);
      this.#former = networks.flatMap((network) => {
        const subnet = subnets.find((subnet) => familyOf(subnet) === familyOf(network));
        return subnet === undefined ? [] : [{ network, length: lengthOf(subnet) }];
      });
    } catch (error) {
      this.#o.log("warning", `The old ${this.#o.settings.subnetFile} is not used: ${(error as Error).message}`);
    }
  }

  async #followConfig(signal: AbortSignal): Promise<void> {
    const { store, log } = this.#o;
    for await (
      const text of endless(
        () => store.networkConfig(signal),
        signal,
        this.#retry(signal, (problem) => this.#configProblem = problem),
      )
    ) {
      const first = this.#setup === null;
      try {
        this.#configure(text);
      } catch (error) {
        this.#configProblem = (error as Error).message;
        if (first && store.kind !== "etcd") { // a file that is wrong from the start stays wrong
          this.#fatal = new StartError(this.#configProblem);
          return;
        }
        log("error", this.#configProblem);
      }
      this.#factsDirty = true;
      this.#poke();
    }
  }

  /** Takes over a network configuration, or throws what is wrong with it. */
  #configure(text: string): void {
    const { settings, backends, store, log } = this.#o;
    const source = store.kind === "etcd" && settings.store.kind === "etcd"
      ? `${settings.store.prefix}/config`
      : settings.netConfig.path;
    const { network, warnings } = parseNetConf(text, { source, allocates: store.kind !== "kubernetes" });
    warnings.forEach((warning) => log("warning", warning));
    const name = settings.backend ?? network.backendType;
    const backend = backends.find((backend) => backend.name === name);
    if (backend === undefined) {
      const known = backends.map((backend) => backend.name).join(", ");
      throw new StartError(
        `There is no backend "${name}" (${
          settings.backend === null ? `Backend.Type in ${source}` : "--backend"
        }); there are: ${known}`,
      );
    }
    const checked = checkWith(
      backend.options,
      foldKeys(network.backendOptions, optionNames(backend, network.backendOptions)).value,
    );
    if ("issue" in checked) throw new StartError(`The Backend in ${source} is wrong for ${name}: ${checked.issue}`);
    if (name !== network.backendType) {
      log(
        "info",
        `--backend=${name} stands in for the type "${network.backendType}" in ${source}; options that ${name} does not have are left out`,
      );
    }
    this.#setup = { network, backend, options: checked.value };
    this.#configProblem = null;
  }

  /** One cycle after another, each when something asks for it. */
  async #loop(signal: AbortSignal): Promise<void> {
    const tasks: Promise<void>[] = [];
    while (!signal.aborted && this.#fatal === null) {
      await this.#nextWake();
      if (signal.aborted) break;
      try {
        await this.#cycle();
      } catch (error) {
        this.#kernelProblem = (error as Error).message;
        this.#o.log("error", this.#kernelProblem);
        this.#timer("retry", 1_000, () => this.#poke());
      }
      if (tasks.length === 0 && this.#external !== null) {
        const before = await this.#previousLease(signal);
        if (signal.aborted) break;
        this.#macs.know(this.#facts, before);
        this.#publish();
        tasks.push(this.#ownLease.run(signal), this.#followLeases(signal));
      }
    }
    await Promise.allSettled(tasks);
  }

  async #cycle(): Promise<void> {
    if (this.#setup === null) return;
    if (this.#factsDirty) this.#refreshFacts();
    const lease = this.#ownLease.lease;
    if (this.#external === null || lease === null) return;
    await this.#reconcile(this.#setup, lease);
    await this.#writeSubnetEnv();
    this.#timer("audit", AUDIT, () => this.#onKernel(new Set(ALL)));
  }

  #input(): NodeInput | null {
    if (this.#setup === null || this.#external === null) return null;
    return { ...this.#setup, external: this.#external, segments: this.#segments, ways: () => this.#ways, macs: this.#macs };
  }

  #refreshFacts(): void {
    const { kernel, clock, settings } = this.#o;
    this.#factsDirty = false;
    this.#factsReadAt = clock.now();
    this.#facts = kernel.facts();
    this.#lookups = new Map();
    this.#macs.know(this.#facts, null);
    const chosen = chooseExternal({
      families: familiesOf(this.#setup!.network),
      choices: settings.interfaces,
      publicIps: [settings.publicIp, settings.publicIpv6].filter((ip) => ip !== null),
      facts: this.#facts,
      defaultRoute: (family) => kernel.defaultRoute(family),
      lookup: (ip) => kernel.lookup([ip], this.#own.links).get(ip),
    });
    if ("reason" in chosen) {
      this.#externalProblem = `Cannot choose the device that leads to the other nodes: ${chosen.reason}`;
      if (this.#external === null) this.#fatal = new StartError(this.#externalProblem);
      return; // the device may come back; until then everything stays as it was
    }
    this.#externalProblem = null;
    this.#external = chosen;
    if (this.#ownLease.lease !== null) this.#publish();
  }

  #publicIps(): Ip[] {
    const { publicIp, publicIpv6 } = this.#o.settings;
    const families = this.#setup === null ? [] : familiesOf(this.#setup.network);
    return families.flatMap((family) => (family === 4 ? publicIp : publicIpv6) ?? this.#external?.addresses.get(family) ?? []);
  }

  #publish(): void {
    const input = this.#input()!;
    const { network, backend } = input;
    this.#ownLease.want({ network, backendType: backend.type, endpoints: published(input, this.#publicIps()) });
  }

  /** Sides are made anew only when something in them has changed, since plans are remembered by them. */
  #makeSides(input: NodeInput, lease: Lease): void {
    const sides = sidesOf(input, lease);
    const key = JSON.stringify([sides, input.backend.name, input.options]);
    if (key === this.#sidesKey) return;
    this.#sides = sides;
    this.#sidesKey = key;
  }

  async #reconcile(setup: Setup, lease: Lease): Promise<void> {
    const { clock, log } = this.#o;
    const now = clock.now();
    this.#prepare(setup, lease, now);
    const goal = { items: this.#plan.items, own: this.#own, waiting: this.#plan.waiting, dropStale: this.#fullList };
    const { changed, failed, retryAt } = await this.#reconciler.reconcile(goal, now);
    this.#kernelProblem = null;
    changed.slice(0, 50).forEach((line) => log("info", line));
    if (changed.length > 50) log("info", `and ${changed.length - 50} more changes`);
    failed.slice(0, 10).forEach((reason) => log("warning", reason));
    if (retryAt !== null) this.#timer("retry", Math.max(retryAt - now, 10), () => this.#poke());
    const standing = { observed: this.#reconciler.observed, failures: this.#reconciler.failures };
    if (this.#fullList && kernelStanding(this.#plan, standing).missing.length === 0) this.#lastSync = now;
  }

  /** Folds, looks and plans. */
  #prepare({ network, backend, options }: Setup, lease: Lease, now: number): void {
    const devices = backend.links(options);
    const addresses = this.#facts.addresses.filter(({ link }) => !devices.includes(link)).map(({ ip }) => ip);
    const { peers, rejected } = fold(this.#records.values(), { network, own: lease, addresses });
    this.#rejected = rejected;
    this.#settleWays(peers, devices, now);
    const input = this.#input()!;
    this.#makeSides(input, lease);
    const nexthops = new Set(nexthopIds(peers.flatMap(({ endpoints }) => endpoints.map(({ subnet }) => subnet))).values());
    this.#own = ownershipOf(input, this.#facts, nexthops, this.#former);
    this.#reconciler.observe(this.#own);
    const { nexthopObjects } = this.#o.kernel;
    this.#plan = this.#planner.plan({
      backend,
      options,
      sides: this.#sides,
      peers,
      nexthopObjects,
      foreign: this.#reconciler.foreign,
    });
  }

  /** Believes what the kernel says of the peers' addresses; it is asked again only for new ones, or when facts have changed. */
  #settleWays(peers: readonly Lease[], devices: readonly string[], now: number): void {
    const { kernel } = this.#o;
    const ips = [...new Set(peers.flatMap(({ endpoints }) => endpoints.map(({ publicIp }) => publicIp)))];
    const fresh = kernel.lookup(ips.filter((ip) => !this.#lookups.has(ip)), devices);
    this.#lookups = new Map(ips.map((ip) => [ip, fresh.get(ip) ?? this.#lookups.get(ip)!]));
    const { ways, settlesAt } = settleWays(this.#ways, this.#lookups, this.#facts.links, now);
    this.#ways = ways;
    if (settlesAt !== null) this.#timer("ways", settlesAt - now, () => this.#poke());
    const links = [...[...this.#lookups.values()].map(({ onLink }) => onLink), ...[...ways.values()].map(({ link }) => link)];
    this.#segments = [...new Set([this.#external!.link.name, ...links.filter((link) => link !== null).sort()])];
  }

  #changes(lease: Lease): readonly Change[] {
    const now = this.#o.clock.now();
    this.#prepare(this.#setup!, lease, now);
    return this.#reconciler.changes({ items: this.#plan.items, own: this.#own, waiting: this.#plan.waiting, dropStale: true }, now);
  }

  async #writeSubnetEnv(): Promise<void> {
    const node = this.#plan.items;
    const { subnetFile, settings, log } = this.#o;
    const nodeItems = this.#sides.flatMap((side) => this.#setup!.backend.node(side, this.#setup!.options));
    const failed = nodeItems.find((item) => item.kind !== "reverse-path" && !inPlace(this.#reconciler, item));
    if (failed !== undefined || node.size < nodeItems.length) {
      this.#subnetEnvProblem = `subnet.env waits for ${describe(failed!)}`;
      return;
    }
    const text = renderSubnetEnv({
      networks: this.#sides.map(({ network }) => network),
      subnets: this.#sides.map(({ subnet }) => subnet),
      mtu: this.#sides[0]!.mtu,
      ipMasq: settings.ipMasq,
    });
    if (text === this.#subnetEnv && this.#subnetEnvProblem === null) return;
    try {
      await subnetFile.write(text);
      this.#subnetEnv = text;
      this.#subnetEnvProblem = null;
    } catch (error) {
      this.#subnetEnvProblem = (error as Error).message;
      log("error", this.#subnetEnvProblem);
      this.#timer("subnet.env", 5_000, () => this.#poke());
    }
  }

  async #previousLease(signal: AbortSignal) {
    const { store } = this.#o;
    const retry = this.#retry(signal, () => {});
    while (!signal.aborted) {
      try {
        return await store.previousLease(this.#publicIps(), signal);
      } catch (error) {
        await retry(error);
      }
    }
    return null;
  }

  async #followLeases(signal: AbortSignal): Promise<void> {
    const { store } = this.#o;
    for await (const event of endless(() => store.watch(signal), signal, this.#retry(signal, () => {}))) {
      this.#onLeases(event);
      this.#poke();
    }
  }

  #onLeases(event: LeaseEvent): void {
    if (event.type === "snapshot") {
      this.#records = new Map(event.records.map((record) => [record.key, record]));
      this.#fullList = true;
    } else {
      for (const record of event.changed) this.#records.set(record.key, record);
      for (const key of event.removed) this.#records.delete(key);
    }
    const own = this.#ownLease.lease;
    if (own === null) return;
    const gone = event.type === "snapshot" ? !this.#records.has(own.key) : event.removed.includes(own.key);
    if (gone) this.#ownLease.lose(`the store has no lease ${own.key} any more`);
  }

  #onKernel(dirty: ReadonlySet<Dirty>): void {
    this.#reconciler.mark(dirty);
    if (!dirty.has("facts")) return this.#poke();
    const wait = this.#factsReadAt + FACTS_PAUSE - this.#o.clock.now();
    if (dirty.size > 1) this.#poke();
    this.#timer("facts", Math.max(0, wait), () => {
      this.#factsDirty = true;
      this.#poke();
    });
  }

  /** Why the agent is not ready, by condition. */
  #conditions(missing: readonly string[]): Report["conditions"] {
    const lease = this.#ownLease.lease;
    const expired = lease !== null && lease.expiresAt !== null && lease.expiresAt <= this.#o.clock.now();
    const none = this.#configProblem ?? this.#externalProblem ?? this.#ownLease.problem ?? "no lease has been taken yet";
    return {
      lease: lease === null ? none : expired ? "the lease has expired and could not be renewed" : null,
      subnetEnv: this.#subnetEnvProblem ??
        (this.#lastSync === null && lease === null ? "subnet.env has not been written yet" : null),
      traffic: null,
      kernel: this.#kernelProblem ??
        (!this.#fullList
          ? "the list of leases has not been read yet"
          : missing.length === 0
          ? this.#lastSync === null ? "the kernel has not been in sync yet" : null
          : `${missing.length} items are missing in the kernel: ${missing[0]}`),
    };
  }

  #problems(): Problem[] {
    const named = [
      ["The network configuration is not used", this.#setup === null ? null : this.#configProblem, null],
      ["The device that leads to the other nodes is missing", this.#externalProblem, null],
      ["The lease could not be renewed", this.#ownLease.problem, null],
      ["subnet.env could not be written", this.#subnetEnvProblem, null],
    ] as const;
    const found = named.flatMap(([what, why, remedy]) => why === null ? [] : [{ what, why, remedy }]);
    const failures = [...this.#reconciler.failures.values()].slice(0, 10);
    return [
      ...found,
      ...failures.map(({ item, reason }) => ({ what: `${describe(item)} is not in place`, why: reason, remedy: remedyFor(item) })),
    ];
  }

  /** Waits a little after a failure, longer each time. */
  #retry(signal: AbortSignal, note: (problem: string) => void): (error: unknown) => Promise<void> {
    let attempt = 0;
    return async (error) => {
      if (signal.aborted) return;
      const message = (error as Error).message;
      note(message);
      if (attempt === 0) this.#o.log("error", message);
      const pause = Math.min(1_000 * 2 ** attempt++, 30_000) * (0.5 + this.#o.chance.number() / 2);
      await new Promise<void>((resolve) => {
        const cancel = this.#o.clock.after(pause, resolve);
        signal.addEventListener("abort", () => (cancel(), resolve()), { once: true });
      });
    };
  }

  #timer(name: string, milliseconds: number, call: () => void): void {
    this.#timers.get(name)?.();
    this.#timers.set(name, this.#o.clock.after(milliseconds, () => (this.#timers.delete(name), call())));
  }

  #poke(): void {
    this.#woken = true;
    this.#wake();
  }

  async #nextWake(): Promise<void> {
    if (!this.#woken) await new Promise<void>((resolve) => this.#wake = resolve);
    this.#woken = false;
  }
}

const ALL: readonly Dirty[] = ["facts", ...KINDS];

/** Follows a stream that may fail, again and again. */
async function* endless<T>(
  open: () => AsyncIterable<T>,
  signal: AbortSignal,
  failed: (error: unknown) => Promise<void>,
): AsyncGenerator<T> {
  while (!signal.aborted) {
    try {
      yield* open();
      return;
    } catch (error) {
      await failed(error);
    }
  }
}

/** The names of a backend's options, where its schema tells them; keys of net-conf.json count whatever their case. */
function optionNames({ options }: Backend, given: Readonly<Record<string, unknown>>): string[] {
  return Object.keys("entries" in options ? options.entries as object : given);
}

function inPlace({ observed }: Reconciler, item: Item): boolean {
  const found = observed.get(keyOf(item));
  return found !== undefined && same(item, found);
}

function remedyFor(item: Item): string | null {
  return item.kind === "reverse-path" ? `sysctl -w net.ipv4.conf.${item.link}.rp_filter=2` : null;
}
