/**
 * Chooses where the credentials come from: a kubeconfig, or the files that Kubernetes puts into a pod.
 *
 * @module
 */

import { readFile } from "node:fs/promises";
import { ConfigError, quote } from "../../config/errors.ts";
import type { Access } from "../transport.ts";
import { type Credentials, parseServer } from "./access.ts";
import type { RunPlugin } from "./exec_plugin.ts";
import { Kubeconfig } from "./kubeconfig.ts";

/** What is told of the API server. */
export interface CredentialOptions {
  /** `--kube-api-url`; stands in for the server that kubeconfig or pod name. */
  readonly apiUrl: string | null;
  /** `--kubeconfig-file`. */
  readonly kubeconfigFile: string | null;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Where a pod finds its token; default is Kubernetes' own place. */
  readonly serviceAccount?: string;
  /** Runs a credential plugin of a kubeconfig. */
  readonly run: RunPlugin;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly warn: (message: string) => void;
}

const SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * The credentials that the options name.
 *
 * @throws {ConfigError} If they name no server, or the URL is none. Files are read later, each time anew.
 */
export function credentialsOf(options: CredentialOptions): Credentials {
  const { apiUrl, kubeconfigFile, env } = options;
  const url = apiUrl === null ? null : parseServer(apiUrl, "--kube-api-url");
  if (kubeconfigFile !== null) return new Kubeconfig(kubeconfigFile, url, options);
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = env;
  const folder = options.serviceAccount ?? SERVICE_ACCOUNT;
  if (url !== null) return new PodCredentials(url, folder, false);
  if (!host || !port) {
    throw new ConfigError(
      "Cannot find the API server: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, so this is no pod; " +
        "give --kubeconfig-file or --kube-api-url",
    );
  }
  const authority = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return new PodCredentials(parseServer(`https://${authority}`, "KUBERNETES_SERVICE_HOST"), folder, true);
}

/** Token and CA of the pod's service account, read for every request: the kubelet replaces both. */
class PodCredentials implements Credentials {
  readonly #url: URL;
  readonly #folder: string;
  readonly #required: boolean;

  /** @param required Whether a pod without the files is an error; else the requests are made without a name. */
  constructor(url: URL, folder: string, required: boolean) {
    this.#url = url;
    this.#folder = folder;
    this.#required = required;
  }

  async access(): Promise<Access> {
    const url = this.#url;
    if (url.protocol === "http:") return { url, tls: {}, headers: {} };
    const token = await this.#read("token");
    const ca = await this.#read("ca.crt");
    return {
      url,
      tls: ca === null ? {} : { ca },
      headers: token === null ? {} : { authorization: `Bearer ${token.trim()}` },
    };
  }

  refused(): void {} // nothing is remembered

  async #read(name: string): Promise<string | null> {
    const path = `${this.#folder}/${name}`;
    try {
      return await readFile(path, "utf8");
    } catch (error) {
      if (!this.#required && (error as NodeJS.ErrnoException).code === "ENOENT") return null;
      throw new ConfigError(
        `Cannot read ${quote(path)}: ${
          (error as Error).message
        }; does the pod have a service account with automountServiceAccountToken?`,
      );
    }
  }
}
