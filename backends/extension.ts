/**
 * The extension backend: commands of the administrator make the paths to the other nodes.
 *
 * Not built in: this file is put into `/etc/weft/backends`. Options, variables and what is published are flannel's
 * (`pkg/backend/extension`); commands are run through `sh -c`, as flannel's documentation has it. What other nodes publish reaches a
 * command in variables, which hold subnets and addresses that the agent has checked, and on its standard input, never in its text.
 *
 * Every command has a time limit, after which it is killed with all that it has started. Commands for different peers may run at the
 * same time, those for one peer run one after the other. Which peers were added is noted in a file that is gone after the next boot, as
 * their paths are: so the remove command is also run for peers that leave while no agent runs.
 *
 * @module
 */

import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, readlinkSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import type { Backend, EffectContext, EffectPeer, PeerChanges } from "../src/mod.ts";

/** How long a command may take, in seconds; the agent itself waits a little longer. */
const LIMITS = { start: 50, subnet: 10, shutdown: 8 };
/** How many peers are worked on at a time; one that takes longer than a second lets the next begin. */
const AT_ONCE = 4;
const SLOW = 1000;
/** How long output may still come after a command has ended, in milliseconds: what it left in the background may keep it open. */
const LAST_WORDS = 200;
/** The most that a node may publish, in characters. */
const LONGEST = 16_384;
/** The most that a message shows of an output, in characters. */
const SHOWN = 300;

const COMMANDS = [
  "PreStartupCommand",
  "PostStartupCommand",
  "ShutdownCommand",
  "SubnetAddCommand",
  "SubnetRemoveCommand",
] as const;

type Command = typeof COMMANDS[number];
/** The commands; empty where there is nothing to run. */
type Options = Readonly<Record<Command, string>>;
/** What the first command printed; `null` if there is none. */
type Data = string | null;

/** What a command is told. */
interface Words {
  readonly env: Readonly<Record<string, string>>;
  /** A line on its standard input. */
  readonly input: string;
}

const NOTHING: Words = { env: {}, input: "" };

/** Keys count whatever their case, and unknown ones do no harm, as in all of flannel's files. */
function options(value: unknown): Options {
  const given = new Map(Object.entries(Object(value)).map(([key, it]) => [key.toLowerCase(), it]));
  const commands: Partial<Record<Command, string>> = {};
  for (const name of COMMANDS) {
    const command = given.get(name.toLowerCase()) ?? "";
    if (typeof command !== "string" || command.includes("\0")) throw new Error(`${name}: expected a command for sh`);
    commands[name] = command;
  }
  return commands as Options;
}

function leaseData(value: unknown): Data {
  if (value === null || value === undefined) return null;
  if (typeof value !== "string") throw new Error("expected a string");
  const fault = unfit(value);
  if (fault !== null) throw new Error(fault);
  return value;
}

/** Why a text can not be published, or is not taken from others. */
function unfit(text: string): string | null {
  if (text.length > LONGEST) return `it is longer than ${LONGEST} characters`;
  return /[^\P{Cc}\t\n]/u.test(text) ? "it has control characters" : null;
}

/** The variables of flannel's commands; empty for a family that is not there. */
function variables(sides: readonly { readonly subnet: string; readonly publicIp: string }[]): Record<string, string> {
  const of = (v6: boolean) => sides.find(({ subnet }) => subnet.includes(":") === v6);
  const [v4, v6] = [of(false), of(true)];
  return {
    SUBNET: v4?.subnet ?? "",
    PUBLIC_IP: v4?.publicIp ?? "",
    IPV6SUBNET: v6?.subnet ?? "",
    PUBLIC_IPV6: v6?.publicIp ?? "",
  };
}

function wordsFor({ sides }: EffectPeer<Data>): Words {
  return { env: variables(sides), input: sides.find(({ data }) => data !== null)?.data ?? "" };
}

/**
 * Runs a command.
 *
 * @param limit Seconds.
 * @returns What it printed.
 * @throws {Error} If it fails or takes too long; with what it said.
 */
