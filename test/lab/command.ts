/**
 * Programs run by the lab: one that is waited for, and one that goes on in the background with its output in a file.
 *
 * Every wait is bounded, and what fails says what it was, what the program said and what was seen last. No shell is involved.
 * On a slow machine, such as an emulated one, `WEFT_LAB_PATIENCE=10` makes all time-outs ten times as long.
 *
 * @module
 */

import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";

/** By how much all time-outs of the lab are longer than they say. */
export const PATIENCE = Number(process.env["WEFT_LAB_PATIENCE"] ?? 1);

/** How a program is run. */
export interface RunOptions {
  /** Milliseconds after which it is killed; 30,000 if absent. */
  readonly timeout?: number;
  /** What it reads on standard input. */
  readonly input?: string;
  /** Environment variables beside this process's own. */
  readonly env?: Readonly<Record<string, string>>;
}

/** What a program left. */
export interface Outcome {
  /** Its exit code; 128 + number if a signal ended it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end, whatever its exit code.
 *
 * @throws {Error} If it cannot be started or does not end in time.
 */
export async function attempt(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  const timeout = PATIENCE * (options.timeout ?? 30_000);
  const child = spawn(argv[0]!, argv.slice(1), { env: { ...process.env, ...options.env }, stdio: "pipe", detached: true });
  const [stdout, stderr]: [Buffer[], Buffer[]] = [[], []];
  child.stdout.on("data", (chunk: Buffer) => stdout.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => stderr.push(chunk));
  // A program that ends before it has read its input is judged by its exit code.
  child.stdin.on("error", () => {}).end(options.input ?? "");
  let late = false;
  const timer = setTimeout(() => (late = true, killGroup(child)), timeout);
  try {
    const code = await ending(child, "close");
    const outcome = { code, stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString() };
    if (late) throw new Error(`Cannot run "${argv.join(" ")}": not ended after ${timeout} ms\n${outcome.stdout}${outcome.stderr}`);
    return outcome;
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Runs a program to its end.
 *
 * @returns What it wrote to standard output.
 * @throws {Error} If its exit code is not 0, with what it wrote.
 */
export async function run(argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await attempt(argv, options);
  if (code === 0) return stdout;
  throw new Error(`Cannot run "${argv.join(" ")}": exit code ${code}: ${(stderr.trim() || stdout.trim()).slice(-2000)}`);
}

/** A program that goes on in the background; what it writes is appended to a file. */
export class Daemon implements AsyncDisposable {
  readonly pid: number;
  /** The file with all that it wrote. */
  readonly log: string;
  /** Settles with its exit code (128 + number if a signal ended it). */
  readonly exited: Promise<number>;
  /** Its exit code once it has ended, `null` before. */
  exitCode: number | null = null;
  readonly #name: string;
  readonly #child: ChildProcess;

  /** Starts a program; `name` is what errors call it. */
  constructor(name: string, argv: readonly string[], log: string, env: Readonly<Record<string, string>> = {}) {
    const output = openSync(log, "a");
    this.#child = spawn(argv[0]!, argv.slice(1), {
      env: { ...process.env, ...env },
      stdio: ["ignore", output, output],
      detached: true,
    });
    closeSync(output);
    this.#name = name;
    this.log = log;
    this.pid = this.#child.pid ?? 0;
    this.exited = ending(this.#child, "exit").then((code) => this.exitCode = code);
    this.exited.catch(() => {});
  }

  /** What it has written so far. */
  text(): string {
    return readFileSync(this.log, "utf8");
  }

  /** The last lines that it wrote. */
  tail(lines = 20): string {
    return this.text().trimEnd().split("\n").slice(-lines).join("\n");
  }

  /** Sends a signal; does nothing if it has ended. */
  signal(signal: NodeJS.Signals): void {
    if (this.exitCode === null) kill(this.pid, signal); // of a child that its own kill() has hit, Deno hides the exit code
  }

  /**
   * Asks it to end and waits.
   *
   * @returns Its exit code.
   * @throws {Error} If it goes on for longer than `patience` milliseconds; it is killed then.
   */
  async stop(signal: NodeJS.Signals = "SIGTERM", patience = 10_000): Promise<number> {
    const timeout = PATIENCE * patience;
    this.signal(signal);
    const code = await Promise.race([this.exited, sleep(timeout, null, { ref: false })]);
    if (code !== null) return code;
    await this[Symbol.asyncDispose]();
    throw new Error(`${this.#name} did not end within ${timeout} ms after ${signal}. It said last:\n${this.tail()}`);
  }

  /** Kills it and what it started. */
  async [Symbol.asyncDispose](): Promise<void> {
    killGroup(this.#child);
    await this.exited.catch(() => {});
  }
}

/** How {@linkcode until} waits. */
export interface UntilOptions {
  /** Milliseconds until it gives up; 10,000 if absent. */
  readonly timeout?: number;
  /** Milliseconds between two looks; 20 if absent. */
  readonly every?: number;
  /** What to add to the error: the last state, or a log's end. */
  readonly state?: () => string;
}

/**
 * Waits until `look` answers something other than `undefined`, `false` or `null`. An error of `look` counts as no answer.
 *
 * @param what What is waited for, as a sentence for the error: "a1 sees two peers".
 * @returns What `look` answered.
 * @throws {Error} At the time-out, with the last error of `look` and the state.
 */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  options: UntilOptions = {},
): Promise<NonNullable<Exclude<T, false>>> {
  const { every = 20 } = options;
  const timeout = PATIENCE * (options.timeout ?? 10_000);
  const end = performance.now() + timeout;
  let last = "";
  do {
    try {
      const answer = await look();
      if (answer !== undefined && answer !== null && answer !== false) return answer as NonNullable<Exclude<T, false>>;
      last = "";
    } catch (error) {
      last = (error as Error).message;
    }
    await sleep(every);
  } while (performance.now() < end);
  throw new Error([`Not within ${timeout} ms: ${what}`, last, options.state?.() ?? ""].filter((part) => part !== "").join("\n"));
}

/** Kills a program that was started as a group of its own, with what it has started: a child would keep the pipes open. */
function killGroup(child: ChildProcess): void {
  if (child.pid !== undefined) kill(-child.pid, "SIGKILL");
}

/** Sends a signal to a process, or to a group if negative; does nothing if nobody of it is left. */
function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

function ending(child: ChildProcess, event: "exit" | "close"): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once(
      event,
      (code: number | null, signal: NodeJS.Signals | null) => resolve(code ?? 128 + constants.signals[signal ?? "SIGKILL"]),
    );
  });
}
