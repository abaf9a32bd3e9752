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
import { Beginning } from "./agent/beginning.ts";
import { logResult } from "./agent/change_log.ts";
import { Configuration } from "./agent/configuration.ts";
import { EffectCalls } from "./agent/effects.ts";
import { dryRun } from "./agent/dry_run.ts";
import { EnvFile } from "./agent/env_file.ts";
import { LeaseNews } from "./agent/lease_news.ts";
import { Lookout } from "./agent/lookout.ts";
import { Macs, published } from "./agent/node.ts";
import { fits, OwnLease } from "./agent/own_lease.ts";
import type { AgentOptions } from "./agent/options.ts";
import { Records } from "./agent/records.ts";
import { kernelStanding } from "./agent/report.ts";
import { type Setup, StartError } from "./agent/setup.ts";
import { conditionsOf, reportOf, type State } from "./agent/status.ts";
import { Surroundings } from "./agent/surroundings.ts";
import { TrafficAim } from "./agent/traffic.ts";
import { type Change, isSilent } from "./model/item.ts";
import type { Ownership } from "./model/kernel.ts";
import type { Lease } from "./model/lease.ts";
import type { Conditions, Report } from "./model/report.ts";
import { Reconciler } from "./reconcile/reconciler.ts";

export { type AgentOptions, StartError };

