/**
 * The reference of the command line, docs/flags.md, rendered from the table of flags.
 *
 * @module
 */

import { COMMANDS, GROUPS } from "./flag.ts";
import { commandsOf, envOf, type FlagName, flagOf, FLAGS } from "./flags.ts";
import { usageOf } from "./help.ts";

/** The text of docs/flags.md. */
export function renderReference(): string {
  const names = Object.keys(FLAGS) as FlagName[];
  const groups = GROUPS.flatMap((group) => {
    const rows = names.filter((name) => flagOf(name).group === group).map(renderRow);
    return [`## ${group}`, "", "| Flag | Default | Variable | Meaning |", "|---|---|---|---|", ...rows, ""];
  });
  return [...HEAD, ...groups, ...TAIL].join("\n");
}

const HEAD = [
  "# Flags and variables",
  "",
  "<!-- Written by scripts/write_flags_reference.ts from src/config/flags.ts; change it there. -->",
  "",
  "`agent [flags]` runs the node agent; `agent COMMAND [flags]` does something else:",
  "",
  "| Command | What it does |",
  "|---|---|",
  ...Object.entries(COMMANDS).map(([name, what]) => `| \`${name === "agent" ? "agent" : `agent ${name}`}\` | ${what} |`),
  "",
  "Flags are written `-x=v`, `-x v`, `--x=v` or `--x v`. A flag that is true or false is written `--x` or `--x=false`, never `--x false`.",
  "Of a flag given twice the last counts, unless it is repeatable. A flag goes before its variable, and a variable that is empty counts as",
  "none. A variable can give a repeatable flag one value. `--help` behind any command shows the flags that it takes; what belongs to the",
  "agent is taken by `plan` and `cleanup` too, so that an agent's own arguments serve for all three.",
  "",
  "Wrong usage ends with exit code 2 and one line that names the flag or variable, the value and what is expected.",
  "",
  "Leases are kept in one of three stores. `--kube-subnet-mgr` asks for Kubernetes, any etcd flag or variable for etcd, and `--lease-db` for",
  "the embedded store. Without any of them it is the embedded store; called as `flanneld`, it is etcd on this machine. Two at once are",
  "wrong usage.",
  "",
];

const TAIL = [
  "## Other variables",
  "",
  "| Variable | Meaning |",
  "|---|---|",
  "| `POD_NAMESPACE`, `POD_NAME` | with `--kube-subnet-mgr` and without a node name: the agent's own pod, which says on which node it runs |",
  "| `NOTIFY_SOCKET` | set by systemd: where readiness, status and signs of life are sent |",
  "",
  "flanneld's `EVENT_QUEUE_DEPTH` and `CONT_WHEN_CACHE_NOT_READY` are ignored.",
  "",
];

function renderRow(name: FlagName): string {
  const { default: text, repeatable, help, idle } = flagOf(name);
  const variable = envOf(name);
  const commands = commandsOf(name);
  const only = commands.includes("agent") ? "" : `; for ${commands.map((command) => `\`${command}\``).join(", ")}`;
  const meaning = `${help}${repeatable ? "; repeatable" : ""}${idle === undefined ? "" : `; does nothing, since ${idle}`}${only}`;
  const cells = [`\`${usageOf(name)}\``, text === "" ? "" : `\`${text}\``, variable === null ? "" : `\`${variable}\``, meaning];
  return `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
}
