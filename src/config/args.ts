/**
 * Reads flags from arguments and environment, as flanneld does.
 *
 * The syntax is that of Go's package `flag`: one or two dashes, `-x=v` or `-x v`, a boolean takes a value only behind `=`, flags end
 * at `--` or at the first argument that is none. No library for the command line reads it, and to rewrite the arguments for one takes
 * this same loop: only who knows which flags take a value can tell flags from values. A variable counts if it is not empty and its
 * flag is not given. Unlike flanneld, a wrong value in a variable is an error, and so are arguments behind the flags, which Go drops
 * together with all flags after them (`--ip-masq false --public-ip=...`).
 *
 * @module
 */

import { quote, UsageError } from "./errors.ts";
import { type CommandName, COMMANDS } from "./flag.ts";
import { envOf, type FlagName, flagOf, FLAGS, flagsOf, type Values } from "./flags.ts";
import { nearest } from "./nearest.ts";

const PREFIX = "FLANNELD_";

/** The variables of an environment. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** What arguments and environment say. */
export interface Given {
  readonly values: Values;
  /** What set a flag, as the user knows it: `--iface` or `FLANNELD_IFACE`. A flag that is not here has its default. */
  readonly by: ReadonlyMap<FlagName, string>;
  /** Whether help is asked for; then nothing behind it was read. */
  readonly help: boolean;
}

/** The texts that one source has for one flag. */
interface Texts {
  readonly by: string;
  readonly texts: string[];
}

/**
 * Reads the flags of one command.
 *
 * @param program How the executable is called, for messages.
 * @throws {UsageError} If a flag is unknown, or a value is missing or not allowed.
 */
export function readFlags(program: string, command: CommandName, args: readonly string[], env: Environment): Given {
  const { given, help } = splitArguments(program, command, args);
  for (const name of flagsOf(command)) {
    const variable = envOf(name);
    const text = variable === null ? undefined : env[variable];
    if (variable !== null && text && !given.has(name)) given.set(name, { by: variable, texts: [text] });
  }
  return {
    values: help ? valuesOf(new Map()) : valuesOf(given),
    by: new Map([...given].map(([name, { by }]) => [name, by])),
    help,
  };
}

function splitArguments(program: string, command: CommandName, args: readonly string[]) {
  const given = new Map<FlagName, Texts>();
  let at = 0;
  while (at < args.length) {
    const arg = args[at++]!;
    if (arg === "--") break;
    if (arg.length < 2 || !arg.startsWith("-")) throw unexpected(program, arg);
    const [, word = "", inline] = /^--?([^=]*)(?:=(.*))?$/s.exec(arg)!;
    if (word === "help" || word === "h") return { given, help: true };
    const name = known(program, command, word);
    if (inline === undefined && flagOf(name).type.value !== "" && at === args.length) {
      throw new UsageError(`Flag --${name} needs a value: expected ${flagOf(name).type.allowed}`);
    }
    const text = inline ?? (flagOf(name).type.value === "" ? "true" : args[at++]!);
    const { texts } = given.get(name) ?? { texts: [] };
    given.set(name, { by: `--${name}`, texts: [...texts, text] });
  }
  if (at < args.length) throw unexpected(program, args[at]!);
  return { given, help: false };
}

function unexpected(program: string, arg: string): UsageError {
  if (Object.hasOwn(COMMANDS, arg)) {
    return new UsageError(
      `Cannot take the subcommand ${quote(arg)} behind flags: write it first, as in "${program} ${arg} --help"`,
    );
  }
  return new UsageError(
    `Cannot use the argument ${quote(arg)}: only flags can stand here, and true or false only behind "=", as in --ip-masq=false`,
  );
}

function known(program: string, command: CommandName, word: string): FlagName {
  const names = flagsOf(command);
  if (names.includes(word as FlagName)) return word as FlagName;
  const called = command === "agent" ? program : `${program} ${command}`;
  if (Object.hasOwn(FLAGS, word)) {
    const taken = names.map((name) => `--${name}`).join(", ");
    throw new UsageError(`Unknown flag --${word}: it is not one of "${called}", which takes ${taken}`);
  }
  throw new UsageError(
    `Unknown flag ${quote(`--${word}`)}: the nearest is --${nearest(word, names).name} (see "${called} --help")`,
  );
}

function valuesOf(given: ReadonlyMap<FlagName, Texts>): Values {
  return Object.fromEntries((Object.keys(FLAGS) as FlagName[]).map((name) => {
    const { default: text, repeatable } = flagOf(name);
    const source = given.get(name) ?? { by: "the default", texts: repeatable && text === "" ? [] : [text] };
    const values = source.texts.map((text) => parse(name, source.by, text));
    return [name, repeatable ? values : values.at(-1)];
  })) as unknown as Values;
}

function parse(name: FlagName, by: string, text: string): unknown {
  const { type } = flagOf(name);
  const value = type.parse(text);
  if (value !== undefined) return value;
  // A URL may hold a password by mistake, and this message goes to the log.
  const shown = text.includes("@") ? "this value" : quote(text);
  throw new UsageError(`Cannot use ${shown} for ${by}: expected ${type.allowed}`);
}

/** A warning for each variable that looks like a misspelt one of ours. They are not used. */
export function misspeltVariables(env: Environment): readonly string[] {
  const variables = (Object.keys(FLAGS) as FlagName[]).flatMap((name) => envOf(name) ?? []);
  const byWord = new Map(variables.map((variable) => [variable.replace(PREFIX, ""), variable]));
  return Object.keys(env).filter((name) => name.startsWith(PREFIX) && !variables.includes(name)).flatMap((name) => {
    const { name: word, unlikeness } = nearest(name.slice(PREFIX.length), [...byWord.keys()]);
    return unlikeness <= 0.3 ? [`Variable ${quote(name)} is not used: the nearest is ${byWord.get(word)}`] : [];
  });
}
