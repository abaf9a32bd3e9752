/**
 * Options for the Docker daemon out of subnet.env, where Docker makes the containers' bridge itself.
 *
 * Follows flannel's `mk-docker-opts.sh`: the same options, output and exit codes. The file is read as assignments and never run.
 *
 * @module
 */

import * as fs from "node:fs";
import { type Cidr, parseCidr } from "../model/ip.ts";
import { quote } from "../config/errors.ts";
import type { CniIo } from "./io.ts";

/** What is needed of the process. */
export type DockerOptsIo = Pick<CniIo, "env" | "stdout" | "stderr" | "spawn">;

const USAGE = `Usage: docker-opts [-f FILE] [-d FILE] [-i] [-c] [-m] [-k NAME]

Writes options for the Docker daemon, made from the file that the agent writes.

  -f FILE  the agent's file (default /run/flannel/subnet.env)
  -d FILE  the file to write (default /run/docker_opts.env)
  -i       write each option as a variable of its own, such as DOCKER_OPT_MTU
  -c       write all options as one variable; without -i and -c: both
  -k NAME  the name of that variable (default DOCKER_OPTS)
  -m       leave out --ip-masq
`;

interface Options {
  from: string;
  to: string;
  individual: boolean;
  combined: boolean;
  key: string;
  ipMasq: boolean;
}

type Variables = ReadonlyMap<string, string>;

/**
 * Runs the command.
 *
 * @param args What follows the command's name.
 * @returns The exit code: 0, or 1 with a reason on standard error.
 */
export async function dockerOpts(args: readonly string[], io: DockerOptsIo): Promise<number> {
  if (args[0] === "--help") {
    io.stdout(USAGE);
    return 0;
  }
  const options = parseOptions(args);
  if (options === null) {
    io.stderr(USAGE);
    return 1;
  }
  try {
    const variables = readVariables(options.from, io.env);
    const subnet = variables.get("FLANNEL_SUBNET") ?? "";
    const cidr = subnet === "" ? null : parseCidr(subnet);
    fs.writeFileSync(options.to, render(dockerVariables(variables, options.ipMasq), variables, options));
    if (cidr !== null) await refuseForeignRoute(cidr, io);
    return 0;
  } catch (error) {
    io.stderr(`${(error as Error).message}\n`);
    return 1;
  }
}

/** Options as getopts takes them: letters may be joined, and a value may follow its letter at once. `null` if there is a wrong one. */
function parseOptions(args: readonly string[]): Options | null {
  const options = {
    from: "/run/flannel/subnet.env",
    to: "/run/docker_opts.env",
    individual: false,
    combined: false,
    key: "DOCKER_OPTS",
    ipMasq: true,
  };
  const rest = [...args];
  for (let word = rest.shift(); word !== undefined && /^-./.test(word) && word !== "--"; word = rest.shift()) {
    for (let letters = word.slice(1); letters !== "";) {
      const letter = letters[0]!;
      letters = letters.slice(1);
      if (letter === "i") options.individual = true;
      else if (letter === "c") options.combined = true;
      else if (letter === "m") options.ipMasq = false;
      else {
        const value = letters === "" ? rest.shift() : letters;
        letters = "";
        if (value === undefined) return null;
        if (letter === "f") options.from = value;
        else if (letter === "d") options.to = value;
        else if (letter === "k" && /^[A-Za-z_]\w*$/.test(value)) options.key = value;
        else return null;
      }
    }
  }
  if (!options.individual && !options.combined) options.individual = options.combined = true;
  return options;
}

/** The environment, overridden by the file's assignments; a file that is not there assigns nothing. */
function readVariables(path: string, env: DockerOptsIo["env"]): Variables {
  const variables = new Map(Object.entries(env).filter((entry): entry is [string, string] => entry[1] !== undefined));
  const file = fs.statSync(path, { throwIfNoEntry: false });
  for (const line of file?.isFile() ? fs.readFileSync(path, "utf8").split("\n") : []) {
    const [, name, value] = /^\s*(?:export\s+)?([A-Za-z_]\w*)=(.*)$/.exec(line) ?? [];
    if (name !== undefined) variables.set(name, value!.trim().replace(/^(["'])(.*)\1$/, "$2"));
  }
  return variables;
}

function dockerVariables(variables: Variables, ipMasq: boolean): Variables {
  const made = new Map([...variables].filter(([name]) => name.startsWith("DOCKER_OPT_")));
  const valueOf = (name: string) => variables.get(name) ?? "";
  const [subnet, mtu, masquerades] = [valueOf("FLANNEL_SUBNET"), valueOf("FLANNEL_MTU"), valueOf("FLANNEL_IPMASQ")];
  if (subnet !== "") made.set("DOCKER_OPT_BIP", `--bip=${subnet}`);
  if (mtu !== "") made.set("DOCKER_OPT_MTU", `--mtu=${mtu}`);
  if (masquerades !== "" && ipMasq) {
    if (masquerades !== "true" && masquerades !== "false") {
      throw new Error(`Invalid value of FLANNEL_IPMASQ: ${quote(masquerades)}`);
    }
    made.set("DOCKER_OPT_IPMASQ", `--ip-masq=${masquerades === "false"}`);
  }
  return made;
}

/** Spaces as a shell leaves them, which flannel's script is written for; readers of the file may compare it. */
function render(made: Variables, before: Variables, { individual, combined, key }: Options): string {
  const sorted = [...made].sort(([a], [b]) => a < b ? -1 : 1).map(([name, value]) => [name, value.trim().replace(/\s+/g, " ")]);
  const old = before.get(key) ?? "";
  const all = [old === "" ? "" : `${old} `, ...sorted.map(([, value]) => value)].join(" ");
  return [
    ...(individual ? sorted.map(([name, value]) => `${name}="${value}"\n`) : []),
    ...(combined ? [`${key}="${all}"\n`] : []),
  ].join("");
}

/** A route over a gateway to the bridge's own subnet would win over the bridge. */
async function refuseForeignRoute(subnet: Cidr, io: DockerOptsIo): Promise<void> {
  const env = Object.fromEntries(Object.entries(io.env).filter((entry): entry is [string, string] => entry[1] !== undefined));
  const shown = await io.spawn({ argv: ["ip", "route", "show"], env, stdin: "", limitMs: 10_000, limitBytes: 64 << 20 }).catch(() =>
    null
  );
  const route = shown?.stdout.split("\n").find((line) => line.startsWith(`${subnet} `) && line.includes(" via "));
  if (route !== undefined) throw new Error(`Your routing table already contains the subnet: ${route.trim()}`);
}
