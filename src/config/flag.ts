/**
 * The words in which the command line is described: commands, the groups of help, and what a flag is.
 *
 * Only shapes and names; the flags themselves are in flags.ts and the types of their values in flag_types.ts.
 *
 * @module
 */

/** A type of value. */
export interface FlagType<T> {
  /** How help names the value; empty for a boolean, which needs none. */
  readonly value: string;
  /** Which texts are allowed; it completes "expected". */
  readonly allowed: string;
  /** The value of a text, or `undefined` if the text is not allowed. */
  readonly parse: (text: string) => T | undefined;
}

/** What the executable can be asked to do; `agent` is what it does without a subcommand. */
export const COMMANDS = {
  agent: "run the node agent",
  status: "show what the running agent does",
  peers: "list the other nodes, the way to each and why one is not reached",
  plan: "show what the agent would put into the kernel, and change nothing",
  cleanup: "remove from this node what agents made here, and nothing else",
  "plugin check": "check the file of a backend, and tell what to mend",
  "plugin new": "write the file of a backend to start from",
  "install-cni": "install the CNI plugin and its configuration for the container runtime",
  "docker-opts": "write options for the Docker daemon; takes the options of mk-docker-opts.sh",
  version: "print the version",
} as const;

/** The name of a command. */
export type CommandName = keyof typeof COMMANDS;

/** The headings of help, in its order. */
export const GROUPS = [
  "Output",
  "Installation",
  "Network",
  "Lease store",
  "etcd",
  "Kubernetes",
  "Interface and addresses",
  "Masquerade and forward rules",
  "Status and health",
  "Logging",
  "General",
] as const;

/** A flag. */
export interface Flag<T = unknown> {
  readonly type: FlagType<T>;
  /** The default as text; an empty one means "not set". */
  readonly default: string;
  readonly group: (typeof GROUPS)[number];
  /** What it does, in one or two clauses that start in lower case. */
  readonly help: string;
  /** Whether it may be given several times; the default stands only while it is not given. */
  readonly repeatable?: true;
  /** The environment variable that sets it, where that is not `FLANNELD_<FLAG>`; `null` if there is none. */
  readonly env?: string | null;
  /** The commands that take it, where those are not {@linkcode RUN}. */
  readonly commands?: readonly CommandName[];
  /** Why it is accepted but does nothing. */
  readonly idle?: string;
}

/** The commands that need to know everything about the node: they take every flag that does not say otherwise. */
export const RUN: readonly CommandName[] = ["agent", "plan", "cleanup"];
