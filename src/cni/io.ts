/**
 * The ports of the CNI plugin: environment, standard streams and processes, handed in by the executable.
 *
 * @module
 */

/** A process to run. */
export interface Command {
  /** The executable's path, then its arguments. */
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  /** After so many milliseconds the process is killed, and all that it started with it. */
  readonly limitMs: number;
  /** What it prints beyond so many bytes on one stream makes that it is killed too. */
  readonly limitBytes: number;
}

/** How a process ended. */
export interface Outcome {
  /** The exit code; `null` if a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The limit that it was killed for, if it was. */
  readonly exceeded: "time" | "output" | null;
}

/**
 * Runs a process to its end, in a process group of its own. Answers soon after the limit even if a grandchild holds the streams.
 *
 * @throws {Error} If it can not be started; `code` is that of the system (`EACCES`, `ETXTBSY`).
 */
export type Spawn = (command: Command) => Promise<Outcome>;

/** All that the plugin needs of the process that it runs in. */
export interface CniIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** All of standard input. */
  stdin(): string | Promise<string>;
  stdout(text: string): void;
  stderr(text: string): void;
  readonly spawn: Spawn;
}
