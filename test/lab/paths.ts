/**
 * Where the repository and the runtimes are, and how a script, a test and the agent are started with them.
 *
 * @module
 */

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import process from "node:process";
import { PATIENCE } from "./command.ts";

const ROOT = resolve(import.meta.dirname!, "../..");

/** How long one lab test may take, in milliseconds; bun's own limit of 5 s is too short for leases that expire. */
const TEST_TIMEOUT = 120_000;

function underDeno(): boolean {
  return process.versions["deno"] !== undefined;
}

/** The command that runs a script under the runtime that runs this one. */
export function runtimeCommand(): string[] {
  return underDeno() ? [process.execPath, "run", "-A", "--no-check"] : [process.execPath];
}

/** The command that runs a script under Deno, whatever runs this one; flags of Deno's can follow. @throws {Error} If it is missing. */
export function denoCommand(): string[] {
  return [present(resolve(ROOT, "node_modules/.bin/deno"), "npm ci"), "run", "-A", "--no-check"];
}

/** The command that runs a test file under the runtime that runs this one. */
export function testCommand(): string[] {
  if (underDeno()) return [process.execPath, "test", "-A", "--no-check"];
  return [process.execPath, "test", "--timeout", String(PATIENCE * TEST_TIMEOUT)];
}

/**
 * The agent's command line up to its flags, as `WEFT_AGENT` chooses it: `binary` (the default), `bun` or `deno`.
 *
 * @throws {Error} If the choice is unknown or what it names is missing.
 */
export function agentCommand(choice = process.env["WEFT_AGENT"] ?? "binary"): string[] {
  const [binary, source] = [resolve(ROOT, "dist/agent"), resolve(ROOT, "src/cli.ts")];
  const runtime = resolve(ROOT, "node_modules/.bin", choice);
  switch (choice) {
    case "binary":
      return [present(binary, "npm run build")];
    case "bun":
      return [present(runtime, "npm ci"), source];
    case "deno":
      return [present(runtime, "npm ci"), "run", "-A", "--no-check", source];
    default:
      throw new Error(`WEFT_AGENT="${choice}" is not one of binary, bun, deno`);
  }
}

function present(file: string, remedy: string): string {
  if (!existsSync(file)) throw new Error(`Cannot start the agent: "${file}" is missing; run "${remedy}"`);
  return file;
}
