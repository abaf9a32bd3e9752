/**
 * The Kubernetes lease store: leases are in the annotations and `podCIDR`s of Node objects, as flannel has them.
 *
 * Subnets are assigned by Kubernetes; this store says where this node is and reads where the others are. It waits for what is not there
 * yet, and asks again for as long as the API server does not answer: {@linkcode KubernetesStore.health} says what it waits for. Source:
 * flannel.md section 4.
 *
 * @module
 */

import type { WatchFolder } from "../../../ffi/mod.ts";
import { ConfigError, quote } from "../../config/errors.ts";
import type { Ip } from "../../model/ip.ts";
import { type Lease, type LeaseEvent, LeaseLostError, type LeaseRequest, type LeaseStore } from "../../model/lease.ts";
import { configText } from "../config_file.ts";
import { Health } from "../health.ts";
import { untilItWorks } from "../retry.ts";
import { pause } from "../wait.ts";
import type { Credentials } from "./access.ts";
import { type AnnotationNames, annotationNames } from "./annotations.ts";
import { ApiError } from "./api_error.ts";
import { HttpClient } from "./http.ts";
import { Mender } from "./mender.ts";
import type { NodeObject } from "./node.ts";
import { NodeApi } from "./node_api.ts";
import { annotationPatch, changedAnnotations, conditionPatch, leaseFor, overwriteOf, wrongAddresses } from "./own_node.ts";
import { FAMILIES, recordOf, subnetsOf } from "./record.ts";
import { watchLeases } from "./watch.ts";

/** How the store is made. */
export interface KubernetesOptions {
  readonly credentials: Credentials;
  /** What annotations begin with, `--kube-annotation-prefix`. */
  readonly annotationPrefix: string;
  readonly netConfigPath: string;
  readonly watchFolder: WatchFolder;
  /** This node by its name, or by a pod that runs on it. */
  readonly node: string | { readonly namespace: string; readonly pod: string };
  readonly userAgent: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** What the operator should know, such as an annotation that can not be used. */
  readonly warn: (message: string) => void;
  /** Called after about every 2 MB read and after a large answer, so that a runtime can give memory back which its own collector would keep for later. */
  readonly collect?: () => void;
}

/** The lease store in the Node objects of Kubernetes. */
export class KubernetesStore implements LeaseStore {
  readonly kind = "kubernetes";
  readonly #options: KubernetesOptions;
  readonly #names: AnnotationNames;
  readonly #http: HttpClient;
  readonly #api: NodeApi;
  readonly #health = new Health();
  #nodeName: string | null;
  #nodeUid: string | null = null;
  /** As it was published last. */
  #lease: Lease | null = null;

  /** @throws {SyntaxError} If the prefix can not begin the name of an annotation. */
  constructor(options: KubernetesOptions) {
    this.#options = options;
    this.#names = annotationNames(options.annotationPrefix);
    this.#http = new HttpClient(options);
    this.#api = new NodeApi(this.#http, this.#names);
    this.#nodeName = typeof options.node === "string" ? options.node : null;
  }

  health() {
    return this.#health.state;
  }

  /** Bytes read from the API server so far, for measuring. */
  get bytesRead(): number {
    return this.#http.bytesRead;
  }

  /** The name of this node's Node; `null` while the API server has not told it. */
  get node(): string | null {
    return this.#nodeName;
  }

  /** The uid of the Node of which the lease was taken last; another one once the Node was deleted, made again and taken. */
  get nodeUid(): string | null {
    return this.#nodeUid;
  }

