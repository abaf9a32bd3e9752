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

import { Aim } from "./agent/aim.ts";
import { Alarm } from "./agent/alarm.ts";
import { Configuration } from "./agent/configuration.ts";
import { EffectCalls } from "./agent/effects.ts";
import { dryRun } from "./agent/dry_run.ts";
import { EnvFile } from "./agent/env_file.ts";
import { Macs, published } from "./agent/node.ts";
import { fits, OwnLease } from "./agent/own_lease.ts";
import { endless, persist } from "./agent/patience.ts";
import type { AgentOptions } from "./agent/options.ts";
import { partsOf, Records } from "./agent/records.ts";
import { kernelStanding } from "./agent/report.ts";
import { type Setup, StartError } from "./agent/setup.ts";
import { conditionsOf, reportOf, type State } from "./agent/status.ts";
import { Surroundings } from "./agent/surroundings.ts";
import { TrafficAim } from "./agent/traffic.ts";
import { type Cidr, contains } from "./model/ip.ts";
import { type Change, describe, isSilent, type Item, keyOf, KINDS, same, SILENT } from "./model/item.ts";
import type { Dirty, Ownership } from "./model/kernel.ts";
import type { Lease, LeaseEvent } from "./model/lease.ts";
import type { Conditions, Report } from "./model/report.ts";
import { Reconciler } from "./reconcile/reconciler.ts";
import type { PodRange } from "./traffic/rules.ts";

export { type AgentOptions, StartError };

/** Facts are read again at most so often, in milliseconds: every new pod is an event. */
const FACTS_PAUSE = 100;
/** An audit of everything catches what nobody told us; in milliseconds. */
const AUDIT = 5 * 60_000;
/** What the kernel tells nothing of is looked at so often, in milliseconds. */
const SILENCE = 10_000;
/** A cycle that failed, and a file that could not be written, are tried again after so long, in milliseconds. */
const RETRY = { cycle: 1_000, file: 5_000 };
/** Changes and failures that one cycle writes to the log at the most. */
const LOGGED = { changes: 50, failures: 10 };

const ALL: readonly Dirty[] = ["facts", ...KINDS];

/** The agent. */
export class Agent {
  readonly #o: AgentOptions;
  readonly #alarm: Alarm;
  readonly #surroundings: Surroundings;
  readonly #configuration: Configuration;
  readonly #envFile: EnvFile;
  readonly #records = new Records();
  readonly #macs: Macs;
  readonly #traffic: TrafficAim;
  readonly #reconciler: Reconciler;
  readonly #aim: Aim;
  readonly #effects: EffectCalls;
  /** News of leases that are not taken over yet: where there is little memory, one is at a time. */
  readonly #news: LeaseEvent[] = [];
  #ownLease: OwnLease;
  #former: Ownership["networks"] = [];
  #formerRanges: readonly PodRange[] = [];
  #factsReadAt = -Infinity;
  #factsDirty = true;
  /** It is known when to look at what the kernel tells nothing of. */
  #minded = false;
  /** What this node publishes may be another than before. */
  #publishDirty = true;
  #lastSync: number | null = null;
  #kernelProblem: string | null = null;
  #fatal: StartError | null = null;
  #stage: "looking" | "resuming" | "holding" | "following" = "looking";
  /** While resuming: the lease that the store still has for this node. */
  #resumed: Lease | null = null;

