/**
 * The way into the lab: runs a program in private user, network, mount and process namespaces.
 *
 * Inside, `/run` is a file system of its own (so `ip netns`, lock files and temporary files are private), and the network has only
 * a loopback device. Nothing outlives the program: when it or the process that started it ends, even by SIGKILL, the kernel
 * kills what is left in the process namespace and drops the rest. As root no user namespace is made. Never touches the
 * machine's own network. Follows unshare(1), user_namespaces(7) and pid_namespaces(7).
 *
 * @module
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import process from "node:process";

/** The file that only the lab's own `/run` has. */
const MARK = "/run/weft-lab";

/** How long a program may take to end by itself after Ctrl-C, in milliseconds. */
const GRACE = 3000;
/** How often the process that started us is looked for, in milliseconds. */
const PARENT_CHECK = 500;

/**
 * Runs as the first process inside and becomes the program. It reads its number from the outer `/proc`, because that is the
 * one with which others can enter the lab (`WEFT_LAB_PID`).
 */
const SETUP = `
read -r pid rest </proc/self/stat &&
mount -t proc proc /proc &&
mount -t tmpfs -o mode=755 tmpfs /run &&
mkdir -p /run/netns /run/tmp /var/run/netns &&
: >${MARK} &&
ip link set lo up || exit 125
export WEFT_LAB_PID="$pid" TMPDIR=/run/tmp PATH="$PATH:/usr/sbin:/sbin"
exec "$@"`;

/**
 * The command line, up to the program, by which somebody outside enters the network of a host of this lab.
 *
 * @param namespace The name of its network namespace, or a shell's variable with it.
 */
export function wayIn(namespace: string): string {
  const pid = process.env["WEFT_LAB_PID"];
  const user = process.env["WEFT_LAB_USER"] === "own" ? "-U --preserve-credentials " : "";
  return `nsenter -t ${pid} ${user}-m -p -i --net=/proc/${pid}/root/run/netns/${namespace} --`;
}

/** Whether this process is inside a lab. */
export function insideLab(): boolean {
  return existsSync(MARK);
}

/**
 * Runs a program inside new namespaces, with this process's terminal, environment and working directory. It is killed if the process
 * that started this one ends.
 *
 * @param argv The program and its arguments.
 * @returns Its exit code (128 + number if a signal ended it).
 * @throws {Error} If the machine forbids it; the message says what to change.
 */
export async function enterLab(argv: readonly string[]): Promise<number> {
  const entry = entryCommand();
  const probe = spawnSync(entry[0]!, [...entry.slice(1), "true"], { encoding: "utf8", timeout: 30_000 });
  if (probe.status !== 0) throw new Error(refusal(probe.error?.message ?? probe.stderr));
  const env = { ...process.env, WEFT_LAB_USER: isRoot() ? "same" : "own" };
  const child = spawn(entry[0]!, [...entry.slice(1), ...argv], { stdio: "inherit", env });
  const parent = process.ppid;
  setInterval(() => process.ppid === parent || child.kill("SIGKILL"), PARENT_CHECK).unref();
  let asked: NodeJS.Signals | null = null;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
      // A terminal sends SIGINT to the program as well; other signals come to this process only, and unshare passes none on.
      setTimeout(() => child.kill("SIGKILL"), signal === "SIGINT" && asked === null ? GRACE : 0).unref();
      asked ??= signal;
    });
  }
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(code ?? 128 + constants.signals[asked ?? signal ?? "SIGKILL"]));
  });
}

function entryCommand(): string[] {
  const user = isRoot() ? [] : ["--user", "--map-root-user"];
  // --kill-child ends the inside with unshare, --pdeathsig ends unshare with us.
  const unshare = ["unshare", ...user, "--net", "--mount", "--ipc", "--pid", "--fork", "--kill-child"];
  return ["setpriv", "--pdeathsig", "KILL", "--", ...unshare, "--", "sh", "-c", SETUP, "lab"];
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/** The kernel settings that forbid user namespaces, with the value that does and the one that helps. */
const SETTINGS: readonly (readonly [string, string, string])[] = [
  ["kernel.unprivileged_userns_clone", "0", "1"],
  ["kernel.apparmor_restrict_unprivileged_userns", "1", "0"],
  ["user.max_user_namespaces", "0", "15000"],
  ["user.max_net_namespaces", "0", "15000"],
  ["user.max_mnt_namespaces", "0", "15000"],
  ["user.max_pid_namespaces", "0", "15000"],
];

function refusal(said: string): string {
  const remedies = SETTINGS.filter(([name, bad]) => setting(name) === bad).map(([name, , good]) =>
    `  sudo sysctl -w ${name}=${good}`
  );
  return [
    `Cannot make private namespaces for the lab: ${said.trim() || "unshare failed"}`,
    ...(remedies.length > 0 ? ["This machine's settings forbid it. Allow it with", ...remedies, "or run this as root."] : [
      "Run this as root; in a container, one that may make namespaces (--privileged). Needed are also util-linux and iproute2.",
    ]),
  ].join("\n");
}

function setting(name: string): string | null {
  try {
    return readFileSync(`/proc/sys/${name.replaceAll(".", "/")}`, "utf8").trim();
  } catch {
    return null;
  }
}
