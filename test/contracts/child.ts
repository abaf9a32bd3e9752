/**
 * A script in a process of its own, under the runtime that runs the test; it answers line by line, in JSON.
 *
 * @module
 */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { createInterface } from "node:readline";
import { runtimeCommand } from "../lab/paths.ts";

const PATIENCE = 60_000;

/** A command in front of another that takes root's power over files away; none for who has no such power. */
export function asOrdinaryUser(): readonly string[] {
  return process.getuid?.() === 0 ? ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"] : [];
}

/** The process. Dispose of it to kill it. */
export class Child implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #lines: unknown[] = [];
  #failure = "";
  #ended = false;
  #heard: () => void = () => {};
  readonly #end: Promise<void>;

  /** @param wrapper A command that runs the command it is given, such as `setpriv`. */
  constructor(script: string, args: readonly string[], wrapper: readonly string[] = []) {
    const [command, ...rest] = [...wrapper, ...runtimeCommand(), script, ...args];
    this.#process = spawn(command!, rest, { stdio: ["pipe", "pipe", "pipe"] });
    this.#process.stderr!.on("data", (text) => this.#failure += text);
    this.#process.stdin!.on("error", () => {}); // it may have ended
    const lines = createInterface(this.#process.stdout!);
    lines.on("line", (line) => {
      this.#lines.push(JSON.parse(line));
      this.#heard();
    });
    this.#end = new Promise<void>((resolve) => {
      this.#process.on("error", (error) => (this.#failure += error.message, resolve()));
      this.#process.on("close", () => resolve());
    }).then(() => {
      this.#ended = true;
      this.#heard();
    });
  }

  /** All lines so far. */
  get lines(): readonly unknown[] {
    return this.#lines;
  }

  /** Waits until there are so many lines. */
  async until(count: number): Promise<void> {
    const deadline = performance.now() + PATIENCE;
    while (this.#lines.length < count) {
      const left = deadline - performance.now();
      if (this.#ended || left <= 0) assert.fail(`the child said ${JSON.stringify(this.#lines)} and then: ${this.#failure}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, left);
        this.#heard = () => (clearTimeout(timer), resolve());
      });
    }
  }

  /** Sends it the line it waits for. */
  go(): void {
    this.#process.stdin!.write("go\n");
  }

  /** Kills it, wherever it is, and waits for its end. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#end;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.kill();
  }
}
