/**
 * The Kubernetes lease store with what the executable hands it: environment, processes, memory management.
 *
 * @module
 */

import process from "node:process";
import { StartError } from "../agent.ts";
import { UsageError } from "../config/errors.ts";
import type { KubernetesStore as StoreSettings, Settings } from "../config/settings.ts";
import { credentialsOf } from "../stores/kubernetes/credentials.ts";
import { KubernetesStore } from "../stores/kubernetes/store.ts";
import { keepNodeCondition } from "./node_condition.ts";
import { spawn } from "./spawn.ts";
import type { OpenedStore, StoreInput } from "./store.ts";

/**
 * Opens it, without a word to the API server yet.
 *
 * @throws {StartError} If nothing tells which node this is.
 * @throws {UsageError} If the prefix of annotations is none.
 */
export function openKubernetesStore(
  { nodeName, netConfig }: Settings,
  settings: StoreSettings,
  { clock, chance, log, watchFolder, version, relief }: StoreInput,
): OpenedStore {
  const { apiUrl, kubeconfigFile, annotationPrefix, pod } = settings;
  const node = nodeName ?? (pod === null ? null : { namespace: pod.namespace, pod: pod.name });
  if (node === null) {
    throw new StartError(
      "Cannot tell the name of this node, by which Kubernetes knows it: give --node-name or NODE_NAME, " +
        "or the pod's own name in POD_NAMESPACE and POD_NAME",
    );
  }
  const [now, random, warn] = [() => clock.now(), () => chance.number(), (message: string) => log("warning", message)];
  const credentials = credentialsOf({ apiUrl, kubeconfigFile, env: process.env, run: spawn, now, warn });
  const options = {
    credentials,
    annotationPrefix,
    netConfigPath: netConfig.path,
    watchFolder,
    node,
    userAgent: `weft/${version}`,
    now,
    random,
    warn,
    collect: () => relief?.collect(),
  };
  const store = madeWith(() => new KubernetesStore(options));
  return {
    store,
    note: null,
    node: () => store.node,
    ...settings.setNodeNetworkUnavailable &&
      { attend: (notReady, signal) => keepNodeCondition({ store, notReady, clock, log }, signal) },
  };
}

function madeWith(make: () => KubernetesStore): KubernetesStore {
  try {
    return make();
  } catch (error) {
    throw error instanceof SyntaxError ? new UsageError(`Cannot use --kube-annotation-prefix: ${error.message}`) : error;
  }
}
