/**
 * What a CNI plugin and its runtime say to each other: versions, error codes, and the parameters in the environment.
 *
 * Owns their one check; reads no file and starts nothing. Follows the CNI specification 1.1.0, sections 2 and 5.
 *
 * @module
 */

/** Versions of the CNI specification that the plugin speaks, oldest first. */
export const VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"] as const;

/** The newest of {@linkcode VERSIONS}. */
export const NEWEST = "1.1.0";

/** What a runtime may ask for, by `CNI_COMMAND`. */
export type CniCommand = "ADD" | "DEL" | "CHECK" | "GC" | "STATUS" | "VERSION";

/** Error codes of the CNI specification; from 100 on they are this plugin's own. */
export const CODE = {
  incompatibleVersion: 1,
  unknownContainer: 3,
  invalidEnvironment: 4,
  io: 5,
  decoding: 6,
  invalidConfig: 7,
  tryAgainLater: 11,
  unavailable: 50,
  limitedConnectivity: 51,
  delegateFailed: 100,
  attachmentBroken: 101,
  internal: 999,
} as const;

/** A failure as the runtime is told of it: an error object on standard output. */
export class CniError extends Error {
  override readonly name = "CniError";
  /** One of {@linkcode CODE}, or what a delegate chose. */
  readonly code: number;
  /** What to do, or what else was said; empty if there is nothing to add. */
  readonly details: string;
  /** The error object of a delegate, which is passed on as it is. */
  readonly foreign: Readonly<Record<string, unknown>> | null;

  constructor(code: number, message: string, details = "", foreign: Readonly<Record<string, unknown>> | null = null) {
    super(message);
    this.code = code;
    this.details = details;
    this.foreign = foreign;
  }
}

/** The error object of CNI, as JSON. */
export function errorObject(error: CniError, cniVersion: string): string {
  const own = { code: error.code, msg: error.message, ...(error.details === "" ? {} : { details: error.details }) };
  return JSON.stringify({ cniVersion, ...(error.foreign ?? own) });
}

/** One interface in one container. Source: CNI specification, section 3: "attachment". */
export interface Attachment {
  readonly containerId: string;
  readonly ifname: string;
}

/** What the runtime says in the environment, checked. */
export interface Parameters {
  readonly command: CniCommand;
  /** `null` for the commands that are about no attachment (GC, STATUS, VERSION). */
  readonly attachment: Attachment | null;
  /** Where delegates are looked for, in order. */
  readonly path: readonly string[];
}

const REQUIRED: Readonly<Record<CniCommand, readonly string[]>> = {
  ADD: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  DEL: ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"],
  CHECK: ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"],
  GC: ["CNI_PATH"],
  STATUS: ["CNI_PATH"],
  VERSION: [],
};

/**
 * Reads the parameters from the environment.
 *
 * @throws {CniError} If one is missing or malformed; the message names it.
 */
export function readParameters(env: Readonly<Record<string, string | undefined>>): Parameters {
  const command = env.CNI_COMMAND ?? "";
  if (!isCommand(command)) {
    const shown = command === "" ? "is missing" : `is ${JSON.stringify(command)}`;
    throw new CniError(
      CODE.invalidEnvironment,
      `Cannot run: CNI_COMMAND ${shown}, must be one of ${Object.keys(REQUIRED).join(", ")}`,
    );
  }
  const missing = REQUIRED[command].filter((name) => (env[name] ?? "") === "");
  if (missing.length > 0) {
    throw new CniError(CODE.invalidEnvironment, `Cannot run ${command}: environment variables ${missing.join(", ")} are missing`);
  }
  const attachment = REQUIRED[command].includes("CNI_IFNAME")
    ? checkAttachment({ containerId: env.CNI_CONTAINERID!, ifname: env.CNI_IFNAME! })
    : null;
  return { command, attachment, path: (env.CNI_PATH ?? "").split(":").filter((directory) => directory !== "") };
}

function isCommand(text: string): text is CniCommand {
  return Object.hasOwn(REQUIRED, text);
}

/** Checks both names; they become parts of file names, so nothing but what the specification allows may pass. */
function checkAttachment({ containerId, ifname }: Attachment): Attachment {
  if (!isName(containerId) || containerId.length > 200) {
    throw new CniError(
      CODE.invalidEnvironment,
      `CNI_CONTAINERID ${JSON.stringify(containerId.slice(0, 200))} is invalid`,
      "it must be 1 to 200 letters, digits, '_', '.' and '-', and start with a letter or digit",
    );
  }
  const bytes = new TextEncoder().encode(ifname).length;
  if (bytes > 15 || ifname === "." || ifname === ".." || /[/:\s]/u.test(ifname)) {
    throw new CniError(
      CODE.invalidEnvironment,
      `CNI_IFNAME ${JSON.stringify(ifname.slice(0, 200))} is invalid`,
      "it must be 1 to 15 bytes without '/', ':' and white space, and neither '.' nor '..'",
    );
  }
  return { containerId, ifname };
}

/** Whether a text can be the identifier of a container or the name of a network. */
export function isName(text: string): boolean {
  return /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(text);
}

/**
 * Checks the version of a configuration.
 *
 * @param version The version; empty stands for 0.1.0.
 * @param since The version that brought the command.
 * @throws {CniError} If the plugin does not speak it, or it does not know the command.
 */
export function checkVersion(version: string, command: CniCommand, since: string): void {
  const place = VERSIONS.indexOf((version === "" ? "0.1.0" : version) as typeof VERSIONS[number]);
  if (place < 0) {
    const shown = JSON.stringify(version.slice(0, 200));
    throw new CniError(CODE.incompatibleVersion, `CNI version ${shown} is not supported`, `supported are ${VERSIONS.join(", ")}`);
  }
  if (place < VERSIONS.indexOf(since as typeof VERSIONS[number])) {
    throw new CniError(
      CODE.incompatibleVersion,
      `CNI version "${version || "0.1.0"}" has no ${command}`,
      `${command} came with ${since}`,
    );
  }
}