  /**
   * The name of this node's Node: the one that was given, or the one on which the pod runs.
   *
   * @throws {ConfigError} If the pod is on no node.
   */
  async nodeName(signal: AbortSignal): Promise<string> {
    const { node } = this.#options;
    if (this.#nodeName !== null || typeof node === "string") return this.#nodeName!;
    const { namespace, pod } = node;
    const name = await this.#persist(() => this.#api.nodeOfPod(namespace, pod, signal), signal);
    if (name === null) {
      throw new ConfigError(
        `Cannot tell the name of this node: pod ${quote(`${namespace}/${pod}`)} does not exist or is on no node; ` +
          `give --node-name or NODE_NAME`,
      );
    }
    return this.#nodeName = name;
  }

  networkConfig(signal: AbortSignal): AsyncIterable<string> {
    const { netConfigPath, watchFolder } = this.#options;
    return configText(netConfigPath, false, signal, (what) => this.#health.problem("configuration", what), watchFolder);
  }

  /** The addresses that annotations of this node set in place of `--public-ip` and `--public-ipv6`. */
  async configuredPublicIps(signal: AbortSignal): Promise<readonly Ip[]> {
    const { node } = await this.#read(signal);
    if (node === null) return [];
    return FAMILIES.flatMap(({ family, configured }) => overwriteOf(node, configured, family) ?? []);
  }

  async previousLease(_publicIps: readonly Ip[], signal: AbortSignal): Promise<Lease | null> {
    const { node } = await this.#read(signal);
    const record = node === null ? null : recordOf(node);
    return record !== null && "lease" in record ? record.lease : null;
  }

  async acquire(request: LeaseRequest, signal: AbortSignal): Promise<Lease> {
    for (;;) {
      const { node, version } = await this.#read(signal);
      if (node !== null && node.podCidrs?.length) {
        this.#health.problem("lease", null);
        const lease = leaseFor(node, request);
        await this.#publish(node, lease, signal);
        this.#nodeUid = node.uid;
        return lease;
      }
      const name = await this.nodeName(signal);
      this.#health.problem(
        "lease",
        node === null ? `There is no Node ${name} yet` : `Node ${name} has no podCIDR yet; ${CIDRS_ARE_ASSIGNED}`,
      );
      await this.#change(name, version, signal);
    }
  }

  async renew(lease: Lease, signal: AbortSignal): Promise<Lease> {
    await this.#publish(await this.#held(lease, signal), lease, signal);
    return lease;
  }

  /** Takes the mark of a managed node away; its podCIDR stays, since only Kubernetes can free that. */
  async release(lease: Lease, signal: AbortSignal): Promise<void> {
    const { name } = await this.#held(lease, signal);
    this.#lease = null;
    await this.#annotate(name, { [this.#names.full("kube-subnet-manager")]: null }, signal);
  }

  watch(signal: AbortSignal): AsyncIterable<LeaseEvent> {
    const { random } = this.#options;
    const mender = new Mender(async (signal) => void await this.renew(this.#lease!, signal), random);
    const seen = (node: NodeObject) => {
      if (this.#differs(node)) mender.undone(signal);
    };
    return watchLeases({ api: this.#api, health: this.#health, random, seen }, signal);
  }

  /** Whether this is our node and says something else than we published: by an overwrite, or because somebody else wrote it. */
  #differs(node: NodeObject): boolean {
    const { name, annotations } = node;
    if (this.#lease === null || name !== this.#nodeName || annotations["kube-subnet-manager"] !== "true") return false;
    return Object.keys(changedAnnotations(node, this.#lease, this.#names)).length > 0;
  }

  /**
   * Says whether this node's network can be used, and does not rest until the API server has heard it.
   *
   * @param why Why the network is not available; `null` if it is.
   */
  async setNetworkUnavailable(why: string | null, signal: AbortSignal): Promise<void> {
    const name = await this.nodeName(signal);
    await this.#persist(() => this.#api.patch(name, conditionPatch(why, this.#options.now()), signal), signal);
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#http.close();
    return Promise.resolve();
  }

  async #read(signal: AbortSignal): Promise<{ readonly node: NodeObject | null; readonly version: string }> {
    const name = await this.nodeName(signal);
    return await this.#persist(() => this.#api.one(name, signal), signal);
  }

  /** This node's Node, if it still says that the lease is ours. */
  async #held(lease: Lease, signal: AbortSignal): Promise<NodeObject> {
    const { node } = await this.#read(signal);
    const lost = (why: string) => new LeaseLostError(`the lease of node ${lease.key} is lost: ${why}`);
    if (node === null) throw lost("its Node was deleted");
    if (node.annotations["kube-subnet-manager"] !== "true") {
      throw lost(`annotation ${this.#names.full("kube-subnet-manager")} was removed`);
    }
    const subnets = [...subnetsOf(node.podCidrs ?? []).values()];
    if (lease.endpoints.every(({ subnet }) => subnets.includes(subnet))) return node;
    throw lost(`its podCIDR is ${subnets.join(" and ") || "not assigned"} now`);
  }

  async #publish(node: NodeObject, lease: Lease, signal: AbortSignal): Promise<void> {
    wrongAddresses(node, this.#names).forEach(this.#options.warn);
    const changed = changedAnnotations(node, lease, this.#names);
    if (Object.keys(changed).length > 0) await this.#annotate(node.name, changed, signal);
    this.#lease = lease;
  }

  /** A Node that is gone, or a patch that it refuses, does not get better by waiting. */
  async #annotate(name: string, annotations: Readonly<Record<string, string | null>>, signal: AbortSignal): Promise<void> {
    const isFinal = (error: unknown) => error instanceof ApiError && (error.status === 404 || error.status === 422);
    await this.#persist(() => this.#api.patch(name, annotationPatch(annotations), signal), signal, isFinal);
  }

  /** Waits until the node may have changed. */
  async #change(name: string, version: string, signal: AbortSignal): Promise<void> {
    const both = AbortSignal.any([signal, AbortSignal.timeout(LOOK_AGAIN)]);
    try {
      for await (const { type } of this.#api.watch({ whole: true, name }, version, 0, both)) if (type !== "mark") return;
    } catch (error) {
      signal.throwIfAborted();
      if (both.aborted) return;
      this.#health.bad(error);
    }
    await pause(1000, signal);
  }

  #persist<T>(run: () => Promise<T>, signal: AbortSignal, isFinal: (error: unknown) => boolean = () => false): Promise<T> {
    return untilItWorks(run, { health: this.#health, random: this.#options.random, isFinal }, signal);
  }
}

/** A node that waits for something is read again after so many milliseconds, whatever the watch says. */
const LOOK_AGAIN = 30_000;
const CIDRS_ARE_ASSIGNED = "kube-controller-manager assigns it if it has --allocate-node-cidrs and --cluster-cidr";
