/**
 * What this store asks of an API server, in its words: nodes listed, watched and patched.
 *
 * Needs no more rights than flannel's agents have: list and watch of nodes, patch of nodes/status, get of pods. One node is read by a
 * list with its name for a selector, since get of nodes is not among them. Never retries. Source: Kubernetes API concepts.
 *
 * @module
 */

import type { AnnotationNames } from "./annotations.ts";
import { ApiError, apiError } from "./api_error.ts";
import { ByteReader } from "./byte_reader.ts";
import type { HttpClient } from "./http.ts";
import { type NodeObject, readNode } from "./node.ts";
import { readList, readStatus, readWatch } from "./wire.ts";

/** Which nodes to read, and how much of each. */
export interface Selection {
  /** Whole nodes, with their pod subnets; else only what their metadata says, where the server can tell it apart. */
  readonly whole: boolean;
  /** Only the node with this name. */
  readonly name?: string;
}

/** News of a node. */
export interface NodeEvent {
  /** `mark` tells only how far the watch has come. */
  readonly type: "put" | "gone" | "mark";
  readonly node: NodeObject;
}

const PROTOBUF = "application/vnd.kubernetes.protobuf";
const AS_METADATA = "v=v1;g=meta.k8s.io";
const PAGE = 500;
/** The server sends a bookmark about once a minute; two missing ones mean that the stream is dead. */
const STREAM_SILENCE = 150_000;
const PROBE_SILENCE = 3000;
/** Seconds; by chance up to twice as long, so that not all agents begin their next watch together. */
const WATCH_SECONDS = 300;
/** Since this minor version servers can stream the first list; some without being told. */
const STREAMS_SINCE = 27;

/** The nodes of one API server. */
export class NodeApi {
  readonly #http: HttpClient;
  readonly #names: AnnotationNames;
  /** Whether the server can tell the metadata of an object from the rest. */
  #knowsMetadata = true;

  constructor(http: HttpClient, names: AnnotationNames) {
    this.#http = http;
    this.#names = names;
  }

  /**
   * Reads nodes in pages, one node in memory at a time.
   *
   * @param put Gets each node as it comes.
   * @returns The version from which a watch goes on.
   */
  async list({ whole, name }: Selection, put: (node: NodeObject) => void, signal: AbortSignal): Promise<string> {
    let version = "";
    for (let next: string | null = ""; next !== null;) {
      const page = query({ limit: PAGE, continue: next, ...selector(name) });
      const meta = await this.#list(page, whole, put, signal);
      version = meta.version;
      next = meta.next === "" ? null : meta.next;
    }
    return version;
  }

  /** One node, `null` if there is none of that name, and the version from which a watch goes on. */
  async one(name: string, signal: AbortSignal): Promise<{ readonly node: NodeObject | null; readonly version: string }> {
    let node: NodeObject | null = null;
    const version = await this.list({ whole: true, name }, (found) => node = found, signal);
    return { node, version };
  }