async function run(name: Command, command: string, { env, input }: Words, limit: number, signal: AbortSignal): Promise<string> {
  signal.throwIfAborted();
  const child = spawn("sh", ["-c", command], { env: { ...process.env, ...env }, detached: true });
  const [stdout, stderr] = [gather(child.stdout), gather(child.stderr)];
  child.stdin.on("error", () => {}).end(`${input}\n`); // a command need not read it
  let killed: string | null = null;
  const kill = (why: string) => {
    killed ??= why;
    if (child.pid !== undefined) killGroup(child.pid);
  };
  const timer = setTimeout(() => kill(`killed after ${limit} s`), limit * 1000);
  const onAbort = () => kill("killed, since nobody waits for it any more");
  signal.addEventListener("abort", onAbort);
  try {
    const end = await new Promise<string | null>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (code, by) => resolve(code === 0 ? null : code === null ? `ended by ${by}` : `exit code ${code}`));
    });
    const silent = Promise.all([stdout.ended, stderr.ended]);
    await Promise.race([silent, new Promise((resolve) => setTimeout(resolve, LAST_WORDS))]);
    const fault = killed ?? end;
    if (fault === null) return stdout.text().trim();
    const said = excerpt(stderr.text()) || excerpt(stdout.text());
    throw new Error(said === "" ? fault : `${fault}: ${said}`);
  } catch (error) {
    throw new Error(`${name}: ${(error as Error).message}`);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", onAbort);
    child.stdout.destroy();
    child.stderr.destroy();
  }
}

/** Collects the beginning of an output; the rest is read and forgotten. */
function gather(stream: NodeJS.ReadableStream): { readonly ended: Promise<void>; text(): string } {
  let text = "";
  stream.setEncoding("utf8");
  stream.on("data", (chunk: string) => text = (text + chunk).slice(0, LONGEST + 1)).on("error", () => {});
  return { ended: new Promise((resolve) => stream.once("close", resolve)), text: () => text };
}

/** Kills a command and what it has started, unless that made itself independent. */
function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch { // it has just ended
  }
}

/** The end of foreign text, on one line. */
function excerpt(text: string): string {
  return text.trim().slice(-SHOWN).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").toWellFormed();
}

/** Does something for each of a list, a few at a time; those that are slow hold nobody up for long. */
async function forEach<T>(list: readonly T[], act: (it: T) => Promise<void>): Promise<void> {
  const all: Promise<void>[] = [];
  const running = new Set<Promise<unknown>>();
  for (const it of list) {
    while (running.size >= AT_ONCE) await Promise.race(running);
    const work = act(it);
    let timer: ReturnType<typeof setTimeout>;
    const slow = new Promise((resolve) => timer = setTimeout(resolve, SLOW));
    const turn = Promise.race([work.finally(() => clearTimeout(timer)), slow]).finally(() => running.delete(turn));
    running.add(turn);
    all.push(work);
  }
  await Promise.all(all);
}

/** The peers for which the add command was run, with what it was told. */
class Added {
  readonly #file: string;
  #known: Map<string, Words> | null = null;

  /** @param file Where they are noted. */
  constructor(file: string) {
    this.#file = file;
  }

