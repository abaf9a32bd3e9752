/**
 * Commands that the traffic rules are made with.
 *
 * Owns what a command is, what comes back and how its failure is worded; the running itself is handed in. Every command is an
 * argument array with its input, no shell reads it.
 *
 * @module
 */

/** What a command said. */
export interface CommandResult {
  readonly status: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs a program to its end, within a time limit.
 *
 * @param argv The program's name and its arguments.
 * @param stdin What it reads.
 * @returns What it said, whatever its exit status; `null` if there is no such program.
 * @throws {Error} If it could not be run or did not end in time.
 */
export type Run = (argv: readonly string[], stdin: string) => Promise<CommandResult | null>;

/** A change that is ready to be made: all of it happens, or nothing. */
export interface Step {
  /** What it does, for people. */
  readonly what: string;
  readonly argv: readonly string[];
  readonly stdin: string;
}

/**
 * Makes changes, in order.
 *
 * @throws {Error} If one fails; those after it are not made.
 */
export async function perform(run: Run, steps: readonly Step[]): Promise<void> {
  for (const { what, argv, stdin } of steps) succeeded(await run(argv, stdin), argv, `Cannot ${what}`);
}

/**
 * The result of a command that must succeed.
 *
 * @throws {Error} If it did not; the message begins with `problem` and quotes the command.
 */
export function succeeded(result: CommandResult | null, argv: readonly string[], problem: string): CommandResult {
  if (result === null) throw missing(argv, problem);
  if (result.status === 0) return result;
  const said = result.stderr.split("\n").map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
  throw new Error(`${problem}: ${argv[0]} ended with ${result.status}: ${said.slice(0, 3).join("; ") || "no message"}`);
}

/** The error for a program that is not there. */
export function missing(argv: readonly string[], problem: string): Error {
  return new Error(`${problem}: there is no program "${argv[0]}"; install it`);
}
