/**
 * Tests that need the lab: skipped, with the reason, where it or something they need is missing.
 *
 * @module
 */

import { test } from "node:test";
import { attempt } from "./command.ts";
import { insideLab } from "./enter.ts";

/**
 * Declares a test that runs in the lab's namespaces, and is skipped elsewhere.
 *
 * @param lack Why it can not run; what {@linkcode lacks} found.
 */
export function labTest(name: string, body: () => void | Promise<void>, lack: string | null = null): void {
  const reason = insideLab() ? lack : "needs the lab: bun test/lab/run.ts FILE";
  test(name, { skip: reason ?? false }, body);
}

/**
 * Tries what a test needs of the machine, before the test is declared.
 *
 * @param commands Command lines; each is run in a network namespace of its own, so it may change what it likes there.
 * @returns `null` if all succeed, else the first that did not and what it said.
 *
 * @example A test that needs wireguard and etcd
 * ```ts ignore
 * const lack = await lacks(["ip", "link", "add", "type", "wireguard"], ["etcd", "--version"]);
 * labTest("…", async () => {…}, lack);
 * ```
 */
export async function lacks(...commands: readonly (readonly string[])[]): Promise<string | null> {
  if (!insideLab()) return null;
  for (const argv of commands) {
    const { code, stdout, stderr } = await attempt(["unshare", "--net", "--", ...argv]);
    if (code !== 0) return `needs "${argv.join(" ")}": ${(stderr || stdout).trim() || `exit code ${code}`}`;
  }
  return null;
}
