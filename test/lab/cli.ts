/**
 * The agent's executable on a node of the lab, called as an operator calls it, and what such a call may have changed.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { kernelOf } from "./cluster.ts";
import type { Outcome } from "./command.ts";
import type { Lab } from "./lab.ts";
import type { Node } from "./node.ts";
import { agentCommand } from "./paths.ts";

/** How long a call may take that ends by itself, in milliseconds. */
const AT_ONCE = 5_000;

/** The executable on one node. */
export class Cli {
  readonly node: Node;
  /** The flags with which {@linkcode Node.agent} starts the node's agent. */
  readonly flags: readonly string[];

  constructor(lab: Lab, node: Node) {
    this.node = node;
    this.flags = [
      `--node-name=${node.name}`,
      `--subnet-file=${node.subnetFile}`,
      `--status-listen=unix:${join(node.dir, "status.sock")}`,
      `--lease-db=${lab.leaseDb}`,
      `--net-config-path=${join(lab.dir, "net-conf.json")}`,
      "--iptables-forward-rules=false",
    ];
  }

  /** The executable. */
  get command(): readonly string[] {
    return agentCommand();
  }

  /** Runs the executable to its end. @throws {Error} If it goes on for longer than 5 s. */
  async run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    return await this.node.attempt([...this.command, ...args], { timeout: AT_ONCE, env });
  }

  /** As {@linkcode run}. @returns What it printed. @throws {Error} If its exit code is not 0 or it complains. */
  async said(...args: readonly string[]): Promise<string> {
    const { code, stdout, stderr } = await this.run(args);
    if (code === 0 && complaints(stderr).length === 0) return stdout;
    throw new Error(`"${args.join(" ")}" ended with exit code ${code}:\n${stdout}${stderr}`);
  }

  /** All that an agent may have put into the node's kernel, firewall rules included. */
  async kernel(): Promise<string> {
    const rules = await this.node.exec(["sh", "-c", "iptables-save 2>/dev/null; nft list ruleset 2>/dev/null; true"]);
    // What the kernel does by itself is left out: it looks for duplicates of IPv6 addresses, joins groups, and counts.
    const items = (await kernelOf(this)).replace(/ tentative/g, "").replace(/^(33:33|01:00:5e).*\n/gm, "");
    return `${items}\n${rules.replace(/^#.*\n/gm, "").replace(/\[\d+:\d+\]|packets \d+ bytes \d+/g, "")}`;
  }
}

/** Every file below some folders, with what tells whether it was written, replaced or made by somebody. */
export function filesIn(...folders: readonly string[]): string[] {
  return folders.flatMap((folder) =>
    readdirSync(folder, { recursive: true, encoding: "utf8" }).sort().map((name) => {
      const path = join(folder, name);
      const { mode, ino, size } = statSync(path);
      const content = statSync(path).isFile() ? createHash("sha256").update(readFileSync(path)).digest("hex") : "";
      return `${path} ${mode} ${ino} ${size} ${content}`;
    })
  );
}

/** The lines of a log that ask for attention. */
export function complaints(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !/^\S+Z (info|debug) /.test(line));
}
