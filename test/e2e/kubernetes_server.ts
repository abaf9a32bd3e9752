/**
 * A real kube-apiserver with etcd, by default on loopback, for tests that need one, and the hands of an administrator on it.
 *
 * Everything is below one folder that goes away with it. What is asked for is asked in JSON over the server's own port.
 *
 * @module
 */

import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, cpSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { setTimeout as sleep } from "node:timers/promises";
import type { Found } from "./binaries.ts";
import { ANY_ETCD, KUBE_APISERVER } from "./kubernetes_binaries.ts";
import { freePorts } from "./ports.ts";

/** A Node in JSON, as far as tests look into it. */
export interface NodeJson {
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly annotations?: Readonly<Record<string, string>>;
  };
  readonly spec: { readonly podCIDR?: string; readonly podCIDRs?: readonly string[] };
  readonly status?: { readonly conditions?: readonly Readonly<Record<string, string>>[] };
}

/** What a server answered. */
export interface Answered {
  readonly status: number;
  readonly text: string;
}

const TOKEN = "token-of-the-administrator";
const PATIENCE = 60_000;

/** A running API server. */
export class KubernetesServer implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-kubernetes-"));
  readonly port: number;
  /** The address that it serves on. */
  readonly address: string;
  readonly #etcdPort: number;
  readonly #etcdPath: string;
  readonly #agent = new https.Agent({ keepAlive: true, rejectUnauthorized: false });
  #etcd: ChildProcess | null = null;
  #api: ChildProcess | null = null;

  private constructor(address: string, port: number, etcdPort: number, etcd: Found) {
    this.address = address;
    this.port = port;
    this.#etcdPort = etcdPort;
    this.#etcdPath = pathOf(etcd);
  }

  /** Starts a server and waits until it is ready. */
  static async start(etcd: Found = ANY_ETCD, address = "127.0.0.1"): Promise<KubernetesServer> {
    const [port, etcdPort, peerPort] = await freePorts(3);
    const server = new KubernetesServer(address, port!, etcdPort!, etcd);
    server.#prepare();
    server.#peerPort = peerPort!;
    await server.startEtcd();
    await server.startApi();
    return server;
  }

  #peerPort = 0;

  /** Where the API is. */
  get url(): string {
    return `https://${this.address}:${this.port}`;
  }

  /** The certificate by which clients know the server. */
  get caFile(): string {
    return join(this.folder, "certs", "apiserver.crt");
  }

  /** A file that names server and administrator. */
  get kubeconfig(): string {
    const path = join(this.folder, "kubeconfig");
    writeFileSync(path, JSON.stringify(this.kubeconfigOf({ token: TOKEN })));
    return path;
  }

  /** A kubeconfig with a user. */
  kubeconfigOf(user: Readonly<Record<string, unknown>>, cluster: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
    return {
      apiVersion: "v1",
      kind: "Config",
      "current-context": "test",
      contexts: [{ name: "test", context: { cluster: "test", user: "test" } }],
      clusters: [{ name: "test", cluster: { server: this.url, "certificate-authority": this.caFile, ...cluster } }],
      users: [{ name: "test", user }],
    };
  }

  /** Client certificate and key of an administrator, as files. */
  clientCertificate(): { readonly cert: string; readonly key: string } {
    const [ca, cert, key, request] = ["client-ca", "client.crt", "client.key", "client.csr"].map((it) => join(this.folder, it));
    const subject = "/O=system:masters/CN=certified";
    openssl("req", "-newkey", "rsa:2048", "-nodes", "-keyout", key!, "-out", request!, "-subj", subject);
    openssl(
      "x509",
      "-req",
      "-in",
      request!,
      "-CA",
      `${ca}.crt`,
      "-CAkey",
      `${ca}.key`,
      "-CAcreateserial",
      "-out",
      cert!,
      "-days",
      "2",
    );
    return { cert: cert!, key: key! };
  }

  #prepare(): void {
    mkdirSync(join(this.folder, "certs"));
    writeFileSync(join(this.folder, "tokens.csv"), `${TOKEN},admin,admin,"system:masters"\n`);
    const ca = join(this.folder, "client-ca");
    openssl("genrsa", "-out", join(this.folder, "sa.key"), "2048");
    openssl(
      "req",
      "-x509",
      "-newkey",
      "rsa:2048",
      "-nodes",
      "-keyout",
      `${ca}.key`,
      "-out",
      `${ca}.crt`,
      "-subj",
      "/CN=ca",
      "-days",
      "2",
    );
  }

  /** Starts etcd. */
  async startEtcd(): Promise<void> {
    const client = `http://127.0.0.1:${this.#etcdPort}`;
    this.#etcd = this.#spawn("etcd", this.#etcdPath, [
      `--data-dir=${join(this.folder, "etcd")}`,
      `--listen-client-urls=${client}`,
      `--advertise-client-urls=${client}`,
      `--listen-peer-urls=http://127.0.0.1:${this.#peerPort}`,
      "--quota-backend-bytes=4294967296",
    ]);
    await this.#until("etcd", this.#etcd, async () => (await get(`${client}/health`)).includes("true"));
  }

  /** Starts the API server, which needs etcd. */
  async startApi(...args: readonly string[]): Promise<void> {
    const file = (name: string) => join(this.folder, name);
    this.#api = this.#spawn("kube-apiserver", pathOf(KUBE_APISERVER), [
      `--etcd-servers=http://127.0.0.1:${this.#etcdPort}`,
      `--bind-address=${this.address}`,
      `--advertise-address=${this.address}`,
      "--endpoint-reconciler-type=none",
      `--secure-port=${this.port}`,
      `--cert-dir=${file("certs")}`,
      `--client-ca-file=${file("client-ca.crt")}`,
      `--service-account-key-file=${file("sa.key")}`,
      `--service-account-signing-key-file=${file("sa.key")}`,
      "--service-account-issuer=https://kubernetes.default.svc",
      "--service-cluster-ip-range=10.96.0.0/16",
      `--token-auth-file=${file("tokens.csv")}`,
      "--authorization-mode=Node,RBAC",
      "--allow-privileged",
      ...args,
    ]);
    await this.#until("kube-apiserver", this.#api, async () => (await this.ask("GET", "/readyz")).text === "ok");
  }

  /** Ends the API server as a crash would. */
  async stopApi(): Promise<void> {
    await end(this.#api);
    this.#api = null;
  }

  /** Ends etcd. */
  async stopEtcd(): Promise<void> {
    await end(this.#etcd);
    this.#etcd = null;
  }

  /** Halts or resumes the API server's process: its sockets stay open and say nothing. */
  halt(halted: boolean): void {
    process.kill(this.#api!.pid!, halted ? "SIGSTOP" : "SIGCONT");
  }

  /** Runs something while etcd is stopped, with etcd's folder; the API server must be stopped too. */
  async withEtcdFolder(run: (folder: string) => void): Promise<void> {
    await this.stopEtcd();
    run(join(this.folder, "etcd"));
    await this.startEtcd();
  }

  /** Puts a copy of etcd's state aside, or takes it back. */
  async copyState(direction: "aside" | "back"): Promise<void> {
    await this.withEtcdFolder((folder) => {
      const [from, to] = direction === "aside" ? [folder, `${folder}-aside`] : [`${folder}-aside`, folder];
      rmSync(to, { recursive: true, force: true });
      cpSync(from, to, { recursive: true });
    });
  }

  /** Makes etcd forget all history. */
  async compact(): Promise<void> {
    const etcd = `http://127.0.0.1:${this.#etcdPort}/v3/kv`;
    const { header } = JSON.parse(await post(`${etcd}/range`, { key: "AA==" })) as { header: { revision: string } };
    await post(`${etcd}/compaction`, { revision: header.revision, physical: true });
  }

  /** Resident memory and CPU time of the API server. */
  usage(): { readonly cpuSeconds: number; readonly residentMiB: number } {
    return usageOf(this.#api!.pid!);
  }

  /** What the server says to the administrator, or to who has another token. */
  async ask(method: string, path: string, body?: unknown, type = "application/json", token = TOKEN): Promise<Answered> {
    const headers = { authorization: `Bearer ${token}`, ...body === undefined ? {} : { "content-type": type } };
    return await new Promise((resolve, reject) => {
      const request = https.request(
        { host: this.address, port: this.port, agent: this.#agent, method, path, headers },
        (answer) => {
          let text = "";
          answer.setEncoding("utf8").on("data", (piece) => text += piece).on(
            "end",
            () => resolve({ status: answer.statusCode!, text }),
          );
          answer.on("error", reject);
        },
      );
      request.on("error", reject).end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** As {@linkcode KubernetesServer.ask}, for what has to succeed. */
  async must<T>(method: string, path: string, body?: unknown, type?: string): Promise<T> {
    const { status, text } = await this.ask(method, path, body, type);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`);
    return JSON.parse(text) as T;
  }

  /** Makes a Node. */
  async makeNode(name: string, podCidrs: readonly string[], annotations: Readonly<Record<string, string>> = {}): Promise<NodeJson> {
    const spec = podCidrs.length === 0 ? {} : { podCIDR: podCidrs[0], podCIDRs: podCidrs };
    return await this.must("POST", "/api/v1/nodes", { apiVersion: "v1", kind: "Node", metadata: { name, annotations }, spec });
  }

  /** Reads a Node. */
  async node(name: string): Promise<NodeJson> {
    return await this.must("GET", `/api/v1/nodes/${name}`);
  }

  /** Merges into a Node; `null` takes away. */
  async patchNode(name: string, patch: unknown): Promise<NodeJson> {
    return await this.must("PATCH", `/api/v1/nodes/${name}`, patch, "application/merge-patch+json");
  }

  /** Merges into the annotations of a Node. */
  async annotate(name: string, annotations: Readonly<Record<string, string | null>>): Promise<void> {
    await this.patchNode(name, { metadata: { annotations } });
  }

  /** Deletes a Node, or all. */
  async deleteNode(name = ""): Promise<void> {
    await this.must("DELETE", `/api/v1/nodes${name && "/"}${name}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    await Promise.all([end(this.#api), end(this.#etcd)]);
    rmSync(this.folder, { recursive: true, force: true });
  }

  #spawn(name: string, path: string, args: readonly string[]): ChildProcess {
    const log = openSync(join(this.folder, `${name}.log`), "a");
    const child = spawn(path, args, { stdio: ["ignore", log, log] });
    closeSync(log);
    return child;
  }

  async #until(name: string, child: ChildProcess, isSo: () => Promise<boolean>): Promise<void> {
    const limit = performance.now() + PATIENCE;
    while (!await isSo().catch(() => false)) {
      if (child.exitCode !== null || performance.now() > limit) {
        const log = readFileSync(join(this.folder, `${name}.log`), "utf8").slice(-2000);
        await this[Symbol.asyncDispose]();
        throw new Error(`${name} did not start: ${log}`);
      }
      await sleep(100);
    }
  }
}

/** CPU time and resident memory of a process. */
export function usageOf(pid: number): { readonly cpuSeconds: number; readonly residentMiB: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
  return { cpuSeconds: (Number(fields[11]) + Number(fields[12])) / 100, residentMiB: Number(fields[21]) * 4096 / 1048576 };
}

function pathOf(found: Found): string {
  if ("lack" in found) throw new Error(found.lack);
  return found.path;
}

function openssl(...args: readonly string[]): void {
  execFileSync("openssl", args, { stdio: "ignore" });
}

async function end(child: ChildProcess | null): Promise<void> {
  if (child === null || child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once("exit", resolve));
  process.kill(child.pid!, "SIGKILL"); // child.kill() of Deno sends but one signal in a child's life
  await ended;
}

function get(url: string): Promise<string> {
  return new Promise((resolve, reject) => http.get(url, (answer) => read(answer, resolve)).on("error", reject));
}

function post(url: string, body: unknown): Promise<string> {
  return new Promise((resolve, reject) =>
    http.request(url, { method: "POST" }, (answer) => read(answer, resolve)).on("error", reject).end(JSON.stringify(body))
  );
}

function read(answer: http.IncomingMessage, done: (text: string) => void): void {
  let text = "";
  answer.setEncoding("utf8").on("data", (piece) => text += piece).on("end", () => done(text));
}
