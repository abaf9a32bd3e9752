/**
 * The commands that look at the agent or are it: what each does with settings, ports and exit codes.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import process from "node:process";
import { type Driver, openDriver } from "../../ffi/mod.ts";
import { Agent, type AgentOptions, StartError } from "../agent.ts";
import type { Log } from "../agent/ports.ts";
import { chance, clock, keys, logTo, reliefOf, subnetFile } from "./adapters.ts";
import { describeLeftovers, leftovers, remove } from "./cleanup.ts";
import { lockNode } from "./lock.ts";
import { notifySystemd } from "./notify.ts";
import { openStore } from "./store.ts";
import type { Command as AnyCommand } from "../config/command.ts";
import type { Light } from "./start.ts";
import { quote, UsageError } from "../config/errors.ts";
import type { Settings } from "../config/settings.ts";
import { openKernel } from "../kernel/kernel.ts";
import { describe } from "../model/item.ts";
import { watchRuleset } from "../netlink/nftables.ts";
import type { ListenAddress } from "../model/listen.ts";
import { reasonNotReady } from "../model/report.ts";
import { BACKENDS, DEVICES, openBackends } from "../plugins.ts";
import { findPlugin } from "../plugins/find.ts";
import { createHealthApp, createStatusApp } from "../status/app.ts";
import { ask } from "../status/client.ts";
import { HEALTH_LIMITS, listen, type Listener, ListenError } from "../status/listen.ts";
import { renderPeers, renderStatus } from "../status/text.ts";
import { type OnRulesetChange, TrafficManager, type TrafficState } from "../traffic/manager.ts";
import { commandRunner } from "../traffic/run.ts";

/** The release that this source is of. */
const VERSION = "0.1.0";

/** A plan waits so many milliseconds for the lease store. */
const PLAN_LIMIT = 15_000;

/** What is asked for here. */
type Command = Exclude<AnyCommand, Light>;

const print = (text: string) => process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);

/** Runs a command; resolves with the exit code. */
export async function main(command: Command): Promise<number> {
  switch (command.name) {
    case "version":
      print(command.json ? JSON.stringify({ version: VERSION }) : `agent ${VERSION}`);
      return 0;
    case "status":
    case "peers":
      return await show(command);
    case "agent":
      return await loggedAgent(command.settings, command.warnings);
    case "plan":
      return await plan(command);
    case "cleanup":
      return await cleanup(command);
    default:
      return command satisfies never;
  }
}

async function show({ name, address, json }: Extract<Command, { name: "status" | "peers" }>): Promise<number> {
  const answer = await ask(address, `/v1/${name}`);
  print(json ? answer.text : name === "status" ? renderStatus(answer.value) : renderPeers(answer.value));
  return 0;
}

/** Milliseconds that never run backwards. */
const monotonic = { now: () => performance.now(), after: clock.after };

/** What every command that looks at the kernel needs; disposed of in reverse. With `readOnly` nothing is written to the store. */
async function open(settings: Settings, log: Log, readOnly = false) {
  checkBackend(settings);
  await using stack = new AsyncDisposableStack();
  const driver = await openDriver();
  const kernel = stack.use(openKernel(driver, { keys, nexthopObjects: process.env["WEFT_NEXTHOP_OBJECTS"] !== "off" }));
  const relief = reliefOf(process.constrainedMemory?.() ?? 0);
  const { watchFolder } = driver;
  const opened = await openStore(settings, { clock, chance, log, readOnly, watchFolder, version: VERSION, relief });
  const store = stack.use(opened.store);
  const options: AgentOptions = {
    version: VERSION,
    node: opened.node,
    settings,
    backends: openBackends({ folders: settings.pluginDirs, log }),
    kernel,
    store,
    storeNote: opened.note,
    traffic: stack.use(keeper(driver, log)),
    subnetFile: subnetFile(settings.subnetFile),
    clock,
    chance,
    log,
    relieve: relief === null ? null : () => relief.handBack(),
  };
  return { options, driver, attend: opened.attend, disposables: stack.move() };
}

/** @throws {UsageError} If `--backend` asks for one that does not exist. */
function checkBackend({ backend, pluginDirs }: Settings): void {
  if (backend === null || BACKENDS.some(({ name }) => name === backend) || findPlugin(backend, pluginDirs) !== null) return;
  const names = BACKENDS.map(({ name }) => name).join(", ");
  const folders = pluginDirs.map((folder) => `"${folder}"`).join(" or ");
  throw new UsageError(`Cannot use ${quote(backend)} for --backend: expected ${names} or the name of a file in ${folders}`);
}

/** Keeps the traffic rules; what goes wrong with them is logged once. */
function keeper(driver: Driver, log: Log): TrafficManager & AsyncDisposable {
  let last: string | null = null;
  const onState = ({ lastError, lastRepair, repairs }: TrafficState) => {
    if (lastError !== null && lastError !== last) log("warning", lastError);
    last = lastError;
    if (repairs > 0 && lastRepair !== null) log("debug", lastRepair);
  };
  const onRulesetChange = rulesetEvents(driver, log);
  const manager = new TrafficManager({ run: commandRunner(process.env), clock: monotonic, onRulesetChange, onState });
  return Object.assign(manager, { [Symbol.asyncDispose]: () => manager.close() });
}

/** Changes of nf_tables as they happen; `null` where the kernel does not tell of them. */
function rulesetEvents(driver: Driver, log: Log): OnRulesetChange | null {
  try {
    watchRuleset(driver, () => {})();
    return (changed) => watchRuleset(driver, changed);
  } catch (error) {
    log("debug", `Traffic rules are looked at every --iptables-resync only: ${(error as Error).message}`);
    return null;
  }
}