  /** By key; read from the file at first. What is not there or can not be read says that there are none. */
  get known(): Map<string, Words> {
    if (this.#known !== null) return this.#known;
    try {
      this.#known = new Map(Object.entries(JSON.parse(readFileSync(this.#file, "utf8"))));
    } catch {
      this.#known = new Map();
    }
    return this.#known;
  }

  /** Writes the file anew, as a whole. @throws {Error} If that fails. */
  save(): void {
    mkdirSync(dirname(this.#file), { recursive: true });
    writeFileSync(`${this.#file}.new`, JSON.stringify(Object.fromEntries(this.known)), { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
  }
}

/** The file of the agent in this network namespace. */
function noteFile(): string {
  return `/run/flannel/extension-${readlinkSync("/proc/self/ns/net").replace(/\D/g, "")}.json`;
}

/** Runs the commands for peers. */
class Peers {
  readonly #added: Added;
  /** Keys of the peers for which the add command was run by this agent, on the node as it is. */
  readonly #done = new Set<string>();
  /** Keys of the peers whose add command failed last time. */
  readonly #failed = new Set<string>();
  readonly #limit: number;

  constructor(added: Added, limit: number) {
    this.#added = added;
    this.#limit = limit;
  }

  /** The node is another: what was done may be gone. */
  again(): void {
    this.#done.clear();
  }

  /** Brings the peers to what they are now. @returns What went wrong, by key. */
  async change({ signal, log }: EffectContext, changes: PeerChanges<Data>, options: Options): Promise<Map<string, string>> {
    const { known } = this.#added;
    const failures = new Map<string, string>();
    const call = (name: Command, words: Words) =>
      options[name] === "" ? Promise.resolve("") : run(name, options[name], words, this.#limit, signal);
    const remove = async (key: string, words: Words) => {
      await call("SubnetRemoveCommand", words).catch(({ message }) => log("warning", `${key}: ${message}`));
      known.delete(key);
      this.#done.delete(key);
    };
    const add = async (key: string, words: Words) => {
      const before = known.get(key);
      const same = JSON.stringify(before) === JSON.stringify(words);
      if (same && this.#done.has(key)) return;
      // What stands there leads elsewhere, or is half of what was to be done: a command that adds would meet it.
      if (before !== undefined && !same) await remove(key, before);
      else if (this.#failed.has(key)) await remove(key, words);
      try {
        await call("SubnetAddCommand", words);
        this.#failed.delete(key);
        known.set(key, words);
        this.#done.add(key);
        log("debug", `SubnetAddCommand has added ${key}`);
      } catch (error) {
        const { message } = error as Error;
        // After a restart what it adds is there already, and commands such as `ip route add` then fail.
        if (same && !this.#failed.has(key)) return log("warning", `${key} was added before, and stays: ${message}`);
        this.#failed.add(key);
        failures.set(key, message);
      }
    };
    const gone = [...known].filter(([key]) => !changes.all.has(key));
    for (const key of this.#failed) if (!changes.all.has(key)) this.#failed.delete(key);
    await forEach(gone, ([key, words]) => remove(key, words));
    await forEach(changes.put, (peer) => add(peer.key, wordsFor(peer)));
    try {
      this.#added.save();
    } catch (error) {
      log("warning", `Cannot note which peers were added: ${(error as Error).message}`);
    }
    return failures;
  }
}

/**
 * Makes the backend.
 *
 * @param note The file with the peers that were added.
 * @param limits How long commands may take, in seconds.
 */
export function extension(note: () => string = noteFile, limits: typeof LIMITS = LIMITS): Backend<Options, Data, Data> {
  let peers: Peers | null = null;
  let published: Data | undefined;
  let toldBefore = "";
  const call = async (name: Command, options: Options, words: Words, limit: number, { signal }: EffectContext) =>
    options[name] === "" ? null : await run(name, options[name], words, limit, signal);
  return {
    name: "extension",
    api: 1,
    type: "extension",
    options,
    leaseData,
    mtu: (external) => external,
    links: () => [],
    adopts: false,
    publish: ({ state }) => state,
    node: () => [],
    peer: () => ({ path: "extension", items: [] }),
    effects: {
      /** Once for an agent, as in flannel: a device that is made anew would take all that is on it. */
      async start(context, _node, options) {
        if (published !== undefined) return published;
        const said = await call("PreStartupCommand", options, NOTHING, limits.start, context);
        const fault = said === null ? null : unfit(said);
        if (fault !== null) throw new Error(`PreStartupCommand: what it printed can not be published: ${fault}`);
        return published = said;
      },
      /** Once, and again for another subnet or address. */
      async ready(context, { sides }, options) {
        const network = sides.find(({ family }) => family === 4)?.network ?? "";
        const words = { env: { NETWORK: network, ...variables(sides) }, input: "" };
        if (JSON.stringify(words) === toldBefore) return;
        await call("PostStartupCommand", options, words, limits.start, context);
        toldBefore = JSON.stringify(words);
        peers?.again();
      },
      peers(context, changes, _node, options) {
        peers ??= new Peers(new Added(note()), limits.subnet);
        return peers.change(context, changes, options);
      },
      async stop(context, _node, options) {
        await call("ShutdownCommand", options, NOTHING, limits.shutdown, context);
      },
    },
  };
}

/** What `agent plugin check` works with. */
export const example = {
  options: { Type: "extension", PreStartupCommand: "echo node", SubnetAddCommand: "cat", SubnetRemoveCommand: "cat" },
  data: (n: number): string => `node ${n}`,
};

export default extension();
