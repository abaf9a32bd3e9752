/**
 * The settings of an agent, out of the values of its flags.
 *
 * Here flags that belong together become one value, and contradictions between flags are found: two lease stores at once, a certificate
 * without its key. Pure: files and the host's name are looked up by whoever uses the settings. Precedence (default, environment, flag)
 * is the business of args.ts.
 *
 * @module
 */

import type { Ip } from "../model/ip.ts";
import type { ListenAddress } from "../model/listen.ts";
import { type Environment, type Given, misspeltVariables } from "./args.ts";
import { UsageError } from "./errors.ts";
import type { InterfaceChoice } from "./flag_types.ts";
import { type FlagName, flagOf, FLAGS, type Values } from "./flags.ts";
import type { Secret } from "./secret.ts";

/** A lease store in one file of this machine. */
export interface EmbeddedStore {
  readonly kind: "embedded";
  readonly file: string;
}

/** A lease store in etcd. Files and names that are not set are `null`. */
export interface EtcdStore {
  readonly kind: "etcd";
  /** Origins such as `https://10.0.0.1:2379`; never empty. */
  readonly endpoints: readonly string[];
  /** Key prefix without a trailing slash. */
  readonly prefix: string;
  readonly caFile: string | null;
  /** Client certificate; set exactly when `keyFile` is. */
  readonly certFile: string | null;
  readonly keyFile: string | null;
  readonly user: { readonly name: string; readonly password: Secret } | null;
}

/** Leases in the Node objects of Kubernetes. With neither URL nor kubeconfig, the API server is the one that the pod was told. */
export interface KubernetesStore {
  readonly kind: "kubernetes";
  readonly apiUrl: string | null;
  readonly kubeconfigFile: string | null;
  readonly annotationPrefix: string;
  readonly setNodeNetworkUnavailable: boolean;
  /** The pod in which the agent runs, which knows its node; `null` if the environment does not say. */
  readonly pod: { readonly namespace: string; readonly name: string } | null;
}

/** Where leases are kept. */
export type StoreSettings = EmbeddedStore | EtcdStore | KubernetesStore;

/** All that an agent is told when it starts. */
export interface Settings {
  readonly store: StoreSettings;
  /** The backend's name in lower case; `null` leaves it to the network configuration. */
  readonly backend: string | null;
  readonly pluginDirs: readonly string[];
  /** `given` is false while the path is the default; only then may the file be absent. */
  readonly netConfig: { readonly path: string; readonly given: boolean };
  readonly subnetFile: string;
  /** `null` if neither flag nor variable names the node. */
  readonly nodeName: string | null;
  /** In the order in which they are to be tried; empty leaves the choice to the public addresses, else to the default route. */
  readonly interfaces: readonly InterfaceChoice[];
  readonly publicIp: Ip | null;
  readonly publicIpv6: Ip | null;
  readonly renewMarginMinutes: number;
  readonly blackholeRoute: boolean;
  readonly ipMasq: boolean;
  /** Whether the ports of masqueraded connections are chosen fully at random. */
  readonly ipMasqFullyRandom: boolean;
  readonly forwardRules: boolean;
  readonly rulesResyncSeconds: number;
  /** `address` is `null` for none; a port that is taken stops the agent only if it was `given`. */
  readonly statusListen: { readonly address: ListenAddress | null; readonly given: boolean };
  /** Where only `/healthz` and `/readyz` are served; `null` for nowhere. */
  readonly healthz: { readonly ip: Ip; readonly port: number } | null;
  readonly logFormat: "text" | "json";
  /** 0 is the quietest. */
  readonly verbosity: number;
}

/**
 * Makes settings of what arguments and environment say.
 *
 * @param etcdByDefault Whether leases are in etcd unless something else is asked for, as flanneld has it.
 * @returns The settings, and what the user should know about flags and variables that do nothing.
 * @throws {UsageError} If flags contradict each other.
 */