/** Runs the agent. Who reads lines of JSON gets its last words so too. */
async function loggedAgent(settings: Settings, warnings: readonly string[]): Promise<number> {
  const log = logTo((line) => process.stderr.write(line), settings.logFormat, settings.verbosity);
  try {
    return await runAgent(settings, warnings, log);
  } catch (error) {
    if (settings.logFormat !== "json") throw error;
    log("error", (error as Error).message);
    return error instanceof UsageError ? 2 : 1;
  }
}

async function runAgent(settings: Settings, warnings: readonly string[], log: Log): Promise<number> {
  warnings.forEach((warning) => log("warning", warning));
  const ended = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => ended.abort(new Error(`${signal} was received`)));
  await using lock = await lockNode(settings.subnetFile);
  if (lock === null) throw new StartError(`Another agent runs in this network namespace and writes "${settings.subnetFile}"`);
  const { options, driver, attend, disposables } = await open(settings, log);
  await using _ = disposables;
  if (options.storeNote !== null) log("info", options.storeNote);
  const agent = new Agent(options);
  disposables.use(await serve(settings, agent, options.node, log));
  log("info", `Weft ${VERSION} starts on ${options.node() ?? "this node"} with the ${options.store.kind} lease store`);
  const notReady = () => reasonNotReady(agent.conditions());
  const stopping = notifySystemd(process.env, (path, text) => driver.sendDatagram(path, text), notReady);
  ended.signal.addEventListener("abort", stopping);
  void attend?.(notReady, ended.signal);
  await agent.run(ended.signal);
  log("info", "Stopped; everything stays in place");
  return 0;
}

/** Opens the status API and the health port. */
async function serve(settings: Settings, agent: Agent, node: () => string | null, log: Log): Promise<AsyncDisposable> {
  await using stack = new AsyncDisposableStack();
  const report = () => agent.report();
  const conditions = () => agent.conditions();
  const onError = (error: Error) => log("warning", error.message);
  const hosts = () =>
    [node(), hostname(), ...Object.values(networkInterfaces()).flatMap((all) => all?.map(({ address }) => address) ?? [])]
      .filter((host) => host !== null);
  const { address, given } = settings.statusListen;
  if (address !== null) {
    const listener = await listenOrWarn(() => listen(createStatusApp({ report, conditions, hosts }), address, onError), given, log);
    if (listener !== null) stack.use(listener);
  }
  if (settings.healthz !== null) {
    stack.use(await listen(createHealthApp({ report, conditions }), settings.healthz as ListenAddress, onError, HEALTH_LIMITS));
  }
  return stack.move();
}

async function listenOrWarn(open: () => Promise<Listener>, given: boolean, log: Log): Promise<Listener | null> {
  try {
    return await open();
  } catch (error) {
    if (given || !(error instanceof ListenError)) throw error;
    log("warning", `${error.message}; the status API is off`);
    return null;
  }
}

async function plan({ settings, warnings, json }: Extract<Command, { name: "plan" }>): Promise<number> {
  const log = logTo((line) => process.stderr.write(line), settings.logFormat, settings.verbosity);
  warnings.forEach((warning) => log("warning", warning));
  const { options, disposables } = await open(settings, log, true);
  await using _ = disposables;
  const late = AbortSignal.timeout(PLAN_LIMIT);
  const changes = await Agent.dryRun(options, late).catch((error: Error) => {
    if (!late.aborted) throw error;
    const why = options.store.health().lastError ?? "it did not answer";
    throw new StartError(`Cannot plan: nothing came from the ${options.store.kind} lease store for ${PLAN_LIMIT / 1000} s: ${why}`);
  });
  if (json) print(JSON.stringify(changes));
  else if (changes.length === 0) print("Nothing to change: the kernel holds what is planned.");
  else print(changes.map((change) => `${verb(change)} ${describe(change.item)}`).join("\n"));
  return 0;
}

function verb(change: { readonly op: "put" | "drop"; readonly old?: unknown }): string {
  return change.op === "drop" ? "delete " : change.old === null ? "add    " : "replace";
}

async function cleanup({ settings, json, dryRun }: Extract<Command, { name: "cleanup" }>): Promise<number> {
  await using lock = await lockNode(settings.subnetFile);
  if (lock === null) throw new StartError(`An agent runs with "${settings.subnetFile}": stop it before cleaning up after it`);
  const text = await readSubnetFile(settings.subnetFile);
  using kernel = openKernel(await openDriver(), { keys });
  const run = commandRunner(process.env);
  const found = await leftovers(kernel, run, text, settings.subnetFile, DEVICES);
  const lines = describeLeftovers(found);
  if (json) print(JSON.stringify([...found.items, ...found.rules.map(({ what }) => ({ kind: "rules", what }))]));
  else if (lines.length === 0) print("Nothing to remove.");
  else print(lines.map((line) => `${dryRun ? "would remove" : "removes"} ${line}`).join("\n"));
  const failed = dryRun ? [] : await remove(kernel, run, found);
  failed.forEach((line) => process.stderr.write(`${line}\n`));
  return failed.length === 0 ? 0 : 1;
}

async function readSubnetFile(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new StartError(
      `Cannot read "${path}", which tells what to clean up: ${(error as Error).message}; name it with --subnet-file`,
    );
  }
}
