/**
 * What the executable was asked to do. Commands that prepare a node for its container runtime are done at once, with little memory and
 * without loading the agent; it is loaded for all others.
 *
 * @module
 */

import { basename } from "node:path";
import process from "node:process";
import { installCni, installConf } from "../cni/install.ts";
import { type Command, parseCommand } from "../config/command.ts";
import { UsageError } from "../config/errors.ts";
import { hideSecretArgument } from "./secret_args.ts";

/** The commands that need nothing of the agent. */
export type Light = Extract<
  Command,
  { readonly name: "help" | "install-cni" | "install-conf" | "docker-opts" | "plugin check" | "plugin new" }
>;

const stdout = (text: string) => void process.stdout.write(text);
const stderr = (text: string) => void process.stderr.write(text);
const say = (line: string) => stdout(`${line}\n`);

/** Runs what the arguments ask for; resolves with the exit code. */
export async function start(argv0: string, args: readonly string[]): Promise<number> {
  try {
    hideSecretArgument("etcd-password");
    return await run(parseCommand(argv0, args, process.env));
  } catch (error) {
    return tell(error);
  }
}

async function run(command: Command): Promise<number> {
  switch (command.name) {
    case "help":
      stdout(command.text);
      return 0;
    case "install-cni":
      installCni({ ...command, executable: ownExecutable() }, say);
      return 0;
    case "install-conf": {
      const [source, target, ...more] = command.args;
      if (source === undefined || target === undefined || more.length > 0) throw new Error("Usage: install-conf SOURCE TARGET");
      installConf(source, target, say);
      return 0;
    }
    case "docker-opts": {
      const { dockerOpts } = await import("../cni/docker_opts.ts");
      const { spawn } = await import("./spawn.ts");
      return await dockerOpts(command.args, { env: process.env, stdout, stderr, spawn });
    }
    case "plugin check": {
      const { checkPlugin } = await import("./plugin.ts");
      return await checkPlugin(command.file, command.json);
    }
    case "plugin new": {
      const { newPlugin } = await import("./plugin.ts");
      return newPlugin(command.backend);
    }
    default: {
      const { main } = await import("./main.ts");
      return await main(command);
    }
  }
}

/** @throws {Error} If this program runs from its sources, so that its executable is the runtime's. */
function ownExecutable(): string {
  if (!/^(bun|deno)\b/.test(basename(process.execPath))) return process.execPath;
  throw new Error(`Cannot install "${process.execPath}" as a CNI plugin: only the compiled agent is one (npm run build)`);
}

/** Errors that say all there is to say. */
const PLAIN = ["StartError", "ConfigError", "UsageError", "ListenError", "BackendError"];

/** How an error is told: usage errors are the user's, all others are ours or the system's. */
function tell(error: unknown): number {
  const { name, message, stack } = error instanceof Error ? error : new Error(String(error));
  stderr(`agent: ${message}\n`);
  if (process.env["WEFT_TRACE"] !== undefined && !PLAIN.includes(name)) stderr(`${stack}\n`);
  return error instanceof UsageError ? 2 : 1;
}