export function settingsOf(
  given: Given,
  env: Environment,
  etcdByDefault: boolean,
): { readonly settings: Settings; readonly warnings: readonly string[] } {
  const { values, by } = given;
  const store = storeOf(given, env, etcdByDefault);
  const settings: Settings = {
    store,
    backend: values.backend,
    pluginDirs: values["plugin-dir"],
    netConfig: { path: values["net-config-path"], given: by.has("net-config-path") },
    subnetFile: values["subnet-file"],
    nodeName: values["node-name"],
    interfaces: [...values.iface, ...values["iface-regex"], ...listOf(values["iface-can-reach"])],
    publicIp: values["public-ip"],
    publicIpv6: values["public-ipv6"],
    renewMarginMinutes: values["subnet-lease-renew-margin"],
    blackholeRoute: values["ip-blackhole-route"],
    ipMasq: values["ip-masq"],
    ipMasqFullyRandom: !values["ip-masq-fully-random-disable"],
    forwardRules: values["iptables-forward-rules"],
    rulesResyncSeconds: values["iptables-resync"],
    statusListen: { address: values["status-listen"], given: by.has("status-listen") },
    healthz: values["healthz-port"] === 0 ? null : { ip: values["healthz-ip"], port: values["healthz-port"] },
    logFormat: values["log-format"],
    verbosity: values.v,
  };
  return { settings, warnings: [...warningsOf(by, store.kind), ...misspeltVariables(env)] };
}

function storeOf({ values, by }: Given, env: Environment, etcdByDefault: boolean): StoreSettings {
  const etcd = (Object.keys(FLAGS) as FlagName[]).find((name) => flagOf(name).group === "etcd" && by.has(name));
  const asked = [
    ...values["kube-subnet-mgr"] ? [["Kubernetes", by.get("kube-subnet-mgr")]] : [],
    ...etcd === undefined ? [] : [["etcd", by.get(etcd)]],
    ...by.has("lease-db") ? [["the embedded store", by.get("lease-db")]] : [],
  ];
  if (asked.length > 1) {
    const all = asked.map(([store, flag]) => `${store} (${flag})`).join(" and ");
    throw new UsageError(`Cannot keep leases in ${all} at once: give the flags and variables of one lease store only`);
  }
  if (values["kube-subnet-mgr"]) return kubernetesOf(values, env);
  if (etcd !== undefined || (etcdByDefault && !by.has("lease-db"))) return etcdOf(values, by);
  return { kind: "embedded", file: values["lease-db"] };
}

function kubernetesOf(values: Values, env: Environment): KubernetesStore {
  const { POD_NAMESPACE: namespace, POD_NAME: name } = env;
  return {
    kind: "kubernetes",
    apiUrl: values["kube-api-url"],
    kubeconfigFile: values["kubeconfig-file"],
    annotationPrefix: values["kube-annotation-prefix"],
    setNodeNetworkUnavailable: values["set-node-network-unavailable"],
    pod: namespace && name ? { namespace, name } : null,
  };
}

function etcdOf(values: Values, by: Given["by"]): EtcdStore {
  const { "etcd-cafile": caFile, "etcd-certfile": certFile, "etcd-keyfile": keyFile } = values;
  if ((certFile === null) !== (keyFile === null)) {
    throw new UsageError("Cannot use a client certificate by halves: give both --etcd-certfile and --etcd-keyfile");
  }
  const { "etcd-username": name, "etcd-password": password } = values;
  if (name === "" && password.reveal() !== "") {
    throw new UsageError(`Cannot use ${by.get("etcd-password")} without a user: give --etcd-username too`);
  }
  const scheme = caFile === null && certFile === null ? "http:" : "https:";
  return {
    kind: "etcd",
    endpoints: values["etcd-endpoints"].map((origin) => origin.startsWith("//") ? scheme + origin : origin),
    prefix: values["etcd-prefix"],
    caFile,
    certFile,
    keyFile,
    user: name === "" ? null : { name, password },
  };
}

function warningsOf(by: Given["by"], store: StoreSettings["kind"]): string[] {
  return [...by].flatMap(([name, source]) => {
    const { idle, group } = flagOf(name);
    if (idle !== undefined) return [`${source} does nothing: ${idle}`];
    if (group === "Kubernetes" && name !== "node-name" && store !== "kubernetes") {
      return [`${source} does nothing without --kube-subnet-mgr`];
    }
    if (name === "net-config-path" && store === "etcd") {
      return [`${source} does nothing: etcd holds the network configuration itself`];
    }
    return [];
  });
}

function listOf<T>(value: T | null): readonly T[] {
  return value === null ? [] : [value];
}