  /** How far the server's state has come, by the smallest list there is. */
  async currentVersion(signal: AbortSignal): Promise<string> {
    return (await this.#list(query({ limit: 1 }), false, () => {}, signal)).version;
  }

  /**
   * Watches nodes from a version on; without one, all that there are come first, and then the mark with `endsInitialEvents`.
   * Ends when the server ends it.
   *
   * @throws {ApiError} If the server refuses, also in the middle: with status 410 if it has forgotten the version.
   */
  async *watch({ whole, name }: Selection, version: string | null, random: number, signal: AbortSignal): AsyncGenerator<NodeEvent> {
    const from = version === null
      ? { sendInitialEvents: true, resourceVersionMatch: "NotOlderThan" }
      : { resourceVersion: version };
    const timeoutSeconds = Math.round(WATCH_SECONDS * (1 + random));
    const path = query({ watch: true, allowWatchBookmarks: true, timeoutSeconds, ...from, ...selector(name) });
    const request = { path, accept: this.#accept(whole, "PartialObjectMetadata"), stream: true, silence: STREAM_SILENCE };
    const body = await this.#get(request, whole, signal);
    for await (const { type, object } of readWatch(new ByteReader(body))) {
      if (type === "ERROR") throw this.#noted(apiError("the watch of nodes", readStatus(object.message)), whole);
      const node = readNode(object.message, object.kind === "Node" && type !== "BOOKMARK", this.#names);
      yield { type: type === "BOOKMARK" ? "mark" : type === "DELETED" ? "gone" : "put", node };
    }
  }

  /** Whether the server can stream the first list of a watch, by its version; one that does not tell its version is taken for an old one. */
  async streamsLists(signal: AbortSignal): Promise<boolean> {
    try {
      const { major, minor } = await this.#json("/version", signal) as { major?: unknown; minor?: unknown };
      return Number.parseInt(String(major)) > 1 || Number.parseInt(String(minor)) >= STREAMS_SINCE;
    } catch (error) {
      if (error instanceof ApiError && (error.status === 403 || error.status === 404)) return false;
      throw error;
    }
  }

  /** Resolves if the server answers at all, whatever it says. */
  async probe(signal: AbortSignal): Promise<void> {
    try {
      for await (
        const _ of await this.#http.request({ method: "GET", path: "/livez", accept: "*/*", silence: PROBE_SILENCE }, signal)
      );
    } catch (error) {
      const fromProxy = error instanceof ApiError && error.status >= 502 && error.status <= 504;
      if (!(error instanceof ApiError) || fromProxy) throw error;
    }
  }

  /** Changes a node through its status, with a strategic merge patch: the body in JSON. */
  async patch(name: string, text: string, signal: AbortSignal): Promise<void> {
    const path = `${NODES}/${encodeURIComponent(name)}/status`;
    const body = { type: "application/strategic-merge-patch+json", text };
    const accept = this.#accept(false, "PartialObjectMetadata"); // or the whole node would come back
    for await (const _ of await this.#http.request({ method: "PATCH", path, accept, body }, signal));
  }

  /** The name of the node on which a pod runs; `null` if there is no such pod, or if it runs nowhere. */
  async nodeOfPod(namespace: string, pod: string, signal: AbortSignal): Promise<string | null> {
    const path = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(pod)}`;
    try {
      const { spec } = await this.#json(path, signal) as { spec?: { nodeName?: unknown } };
      return typeof spec?.nodeName === "string" && spec.nodeName !== "" ? spec.nodeName : null;
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null;
      throw error;
    }
  }

  async #list(query: string, whole: boolean, put: (node: NodeObject) => void, signal: AbortSignal) {
    const body = await this.#get({ path: query, accept: this.#accept(whole, "PartialObjectMetadataList") }, whole, signal);
    return await readList(new ByteReader(body), (message, kind) => put(readNode(message, kind === "NodeList", this.#names)));
  }

  async #get(request: { path: string; accept: string; stream?: boolean; silence?: number }, whole: boolean, signal: AbortSignal) {
    try {
      return await this.#http.request({ method: "GET", ...request, path: NODES + request.path }, signal);
    } catch (error) {
      throw this.#noted(error, whole);
    }
  }

  /** Remembers what the server can not do; the next attempt does without. */
  #noted(error: unknown, whole: boolean): unknown {
    if (!whole && error instanceof ApiError && error.status === 406) this.#knowsMetadata = false;
    return error;
  }

  #accept(whole: boolean, kind: string): string {
    return whole || !this.#knowsMetadata ? PROTOBUF : `${PROTOBUF};as=${kind};${AS_METADATA},${PROTOBUF}`;
  }

  async #json(path: string, signal: AbortSignal): Promise<unknown> {
    const pieces: Uint8Array[] = [];
    for await (const piece of await this.#http.request({ method: "GET", path, accept: "application/json" }, signal)) {
      pieces.push(piece);
    }
    return JSON.parse(await new Blob(pieces as BlobPart[]).text());
  }
}

const NODES = "/api/v1/nodes";

function selector(name: string | undefined): { fieldSelector?: string } {
  return name === undefined ? {} : { fieldSelector: `metadata.name=${name}` };
}

function query(values: Readonly<Record<string, string | number | boolean>>): string {
  return `?${new URLSearchParams(Object.entries(values).map(([key, value]) => [key, String(value)]))}`;
}
