/**
 * From the arguments and the environment to what the executable shall do.
 *
 * Pure: it reads no file, prints nothing and never exits. Wrong usage is a {@linkcode UsageError} of one line.
 *
 * @module
 */

import type { ListenAddress } from "../model/listen.ts";
import { type Environment, readFlags } from "./args.ts";
import { quote, UsageError } from "./errors.ts";
import { type CommandName, COMMANDS } from "./flag.ts";
import { renderHelp } from "./help.ts";
import { nearest } from "./nearest.ts";
import { type Settings, settingsOf } from "./settings.ts";

/** What to do. `warnings` are to be logged: flags and variables that do nothing. */
export type Command =
  | { readonly name: "help"; readonly text: string }
  | { readonly name: "version"; readonly json: boolean }
  | {
    readonly name: "install-cni";
    /** `null` for the usual one. */
    readonly conf: string | null;
    readonly confDir: string;
    readonly binDir: string;
  }
  /** With arguments that are not flags of the agent's. */
  | { readonly name: "docker-opts" | "install-conf"; readonly args: readonly string[] }
  | { readonly name: "agent"; readonly settings: Settings; readonly warnings: readonly string[] }
  | { readonly name: "plan"; readonly settings: Settings; readonly warnings: readonly string[]; readonly json: boolean }
  | {
    readonly name: "cleanup";
    readonly settings: Settings;
    readonly warnings: readonly string[];
    readonly json: boolean;
    readonly dryRun: boolean;
  }
  | { readonly name: "plugin check"; readonly file: string; readonly json: boolean }
  | { readonly name: "plugin new"; readonly backend: string }
  | { readonly name: "status" | "peers"; readonly address: ListenAddress; readonly json: boolean };

/**
 * Understands a command line.
 *
 * Called as `flanneld`, the agent keeps its leases in etcd unless another lease store is asked for; called as `install-conf`, it is the
 * program of flannel's image that has this name.
 *
 * @param argv0 How the executable was called; only the part behind the last slash counts.
 * @param args The arguments behind it.
 * @param env The environment.
 * @throws {UsageError} If a subcommand, flag or value is unknown, missing or not allowed, or flags contradict each other.
 *
 * @example Usage
 * ```ts
 * import { parseCommand } from "./command.ts";
 * import assert from "node:assert/strict";
 *
 * const command = parseCommand("/opt/bin/flanneld", ["-ip-masq", "--iface", "eth1"], { FLANNELD_PUBLIC_IP: "192.0.2.1" });
 * assert.ok(command.name === "agent");
 * assert.deepEqual(command.settings.interfaces, [{ by: "name", name: "eth1" }]);
 * assert.equal(command.settings.publicIp, "192.0.2.1");
 * assert.equal(command.settings.store.kind, "etcd");
 * ```
 */
export function parseCommand(argv0: string, args: readonly string[], env: Environment): Command {
  const calledAs = argv0.slice(argv0.lastIndexOf("/") + 1);
  if (calledAs === "install-conf") return { name: calledAs, args };
  const asFlanneld = calledAs === "flanneld";
  const program = asFlanneld ? "flanneld" : "agent";
  const name = commandOf(program, args);
  if (name === "docker-opts") return { name, args: args.slice(1) };
  const behind = name === "agent" ? args : args.slice(name.split(" ").length);
  const [operand, ...more] = OPERANDS[name] === undefined ? [] : behind.filter((arg) => !arg.startsWith("-"));
  const given = readFlags(program, name, OPERANDS[name] === undefined ? behind : behind.filter((arg) => arg.startsWith("-")), env);
  const { values } = given;
  if (given.help) return { name: "help", text: renderHelp(program, name, OPERANDS[name]) };
  if (name === "plugin check" || name === "plugin new") {
    if (operand === undefined || more.length > 0) {
      throw new UsageError(`Cannot tell what to do: expected "${program} ${name} ${OPERANDS[name]}", with one ${OPERANDS[name]}`);
    }
    return name === "plugin check" ? { name, file: operand, json: values.json } : { name, backend: operand };
  }
  if (name === "version" || values.version) return { name: "version", json: values.json };
  if (name === "install-cni") {
    return { name, conf: values["cni-conf"], confDir: values["cni-conf-dir"], binDir: values["cni-bin-dir"] };
  }
  if (name === "status" || name === "peers") {
    const address = values["status-listen"];
    if (address === null) {
      throw new UsageError(
        `Cannot ask the agent for its ${name}: ${given.by.get("status-listen")} is off; name where the agent listens`,
      );
    }
    return { name, address, json: values.json };
  }
  const { settings, warnings } = settingsOf(given, env, asFlanneld);
  switch (name) {
    case "agent":
      return { name, settings, warnings };
    case "plan":
      return { name, settings, warnings, json: values.json };
    case "cleanup":
      return { name, settings, warnings, json: values.json, dryRun: values["dry-run"] };
    default:
      return name satisfies never;
  }
}

/** What a command takes besides flags. */
const OPERANDS: { readonly [C in CommandName]?: string } = { "plugin check": "FILE", "plugin new": "NAME" };

/** The command that the first arguments name; `agent` if there is none, or a flag. */
function commandOf(program: string, args: readonly string[]): CommandName {
  const [first, second] = args;
  if (first === "plugin") {
    const name = `plugin ${second}`;
    if (Object.hasOwn(COMMANDS, name)) return name as CommandName;
    throw new UsageError(
      `Cannot tell what to do with plugins: expected "${program} plugin check FILE" or "${program} plugin new NAME"`,
    );
  }
  if (first === undefined || first.startsWith("-")) return "agent";
  if (first !== "agent" && Object.hasOwn(COMMANDS, first)) return first as CommandName;
  const names = Object.keys(COMMANDS).filter((name) => name !== "agent");
  const { name } = nearest(first, names);
  throw new UsageError(
    `Unknown subcommand ${quote(first)}: the nearest is ${name}, and there are ${names.join(", ")} (see "${program} --help")`,
  );
}
