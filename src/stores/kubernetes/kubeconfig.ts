/**
 * Credentials out of a kubeconfig file.
 *
 * The file and those it names are read again once they change, so that whoever rotates certificates or tokens needs no restart. The
 * reader of YAML, which adds 3 MB of memory, is loaded only where the file is not JSON. Source: Kubernetes, `client-go/tools/clientcmd/api/v1/types.go`.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { readFile, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { ConfigError, oneLine, quote } from "../../config/errors.ts";
import type { Access, Tls } from "../transport.ts";
import { type Credentials, parseServer } from "./access.ts";
import { EXEC, ExecPlugin, type RunPlugin } from "./exec_plugin.ts";

const text = v.nullish(v.string());

const CLUSTER = v.object({
  "server": text,
  "certificate-authority": text,
  "certificate-authority-data": text,
  "insecure-skip-tls-verify": v.nullish(v.boolean()),
  "tls-server-name": text,
  "proxy-url": text,
  "extensions": v.nullish(v.array(v.object({ name: v.string(), extension: v.unknown() }))),
});

const USER = v.object({
  "client-certificate": text,
  "client-certificate-data": text,
  "client-key": text,
  "client-key-data": text,
  "token": text,
  "tokenFile": text,
  "username": text,
  "password": text,
  "exec": v.nullish(EXEC),
  "auth-provider": v.nullish(v.object({ name: v.string() })),
  "as": text,
});

const CONTEXT = v.object({ cluster: v.string(), user: v.optional(v.string(), "") });

const CONFIG = v.object({
  "current-context": v.nullish(v.string(), ""),
  contexts: v.nullish(v.array(v.object({ name: v.string(), context: CONTEXT })), []),
  clusters: v.nullish(v.array(v.object({ name: v.string(), cluster: CLUSTER })), []),
  users: v.nullish(v.array(v.object({ name: v.string(), user: v.nullish(USER) })), []),
});

/** The context that is in force. */
interface Chosen {
  readonly url: URL;
  readonly cluster: v.InferOutput<typeof CLUSTER>;
  readonly user: v.InferOutput<typeof USER>;
  readonly plugin: ExecPlugin | null;
}

/** What a kubeconfig needs of the outside. */
export interface KubeconfigOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly run: RunPlugin;
  readonly now: () => number;
  readonly warn: (message: string) => void;
}

/** The credentials of a kubeconfig's current context. */
export class Kubeconfig implements Credentials {
  readonly #path: string;
  readonly #server: URL | null;
  readonly #options: KubeconfigOptions;
  #read: { readonly identity: string; readonly chosen: Chosen } | null = null;

  /** @param server Stands in for the server of the file, if it is not `null`. */
  constructor(path: string, server: URL | null, options: KubeconfigOptions) {
    this.#path = path;
    this.#server = server;
    this.#options = options;
  }

  async access(): Promise<Access> {
    const { url, cluster, user, plugin } = await this.#chosen();
    if (url.protocol === "http:") return { url, tls: {}, headers: {} };
    const given = await plugin?.credential() ?? null;
    const [ca, cert, key, tokenInFile] = await Promise.all([
      this.#content(cluster["certificate-authority-data"], cluster["certificate-authority"]),
      this.#content(user["client-certificate-data"], user["client-certificate"]),
      this.#content(user["client-key-data"], user["client-key"]),
      this.#content(null, user.tokenFile),
    ]);
    if ((cert === null) !== (key === null)) throw this.#error("its client certificate and client key must both be there");
    return {
      url,
      tls: tlsOf({ ca, cert: given?.cert ?? cert, key: given?.key ?? key }, cluster),
      headers: authorization(given?.token ?? tokenInFile?.trim() ?? user.token, user),
    };
  }

  refused(): void {
    this.#read?.chosen.plugin?.forget();
  }

  /** The current context; the file is read again where it was changed. */
  async #chosen(): Promise<Chosen> {
    let text: string, identity: string;
    try {
      const { ino, size, mtimeMs } = await stat(this.#path);
      identity = `${ino} ${size} ${mtimeMs}`;
      if (this.#read?.identity === identity) return this.#read.chosen;
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      throw this.#error((error as Error).message);
    }
    const chosen = this.#choose(await this.#parse(text));
    this.#read = { identity, chosen };
    return chosen;
  }

  async #parse(text: string): Promise<v.InferOutput<typeof CONFIG>> {
    const result = v.safeParse(CONFIG, await this.#yaml(text));
    if (result.success) return result.output;
    const [issue] = result.issues;
    throw this.#error(`${v.getDotPath(issue) ?? "it"}: ${oneLine(issue.message)}`);
  }

  async #yaml(text: string): Promise<unknown> {
    try {
      return JSON.parse(text);
    } catch {
      const { load } = await import("js-yaml");
      try {
        return load(text);
      } catch (error) {
        const { reason, mark } = error as { reason?: string; mark?: { line: number } };
        throw this.#error(`${oneLine(reason ?? "it is no YAML")}${mark === undefined ? "" : ` in line ${mark.line + 1}`}`);
      }
    }
  }