/** A cycle that failed, and a file that could not be written, are tried again after so long, in milliseconds. */
const RETRY = { cycle: 1_000, file: 5_000 };

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
  readonly #ownLease: OwnLease;
  readonly #leases: LeaseNews;
  readonly #beginning: Beginning;
  readonly #lookout: Lookout;
  #former: Ownership["networks"] = [];
  /** What this node publishes may be another than before. */
  #publishDirty = true;
  #lastSync: number | null = null;
  #kernelProblem: string | null = null;
  #fatal: StartError | null = null;

  constructor(options: AgentOptions) {
    const { kernel, settings, subnetFile, clock, chance, log, node, relieve, backends: { devices } } = options;
    this.#o = options;
    this.#alarm = new Alarm(clock);
    this.#surroundings = new Surroundings(kernel, settings);
    this.#macs = new Macs(() => chance.mac());
    this.#reconciler = new Reconciler(kernel);
    this.#lookout = new Lookout(this.#alarm, clock, (kinds) => this.#reconciler.mark(kinds));
    this.#configuration = new Configuration(
      { ...options, macs: this.#macs },
      () => this.#lookout.askForFacts(),
      () => this.#onAnswer(),
    );
    this.#effects = new EffectCalls({ node, clock, log, changed: () => this.#onAnswer() });
    this.#envFile = new EnvFile(subnetFile, settings, log);
    this.#traffic = new TrafficAim(options);
    const [surroundings, records, macs, reconciler] = [this.#surroundings, this.#records, this.#macs, this.#reconciler];
    this.#aim = new Aim({ kernel, records, surroundings, macs, reconciler, blackhole: settings.blackholeRoute, devices });
    const changed = () => this.#alarm.poke();
    const ownLease = new OwnLease({ ...options, renewMargin: settings.renewMarginMinutes * 60_000, changed });
    const leases = new LeaseNews({ ...options, records, ownLease, inParts: relieve !== null, changed });
    this.#beginning = new Beginning({ ...options, surroundings, macs, ownLease, leases });
    [this.#ownLease, this.#leases] = [ownLease, leases];
  }

  /**
   * Runs until the signal ends it.
   *
   * @throws {StartError} If it can not start for a reason that does not pass by itself.
   */
  async run(signal: AbortSignal): Promise<void> {
    const { subnets, networks } = await this.#envFile.read();
    this.#former = networks;
    this.#ownLease.prefer(subnets);
    using _watch = this.#o.kernel.watch(() => this.#aim.own, (dirty) => this.#lookout.heard(dirty));
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
      this.#leases.takeNext();
      try {
        await this.#cycle();
      } catch (error) {
        const { message } = error as Error;
        if (message !== this.#kernelProblem) this.#o.log("error", message);
        this.#kernelProblem = message;
        this.#alarm.set("retry", RETRY.cycle);
      }
      if (this.#stopsFor() !== null) return;
      const { setup } = this.#configuration;
      if (setup !== null && await this.#beginning.goOn(setup, signal, tasks)) this.#publish(setup);
      await this.#o.relieve?.();
      if (this.#leases.isWaiting) this.#alarm.poke();
    }
  }

  #stopsFor(): StartError | null {
    return this.#configuration.fatal ?? this.#fatal;
  }

  async #cycle(): Promise<void> {
    const { setup } = this.#configuration;
    if (setup === null || !this.#surroundings.isAssigned) return;
    if (this.#lookout.factsDue) this.#look(setup);
    if (this.#publishDirty && !this.#beginning.isLooking) this.#publish(setup);
    if (this.#surroundings.external === null) return;
    if (this.#beginning.resumed !== null) await this.#resume(setup, this.#beginning.resumed);
    const lease = this.#ownLease.lease;
    if (lease === null || !fits(lease, setup)) return;
    if (!await this.#reconcile(setup, lease)) return;
    this.#traffic.keep(this.#aim.sides, setup.network.nftables, this.#former);
    const needed = this.#aim.nodeItems(setup);
    if (!await this.#envFile.keep(this.#aim.sides, needed, this.#reconciler.observed)) this.#alarm.set("subnet.env", RETRY.file);
    if (this.#envFile.problem === null) {
      this.#effects.follow(this.#aim.sides, this.#aim.plan, this.#records.full);
    }
    this.#lookout.audit();
    if (needed.some(isSilent)) this.#lookout.mind();
  }

  /**
   * Makes the kernel hold what this node is about to publish, before it does: as soon as others read of another backend or device, they
   * send to it. Nothing is dropped meanwhile, since they still send to what was published before.
   */
  async #resume(setup: Setup, lease: Lease): Promise<void> {
    if (fits(lease, setup) && this.#beginning.holdsResumed) {
      if (!this.#records.full || !await this.#reconcile(setup, lease)) return;
    }
    this.#beginning.endResuming();
    this.#publish(setup);
  }

  #look(setup: Setup): void {
    this.#surroundings.look(setup.network, setup.backend.links, this.#lookout.factsRead());
    const { facts, external, problem } = this.#surroundings;
    this.#macs.know(facts, null);
    if (external === null) this.#fatal = new StartError(problem!);
    else if (this.#beginning.isLooking) this.#effects.prepare(setup.backend, []); // it is known, and closed if another takes its place
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
    if (endpoints !== null && this.#beginning.publishes) this.#ownLease.want({ network, backendType: backend.type, endpoints });
  }

  /** Makes the kernel hold what is planned; `false` while the backend has not said enough to plan anew. */
  async #reconcile(setup: Setup, lease: Lease): Promise<boolean> {
    const { clock, log } = this.#o;
    const now = clock.now();
    const { state } = this.#effects;
    if (state === null) return false;
    const former = [...this.#former, ...this.#configuration.former];
    const dropStale = this.#records.full && this.#beginning.resumed === null;
    const { goal, current, settlesAt } = this.#aim.take(setup, lease, { state: state.value, former, dropStale, now });
    if (settlesAt !== null) this.#alarm.set("ways", settlesAt - now);
    if (goal === null) return false;
    if (this.#leases.isWaiting) await this.#o.relieve?.();
    const result = await this.#reconciler.reconcile(goal, now);
    this.#kernelProblem = null;
    logResult(result, log);
    if (result.retryAt !== null) this.#alarm.set("retry", Math.max(result.retryAt - now, 10));
    if (this.#records.full && kernelStanding(this.#aim.plan, this.#reconciler).missing.length === 0) this.#lastSync = now;
    return current;
  }

  /** A backend or its effects have something new to say. */
  #onAnswer(): void {
    this.#publishDirty = true;
    this.#alarm.poke();
  }
}