  constructor(options: AgentOptions) {
    const { kernel, settings, subnetFile, clock, chance, log, node, backends: { devices } } = options;
    this.#o = options;
    this.#alarm = new Alarm(clock);
    this.#surroundings = new Surroundings(kernel, settings);
    this.#macs = new Macs(() => chance.mac());
    this.#configuration = new Configuration({ ...options, macs: this.#macs }, () => {
      this.#factsDirty = true;
      this.#alarm.poke();
    }, () => this.#onAnswer());
    this.#effects = new EffectCalls({ node, clock, log, changed: () => this.#onAnswer() });
    this.#envFile = new EnvFile(subnetFile, settings.subnetFile, log);
    this.#traffic = new TrafficAim(options);
    this.#reconciler = new Reconciler(kernel);
    this.#aim = new Aim({
      kernel,
      records: this.#records,
      surroundings: this.#surroundings,
      macs: this.#macs,
      reconciler: this.#reconciler,
      blackhole: settings.blackholeRoute,
      devices,
    });
    this.#ownLease = this.#newOwnLease([]);
  }

  /**
   * Runs until the signal ends it.
   *
   * @throws {StartError} If it can not start for a reason that does not pass by itself.
   */
  async run(signal: AbortSignal): Promise<void> {
    await this.#readFormer();
    using _watch = this.#o.kernel.watch(() => this.#aim.own, (dirty) => this.#onKernel(dirty));
    const ended = new AbortController();
    const all = AbortSignal.any([signal, ended.signal]);
    all.addEventListener("abort", () => this.#alarm.poke());
    const tasks = [this.#configuration.follow(all), this.#effects.run(all), this.#askForPublicIps(all)];
    try {
      await this.#loop(all, tasks);
      const fatal = this.#stopsFor();
      if (fatal !== null) throw fatal;
    } finally {
      ended.abort();
      this.#alarm.clear();
      await Promise.allSettled(tasks);
    }
  }

  /** What an agent with these options would change in the kernel now; nothing is written, not even a lease. */
  static dryRun(options: AgentOptions, signal: AbortSignal): Promise<readonly Change[]> {
    return dryRun(options, signal);
  }

  /** What the agent says about itself. */
  report(): Report {
    return reportOf(this.#state());
  }

  /** Whether it is ready: what the report says of that alone, at no cost. */
  conditions(): Conditions {
    return conditionsOf(this.#state());
  }

  #state(): State {
    const { version, node, store, storeNote, clock } = this.#o;
    const { external, problem } = this.#surroundings;
    const { setup } = this.#configuration;
    const input = setup === null ? null : this.#aim.input(setup);
    return {
      version,
      node: node(),
      now: clock.now(),
      store: { kind: store.kind, health: () => store.health(), note: storeNote },
      setup,
      external,
      publicIps: setup === null ? [] : this.#surroundings.publicIps(setup.network),
      lease: this.#ownLease.lease,
      mtu: input?.mtu ?? null,
      plan: this.#aim.plan,
      rejected: this.#aim.rejected,
      standing: this.#reconciler,
      repairs: this.#reconciler.repairs,
      lastSync: this.#lastSync,
      fullList: this.#records.full,
      effects: this.#effects,
      problems: {
        backend: setup?.backend.problem ?? this.#effects.problem,
        config: this.#configuration.problem,
        external: problem,
        lease: this.#ownLease.problem,
        lost: this.#ownLease.lost,
        subnetEnv: this.#envFile.problem,
        traffic: this.#traffic.problem,
        kernel: this.#kernelProblem,
      },
    };
  }

  #newOwnLease(previous: readonly Cidr[]): OwnLease {
    const { store, clock, log, chance, settings } = this.#o;
    const renewMargin = settings.renewMarginMinutes * 60_000;
    return new OwnLease({ store, clock, log, chance, renewMargin, changed: () => this.#alarm.poke() }, previous);
  }

  async #readFormer(): Promise<void> {
    const { subnets, networks } = await this.#envFile.read();
    this.#former = networks;
    this.#formerRanges = networks.flatMap(({ network }) => {
      const subnet = subnets.find((subnet) => contains(network, subnet));
      return subnet === undefined ? [] : [{ network, subnet }];
    });
    this.#ownLease = this.#newOwnLease(subnets);
  }

  /** Asks for the addresses by which the device is chosen. */
  async #askForPublicIps(signal: AbortSignal): Promise<void> {
    try {
      this.#surroundings.assign(await this.#o.store.configuredPublicIps?.(signal) ?? []);
    } catch (error) {
      if (!signal.aborted) this.#fatal = new StartError((error as Error).message);
    }
    this.#alarm.poke();
  }

  /** One cycle after another, each when something asks for it. */
  async #loop(signal: AbortSignal, tasks: Promise<void>[]): Promise<void> {
    while (true) {
      await this.#alarm.next();
      if (signal.aborted || this.#stopsFor() !== null) return;
      const news = this.#news.shift();
      if (news !== undefined) this.#onLeases(news);
      try {
        await this.#cycle();
      } catch (error) {
        const { message } = error as Error;
        if (message !== this.#kernelProblem) this.#o.log("error", message);
        this.#kernelProblem = message;
        this.#alarm.set("retry", RETRY.cycle);
      }
      if (this.#stopsFor() !== null) return;
      await this.#goOn(signal, tasks);
      await this.#o.relieve?.();
      if (this.#news.length > 0) this.#alarm.poke();
    }
  }

  /** Begins what the next step needs: to hold a lease, once it is known what to publish, and then to follow those of others. */
  async #goOn(signal: AbortSignal, tasks: Promise<void>[]): Promise<void> {
    const { setup } = this.#configuration;
    const { external, facts } = this.#surroundings;
    if (setup === null || external === null) return;
    if (this.#stage === "looking") {
      const publicIps = this.#surroundings.publicIps(setup.network);
      const previous = await persist(() => this.#o.store.previousLease(publicIps, signal), this.#o, signal);
      this.#macs.know(facts, previous);
      tasks.push(this.#ownLease.run(signal));
      if (previous === null || !this.#holds(previous)) return this.#hold(setup);
      this.#stage = "resuming";
      this.#resumed = previous;
      this.#publish(setup);
      tasks.push(this.#followLeases(signal));
    } else if (this.#stage === "holding" && this.#ownLease.lease !== null) { // every list of leases has our own now
      this.#stage = "following";
      tasks.push(this.#followLeases(signal));
    }
  }

  /** Publishes from now on. */
  #hold(setup: Setup): void {
    this.#stage = this.#resumed === null ? "holding" : "following";
    this.#resumed = null;
    this.#publish(setup);
  }

  #holds({ expiresAt }: Lease): boolean {
    return expiresAt === null || expiresAt > this.#o.clock.now();
  }

  #stopsFor(): StartError | null {
    return this.#configuration.fatal ?? this.#fatal;
  }

  async #cycle(): Promise<void> {
    const { setup } = this.#configuration;
    if (setup === null || !this.#surroundings.isAssigned) return;
    if (this.#factsDirty) this.#look(setup);
    if (this.#publishDirty && this.#stage !== "looking") this.#publish(setup);
    if (this.#surroundings.external === null) return;
    if (this.#resumed !== null) await this.#resume(setup, this.#resumed);
    const lease = this.#ownLease.lease;
    if (lease === null || !fits(lease, setup)) return;
    if (!await this.#reconcile(setup, lease)) return;
    this.#traffic.keep(this.#aim.sides, setup.network.nftables, this.#formerRanges);
    await this.#writeSubnetEnv(setup);
    if (this.#envFile.problem === null) {
      this.#effects.follow(this.#aim.sides, this.#aim.plan.peers, this.#records.full);
    }
    this.#alarm.set("audit", AUDIT, () => this.#onKernel(new Set(ALL)));
    this.#mind(setup);
  }

  /**
   * Makes the kernel hold what this node is about to publish, before it does: as soon as others read of another backend or device, they
   * send to it. Nothing is dropped meanwhile, since they still send to what was published before.
   */
  async #resume(setup: Setup, lease: Lease): Promise<void> {
    if (fits(lease, setup) && this.#holds(lease)) {
      if (!this.#records.full || !await this.#reconcile(setup, lease)) return;
    }
    this.#hold(setup);
  }

  #mind(setup: Setup): void {
    if (this.#minded || !this.#aim.nodeItems(setup).some(isSilent)) return;
    this.#minded = true;
    this.#alarm.set("silence", SILENCE, () => {
      this.#minded = false;
      this.#onKernel(new Set(SILENT));
    });
  }

  #look(setup: Setup): void {
    this.#factsDirty = false;
    this.#factsReadAt = this.#o.clock.now();
    this.#surroundings.look(setup.network, setup.backend.links);
    const { facts, external, problem } = this.#surroundings;
    this.#macs.know(facts, null);
    if (external === null) this.#fatal = new StartError(problem!);
    else if (this.#stage === "looking") this.#effects.prepare(setup.backend, []); // it is known, and closed if another takes its place
    else this.#publishDirty = true;
  }

  /** Says what the lease shall hold, as soon as the backend has said it. */
  #publish(setup: Setup): void {
    const { network, backend } = setup;
    this.#publishDirty = false;
    this.#effects.prepare(backend, this.#aim.bareSides(setup));
    const { state } = this.#effects;
    const input = this.#aim.input(setup);
    const endpoints = state === null || input === null ? null : published({ ...input, state: state.value });
    if (endpoints !== null && this.#stage !== "resuming") this.#ownLease.want({ network, backendType: backend.type, endpoints });
  }

  /** Makes the kernel hold what is planned; `false` while the backend has not said enough to plan anew. */
  async #reconcile(setup: Setup, lease: Lease): Promise<boolean> {
    const { clock, log } = this.#o;
    const now = clock.now();
    const { state } = this.#effects;
    if (state === null) return false;
    const former = [...this.#former, ...this.#configuration.former];
    const dropStale = this.#records.full && this.#resumed === null;
    const { goal, current, settlesAt } = this.#aim.take(setup, lease, { state: state.value, former, dropStale, now });
    if (settlesAt !== null) this.#alarm.set("ways", settlesAt - now);
    if (goal === null) return false;
    if (this.#news.length > 0) await this.#o.relieve?.();
    const { changed, failed, retryAt } = await this.#reconciler.reconcile(goal, now);
    this.#kernelProblem = null;
    changed.slice(0, LOGGED.changes).forEach((change) => log("info", `${verb(change)} ${describe(change.item)}`));
    if (changed.length > LOGGED.changes) log("info", `and ${changed.length - LOGGED.changes} more changes`);
    failed.slice(0, LOGGED.failures).forEach((reason) => log("warning", reason));
    if (retryAt !== null) this.#alarm.set("retry", Math.max(retryAt - now, 10));
    if (this.#records.full && kernelStanding(this.#aim.plan, this.#reconciler).missing.length === 0) this.#lastSync = now;
    return current;
  }

  async #writeSubnetEnv(setup: Setup): Promise<void> {
    const { sides } = this.#aim;
    const needed = this.#aim.nodeItems(setup).filter((item) => item.kind !== "reverse-path");
    const missing = needed.find((item) => !inPlace(this.#reconciler, item));
    if (missing !== undefined) return this.#envFile.wait(`subnet.env waits for ${describe(missing)}`);
    const written = await this.#envFile.write({
      networks: sides.map(({ network }) => network),
      subnets: sides.map(({ subnet }) => subnet),
      mtu: sides[0]!.mtu,
      ipMasq: this.#o.settings.ipMasq,
    });
    if (!written) this.#alarm.set("subnet.env", RETRY.file);
  }

  async #followLeases(signal: AbortSignal): Promise<void> {
    for await (const event of endless(() => this.#o.store.watch(signal), this.#o, signal)) {
      if (this.#o.relieve === null) this.#onLeases(event);
      else this.#news.push(...this.#records.full ? [event] : partsOf(event));
      this.#alarm.poke();
    }
  }

  #onLeases(event: LeaseEvent): void {
    this.#records.take(event);
    const own = this.#ownLease.lease;
    if (own === null) return;
    const other = this.#records.otherSubnets(own, event);
    if (this.#records.lacks(own.key, event)) this.#ownLease.lose(`the store has no lease ${own.key} any more`);
    else if (other !== null) this.#ownLease.lose(`the store gives ${own.key} the subnet ${other} now`);
  }

  /** A backend or its effects have something new to say. */
  #onAnswer(): void {
    this.#publishDirty = true;
    this.#alarm.poke();
  }

  #onKernel(dirty: ReadonlySet<Dirty>): void {
    this.#reconciler.mark(dirty);
    if (!dirty.has("facts") || dirty.size > 1) this.#alarm.poke();
    if (!dirty.has("facts")) return;
    const wait = this.#factsReadAt + FACTS_PAUSE - this.#o.clock.now();
    this.#alarm.set("facts", Math.max(0, wait), () => this.#factsDirty = true);
  }
}

function inPlace({ observed }: Reconciler, item: Item): boolean {
  const found = observed.get(keyOf(item));
  return found !== undefined && same(item, found);
}

function verb(change: Change): string {
  return change.op === "drop" ? "deleted" : change.old === null ? "added" : "replaced";
}