  #choose(config: v.InferOutput<typeof CONFIG>): Chosen {
    const wanted = config["current-context"];
    const context = config.contexts?.find(({ name }) => name === wanted)?.context;
    if (context === undefined) {
      const names = config.contexts?.map(({ name }) => quote(name)).join(", ");
      throw this.#error(`its current-context ${quote(wanted ?? "")} is none of its contexts${names ? ` (${names})` : ""}`);
    }
    const cluster = config.clusters?.find(({ name }) => name === context.cluster)?.cluster;
    if (cluster === undefined) throw this.#error(`it has no cluster ${quote(context.cluster)}`);
    const named = config.users?.find(({ name }) => name === context.user);
    if (named === undefined && context.user !== "") throw this.#error(`it has no user ${quote(context.user)}`);
    const user = named?.user ?? {};
    this.#refuse(cluster, user);
    const url = this.#server ??
      parseServer(cluster.server ?? "", `The server of cluster ${quote(context.cluster)} in ${quote(this.#path)}`);
    return { url, cluster, user, plugin: user.exec ? this.#plugin(user.exec, url, cluster) : null };
  }

  /** What is not done is said, instead of doing something else. */
  #refuse(cluster: Chosen["cluster"], user: Chosen["user"]): void {
    const provider = user["auth-provider"];
    if (provider) throw this.#error(`auth-provider ${quote(provider.name)} is not known; use a credential plugin (exec)`);
    if (user.as) throw this.#error("it acts as another user (as), which is not done; name that user's own credentials");
    if (cluster["proxy-url"]) throw this.#error("it reaches the server over a proxy (proxy-url), which is not done");
    if (!cluster["insecure-skip-tls-verify"]) return;
    if (cluster["certificate-authority"] || cluster["certificate-authority-data"]) {
      throw this.#error("insecure-skip-tls-verify and a certificate authority contradict each other");
    }
    this.#options.warn(
      `${quote(this.#path)} has insecure-skip-tls-verify: whoever is on the way to the API server can read and change all`,
    );
  }

  #plugin(exec: v.InferOutput<typeof EXEC>, url: URL, cluster: Chosen["cluster"]): ExecPlugin {
    const { env, run, now } = this.#options;
    const config = cluster.extensions?.find(({ name }) => name === "client.authentication.k8s.io/exec")?.extension;
    const told = {
      "server": url.href.replace(/\/$/, ""),
      "tls-server-name": cluster["tls-server-name"] ?? undefined,
      "insecure-skip-tls-verify": cluster["insecure-skip-tls-verify"] ?? undefined,
      "certificate-authority-data": cluster["certificate-authority-data"] ?? undefined,
      config,
    };
    return new ExecPlugin(exec, { folder: dirname(this.#path), env, cluster: told, run, now });
  }

  /** A text that is in the kubeconfig itself, in base64, or else in a file that it names. */
  async #content(data: string | null | undefined, path: string | null | undefined): Promise<string | null> {
    if (data) return Buffer.from(data, "base64").toString();
    if (!path) return null;
    try {
      return await readFile(resolve(dirname(this.#path), path), "utf8");
    } catch (error) {
      throw this.#error((error as Error).message);
    }
  }

  #error(why: string): ConfigError {
    return new ConfigError(`Cannot use the kubeconfig ${quote(this.#path)}: ${why}`);
  }
}

function tlsOf({ ca, cert, key }: { ca: string | null; cert: string | null; key: string | null }, cluster: Chosen["cluster"]): Tls {
  return {
    ...ca === null ? {} : { ca },
    ...cert === null || key === null ? {} : { cert, key },
    ...cluster["tls-server-name"] ? { servername: cluster["tls-server-name"] } : {},
    ...cluster["insecure-skip-tls-verify"] ? { rejectUnauthorized: false } : {},
  };
}

function authorization(token: string | null | undefined, { username, password }: Chosen["user"]): Access["headers"] {
  if (token) return { authorization: `Bearer ${token}` };
  if (username) return { authorization: `Basic ${Buffer.from(`${username}:${password ?? ""}`).toString("base64")}` };
  return {};
}
