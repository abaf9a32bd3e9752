/**
 * Credential plugins: programs that print a token or a client certificate, as a kubeconfig's `exec` names them.
 *
 * Source: Kubernetes, "client-go credential plugins", API `client.authentication.k8s.io`.
 *
 * @module
 */

import { isAbsolute, resolve } from "node:path";
import * as v from "valibot";
import { oneLine, quote } from "../../config/errors.ts";

/** Runs a program to its end; as `node:child_process` would. */
export type RunPlugin = (command: {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly stdin: string;
  readonly limitMs: number;
  readonly limitBytes: number;
}) => Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string; readonly exceeded: string | null }>;

const VERSIONS = ["v1", "v1beta1", "v1alpha1"].map((version) => `client.authentication.k8s.io/${version}`);

/** `users[].user.exec` of a kubeconfig. */
export const EXEC = v.object({
  apiVersion: v.picklist(VERSIONS),
  command: v.pipe(v.string(), v.minLength(1)),
  args: v.nullish(v.array(v.string())),
  env: v.nullish(v.array(v.object({ name: v.string(), value: v.string() }))),
  installHint: v.nullish(v.string()),
  provideClusterInfo: v.nullish(v.boolean()),
  interactiveMode: v.nullish(v.picklist(["Never", "IfAvailable", "Always"])),
});

const CREDENTIAL = v.object({
  apiVersion: v.string(),
  kind: v.literal("ExecCredential"),
  status: v.object({
    token: v.nullish(v.string()),
    clientCertificateData: v.nullish(v.string()),
    clientKeyData: v.nullish(v.string()),
    expirationTimestamp: v.nullish(v.pipe(v.string(), v.isoTimestamp())),
  }),
});

/** What a plugin gave. */
export interface PluginCredential {
  readonly token: string | null;
  readonly cert: string | null;
  readonly key: string | null;
}

/** What a plugin is run with. */
export interface PluginContext {
  /** Relative commands start here. */
  readonly folder: string;
  /** The environment to which the plugin's own variables are added. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What it is told of the cluster where it asks. */
  readonly cluster: Readonly<Record<string, unknown>>;
  readonly run: RunPlugin;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

const LIMIT_MS = 60_000;
const LIMIT_BYTES = 1 << 20;

/** One plugin, and what it said last. */
export class ExecPlugin {
  readonly #exec: v.InferOutput<typeof EXEC>;
  readonly #context: PluginContext;
  #expires = Infinity;
  #given: Promise<PluginCredential> | null = null;

  constructor(exec: v.InferOutput<typeof EXEC>, context: PluginContext) {
    this.#exec = exec;
    this.#context = context;
  }

  /** What the plugin gave, for as long as that is valid; else it is run again. Callers at one time share one run. */
  credential(): Promise<PluginCredential> {
    if (this.#context.now() >= this.#expires) this.forget();
    return this.#given ??= this.#run().catch((error) => {
      this.forget();
      throw error;
    });
  }

  /** The server does not take it. */
  forget(): void {
    this.#given = null;
    this.#expires = Infinity;
  }

  async #run(): Promise<PluginCredential> {
    const { command, interactiveMode } = this.#exec;
    if (interactiveMode === "Always") throw this.#error("it wants to ask somebody (interactiveMode Always), and nobody is there");
    const { run, folder } = this.#context;
    const file = command.includes("/") && !isAbsolute(command) ? resolve(folder, command) : command;
    let outcome: Awaited<ReturnType<RunPlugin>>;
    try {
      const argv = [file, ...this.#exec.args ?? []];
      outcome = await run({ argv, env: this.#env(), stdin: "", limitMs: LIMIT_MS, limitBytes: LIMIT_BYTES });
    } catch (error) {
      const hint = this.#exec.installHint ? `; ${oneLine(this.#exec.installHint)}` : "";
      throw this.#error(`${(error as Error).message}${hint}`, error);
    }
    const { code, stdout, stderr, exceeded } = outcome;
    if (exceeded !== null) throw this.#error(`it took too much ${exceeded}`);
    if (code !== 0) throw this.#error(`it ended with ${code ?? "a signal"}: ${oneLine(stderr.trim()) || "no message"}`);
    return this.#read(stdout);
  }

  #read(stdout: string): PluginCredential {
    let json: unknown;
    try {
      json = JSON.parse(stdout);
    } catch {
      throw this.#error("it printed no JSON");
    }
    const result = v.safeParse(CREDENTIAL, json);
    if (!result.success) throw this.#error(`what it printed is no ExecCredential: ${result.issues[0].message}`);
    const { apiVersion, status } = result.output;
    if (apiVersion !== this.#exec.apiVersion) {
      throw this.#error(`it printed apiVersion ${quote(apiVersion)}, expected ${this.#exec.apiVersion}`);
    }
    const { token = null, clientCertificateData: cert = null, clientKeyData: key = null, expirationTimestamp } = status;
    if (!token && !(cert && key)) throw this.#error("it gave neither a token nor a client certificate with its key");
    this.#expires = expirationTimestamp ? Date.parse(expirationTimestamp) : Infinity;
    return { token, cert, key };
  }

  #env(): Record<string, string> {
    const { apiVersion, env, provideClusterInfo } = this.#exec;
    const spec = { ...provideClusterInfo ? { cluster: this.#context.cluster } : {}, interactive: false };
    const all: Record<string, string> = {};
    for (const [name, value] of Object.entries(this.#context.env)) if (value !== undefined) all[name] = value;
    for (const { name, value } of env ?? []) all[name] = value;
    all["KUBERNETES_EXEC_INFO"] = JSON.stringify({ apiVersion, kind: "ExecCredential", spec });
    return all;
  }

  #error(why: string, cause?: unknown): Error {
    return new Error(`Cannot get credentials from ${quote(this.#exec.command)}: ${why}`, { cause });
  }
}
