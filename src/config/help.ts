/**
 * The texts of `--help`, rendered from the table of flags.
 *
 * @module
 */

import { type CommandName, COMMANDS, type Flag, GROUPS } from "./flag.ts";
import { envOf, type FlagName, flagOf, flagsOf } from "./flags.ts";

const WIDTH = 96;
const INDENT = 31;

/** How a flag is written in help: `--iface=NAME|IP`. */
export function usageOf(name: FlagName): string {
  const { value } = flagOf(name).type;
  return `--${name}${value === "" ? "" : `=${value}`}`;
}

/** Default and environment variable of a flag, as far as it has them, for a pair of brackets. */
export function originsOf(name: FlagName): string[] {
  const flag: Flag = flagOf(name);
  const variable = envOf(name);
  const silent = flag.default === "" || (flag.type.value === "" && flag.default === "false");
  return [
    ...flag.repeatable ? ["repeatable"] : [],
    ...silent ? [] : [`default ${flag.default}`],
    ...variable === null ? [] : [`env ${variable}`],
  ];
}

/**
 * The help of a command, lines of at most 96 columns.
 *
 * @param program How the executable is called.
 * @param operand What the command takes besides flags.
 */
export function renderHelp(program: string, command: CommandName, operand = ""): string {
  const called = command === "agent" ? program : `${program} ${command}`;
  const names = flagsOf(command);
  const groups = GROUPS.flatMap((group) => {
    const flags = names.filter((name) => flagOf(name).group === group);
    return flags.length === 0 ? [] : [`${group}:\n${flags.map(renderFlag).join("")}`];
  });
  return [
    `Usage: ${called} ${operand === "" ? "" : `${operand} `}[flags]\n`,
    `${called}: ${COMMANDS[command]}.\n`,
    ...command === "agent" ? [renderCommands(program)] : [],
    ...groups,
    renderNotes(command),
  ].join("\n");
}

function renderCommands(program: string): string {
  const rows = Object.entries(COMMANDS).filter(([name]) => name !== "agent").map(([name, what]) => `  ${name.padEnd(14)}${what}\n`);
  return `Commands, written before their flags (see ${program} COMMAND --help):\n${rows.join("")}`;
}

function renderFlag(name: FlagName): string {
  const origins = originsOf(name).join(", ");
  const text = wrap(`${flagOf(name).help}${origins === "" ? "" : ` (${origins})`}`, WIDTH - INDENT);
  const head = `  ${usageOf(name)}`;
  const lines = head.length <= INDENT - 2 ? [head.padEnd(INDENT) + text.shift()] : [head];
  return [...lines, ...text.map((line) => " ".repeat(INDENT) + line), ""].join("\n");
}

function renderNotes(command: CommandName): string {
  const syntax = "Flags are written -x=v, -x v, --x=v or --x v; true or false only as --x or --x=false. A flag goes before its " +
    "environment variable, and an empty variable counts as none.";
  const exits = "Exit codes: 0 done or asked to stop, 1 could not start or go on, 2 wrong usage.";
  return (command === "agent" ? [...wrap(syntax, WIDTH), ...wrap(exits, WIDTH)] : wrap(exits, WIDTH)).join("\n") + "\n";
}

/** Breaks a text at spaces; a word that is too long stays whole. */
function wrap(text: string, width: number): string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
