/**
 * A stand-in for an API server: it serves only what a real one can not be made to do on demand.
 *
 * It knows nodes, lists and watches in protobuf, and patches of annotations. A test gets in between with
 * {@linkcode StandIn.intercept}. All that is asked is written down.
 *
 * @module
 */

import http from "node:http";
import type { Socket } from "node:net";
import type { NodeJson } from "../e2e/kubernetes_server.ts";
import { envelope, eventBytes, listBytes, nodeBytes } from "./bytes.ts";

/** A request as a test looks at it. */
export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly accept: string;
  readonly body: string;
  /** When it came, in milliseconds of `performance.now()`. */
  readonly at: number;
}

const METADATA = /as=PartialObjectMetadata/;

/** The stand-in. */
export class StandIn implements AsyncDisposable {
  readonly nodes = new Map<string, NodeJson>();
  readonly asked: Asked[] = [];
  /** What `/version` says: below 27 nobody asks for streamed lists. */
  minor = "20";
  version = 100;
  readonly #history: { readonly version: number; readonly type: string; readonly node: NodeJson }[] = [];
  /** Answers a request in place of the stand-in; `true` if it did. */
  intercept: (asked: Asked, response: http.ServerResponse) => boolean = () => false;
  readonly #server: http.Server;
  readonly #sockets = new Set<Socket>();
  readonly #watches = new Set<{ readonly response: http.ServerResponse; readonly whole: boolean }>();

