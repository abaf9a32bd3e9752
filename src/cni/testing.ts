/**
 * A node for the unit tests of the plugin: real files, and a delegate that answers what a test says.
 *
 * @module
 */

import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Command, Outcome } from "./io.ts";
import type { JsonObject } from "./netconf.ts";
import { runCni } from "./plugin.ts";

/** What a delegate answers; an error stands for one that can not be started. */
export type Answer = Partial<Outcome> | Error;

/** What the delegate's ADD answers unless told otherwise. */
export const RESULT = '{"cniVersion":"1.0.0","ips":[{"address":"10.1.17.2/24"}]}\n';
/** What the agent wrote. */
export const SUBNET_ENV = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";

/** A node with a subnet and a delegate, in a folder; every call of the delegate is written down. */
export class Bed {
  readonly dir = fs.mkdtempSync(join(tmpdir(), "weft-cni-"));
  readonly state = join(this.dir, "state");
  readonly calls: { readonly command: string; readonly conf: JsonObject; readonly env: Readonly<Record<string, string>> }[] = [];
  stderr = "";
  /** What the delegate answers to each command; else it succeeds. */
  answers: Record<string, Answer[]> = {};

  constructor() {
    fs.mkdirSync(join(this.dir, "bin"));
    fs.writeFileSync(join(this.dir, "bin/bridge"), "", { mode: 0o755 });
    this.subnet(SUBNET_ENV);
  }

  /** Writes subnet.env, or removes it. */
  subnet(text: string | null): void {
    if (text === null) fs.rmSync(join(this.dir, "subnet.env"));
    else fs.writeFileSync(join(this.dir, "subnet.env"), text);
  }

  /** The names in the plugin's data folder. */
  files(): string[] {
    return fs.existsSync(this.state) ? fs.readdirSync(this.state).sort() : [];
  }

  /** The commands that the delegate was called with. */
  commands(): string[] {
    return this.calls.map(({ command }) => command);
  }

  /** Calls the plugin as a runtime does. */
  async run(command: string, conf: JsonObject | string = {}, env: JsonObject = {}) {
    const base = {
      cniVersion: "1.0.0",
      name: "cbr0",
      type: "flannel",
      subnetFile: join(this.dir, "subnet.env"),
      dataDir: this.state,
    };
    let stdout = "";
    const code = await runCni({
      env: {
        CNI_COMMAND: command,
        CNI_CONTAINERID: "c1",
        CNI_NETNS: "/run/netns/c1",
        CNI_IFNAME: "eth0",
        CNI_PATH: join(this.dir, "bin"),
        OTHER: "kept",
        ...env as Record<string, string>,
      },
      stdin: () => typeof conf === "string" ? conf : JSON.stringify({ ...base, ...conf }),
      stdout: (text) => void (stdout += text),
      stderr: (text) => void (this.stderr += text),
      spawn: (called) => this.#answer(called),
    }, 1000);
    return { code, stdout, json: stdout === "" ? null : JSON.parse(stdout) };
  }

  async #answer({ argv, env, stdin, limitMs, limitBytes }: Command): Promise<Outcome> {
    assert.deepEqual([argv, limitMs, limitBytes], [[join(this.dir, "bin/bridge")], 1000, 4 << 20]);
    const command = env["CNI_COMMAND"]!;
    this.calls.push({ command, conf: JSON.parse(stdin), env });
    const answer = this.answers[command]?.shift() ?? {};
    if (answer instanceof Error) throw answer;
    await Promise.resolve();
    return { code: 0, stdout: command === "ADD" ? RESULT : "", stderr: "", exceeded: null, ...answer };
  }
}

/** Runs a test on a node of its own. */
export async function withBed(body: (bed: Bed) => Promise<void>): Promise<void> {
  const bed = new Bed();
  try {
    await body(bed);
  } finally {
    fs.rmSync(bed.dir, { recursive: true });
  }
}