  private constructor() {
    this.#server = http.createServer((request, response) => this.#handle(request, response));
    this.#server.on("connection", (socket) => {
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket)).on("error", () => {});
    });
  }

  /** Starts one on loopback. */
  static async start(...nodes: readonly NodeJson[]): Promise<StandIn> {
    const server = new StandIn();
    nodes.forEach((node) => server.nodes.set(node.metadata.name, node));
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  /** Its URL. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  /** Lists so far, as far as they are of all nodes; and whether they were whole. */
  get lists(): readonly ("whole" | "metadata")[] {
    const lists = this.asked.filter(({ path, query }) =>
      path === "/api/v1/nodes" && !query.has("watch") && !query.has("fieldSelector")
    );
    return lists.filter(({ query }) => query.get("limit") !== "1").map(({ accept }) =>
      METADATA.test(accept) ? "metadata" : "whole"
    );
  }

  /** Watches so far of all nodes. */
  get watches(): readonly Asked[] {
    return this.asked.filter(({ path, query }) => path === "/api/v1/nodes" && query.has("watch") && !query.has("fieldSelector"));
  }

  /** How many watches are open. */
  get open(): number {
    return this.#watches.size;
  }

  /** Changes a node and tells the watches. */
  put(node: NodeJson): void {
    const known = this.nodes.has(node.metadata.name);
    this.version++;
    const now = { ...node, metadata: { ...node.metadata, resourceVersion: String(this.version) } };
    this.nodes.set(node.metadata.name, now);
    this.#happened(known ? "MODIFIED" : "ADDED", now);
  }

  /** Deletes a node and tells the watches. */
  delete(name: string): void {
    const node = this.nodes.get(name)!;
    this.nodes.delete(name);
    this.version++;
    this.#happened("DELETED", { ...node, metadata: { ...node.metadata, resourceVersion: String(this.version) } });
  }

  #happened(type: string, node: NodeJson): void {
    this.#history.push({ version: this.version, type, node });
    this.tell(type, node);
  }

  /** Tells the watches how far they have come. */
  bookmark(): void {
    this.version++;
    this.tell("BOOKMARK", bookmark(this.version));
  }

  /** Writes an event to the watches, or only the first bytes of it. */
  tell(type: string, node: NodeJson, bytes = Infinity): void {
    for (const { response, whole } of this.#watches) response.write(event(type, node, whole).subarray(0, bytes));
  }

  /** Writes whatever it is to the watches. */
  write(bytes: Uint8Array): void {
    for (const { response } of this.#watches) response.write(bytes);
  }

  /** Ends the watches: properly, or as a connection that is cut. */
  endWatches(how: "properly" | "cut"): void {
    for (const { response } of this.#watches) how === "cut" ? response.destroy() : response.end();
    this.#watches.clear();
  }

  /** Waits until something is so. */
  async until(what: string, isSo: (it: StandIn) => boolean, patience = 10_000): Promise<void> {
    const limit = performance.now() + patience;
    while (!isSo(this)) {
      if (performance.now() > limit) {
        throw new Error(`${what} did not come; asked: ${JSON.stringify(this.asked.map(({ path }) => path))}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#sockets.forEach((socket) => socket.destroy());
    await closed;
  }

  #handle(request: http.IncomingMessage, response: http.ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url!, this.url);
    let body = "";
    request.setEncoding("utf8").on("data", (piece) => body += piece).on("end", () => {
      const { method = "", headers: { accept = "" } } = request;
      const asked = { method, path: pathname, query: searchParams, accept, body, at: performance.now() };
      this.asked.push(asked);
      response.on("error", () => {});
      if (!this.intercept(asked, response)) this.serve(asked, response);
    });
  }

  /** Answers as a server does that has no faults. */
  serve({ method, path, query, accept, body }: Asked, response: http.ServerResponse): void {
    const whole = !METADATA.test(accept);
    const name = query.get("fieldSelector")?.replace("metadata.name=", "");
    const selected = [...this.nodes.values()].filter(({ metadata }) => name === undefined || metadata.name === name);
    if (method === "PATCH") return this.#patch(path.split("/")[4]!, body, response);
    if (path === "/version") return void response.end(JSON.stringify({ major: "1", minor: this.minor }));
    if (path !== "/api/v1/nodes") return void response.end("ok");
    if (!query.has("watch")) return void response.end(listBytes(selected, String(this.version), { whole }));
    response.flushHeaders();
    if (query.has("sendInitialEvents")) {
      for (const node of selected) response.write(event("ADDED", node, whole));
      response.write(event("BOOKMARK", bookmark(this.version, true), whole));
    }
    const from = Number(query.get("resourceVersion") ?? Infinity);
    for (const it of this.#history) if (it.version > from) response.write(event(it.type, it.node, whole));
    const watch = { response, whole };
    this.#watches.add(watch);
    response.on("close", () => this.#watches.delete(watch));
  }

  #patch(name: string, body: string, response: http.ServerResponse): void {
    const node = this.nodes.get(name);
    if (node === undefined) return void response.writeHead(404).end();
    const { annotations = {} } = (JSON.parse(body) as { metadata?: { annotations?: Record<string, string | null> } }).metadata ??
      {};
    const merged = Object.entries({ ...node.metadata.annotations, ...annotations }).filter(([, value]) => value !== null);
    this.put({ ...node, metadata: { ...node.metadata, annotations: Object.fromEntries(merged) as Record<string, string> } });
    response.end(envelope("PartialObjectMetadata", nodeBytes(node, false)));
  }
}

/** A node that an agent manages; its uid is made of its name and its subnet. */
export function managed(name: string, podCIDR = "", annotations: Readonly<Record<string, string>> = {}): NodeJson {
  const prefix = "flannel.alpha.coreos.com";
  return {
    metadata: {
      name,
      uid: `${name}-${podCIDR}`,
      resourceVersion: "1",
      annotations: {
        [`${prefix}/kube-subnet-manager`]: "true",
        [`${prefix}/backend-type`]: "vxlan",
        [`${prefix}/backend-data`]: "null",
        [`${prefix}/public-ip`]: "192.168.100.1",
        ...annotations,
      },
    },
    spec: podCIDR === "" ? {} : { podCIDR, podCIDRs: [podCIDR] },
  };
}

function bookmark(version: number, ends = false): NodeJson {
  const annotations = ends ? { "k8s.io/initial-events-end": "true" } : {};
  return { metadata: { name: "", uid: "", resourceVersion: String(version), annotations }, spec: {} };
}

function event(type: string, node: NodeJson, whole: boolean): Uint8Array {
  return eventBytes(type, envelope(whole ? "Node" : "PartialObjectMetadata", nodeBytes(node, whole)));
}
