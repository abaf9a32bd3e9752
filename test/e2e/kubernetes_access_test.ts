/**
 * Ways to a real API server: tokens, client certificates, certificates that are not trusted, and the rights that the walk-through's
 * ClusterRole gives, no more.
 *
 * @module
 */

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parseCidr, parseIp } from "../../src/model/ip.ts";
import type { LeaseRequest } from "../../src/model/lease.ts";
import { type CredentialOptions, credentialsOf } from "../../src/stores/kubernetes/credentials.ts";
import { followLeases } from "../contracts/followed_leases.ts";
import { KubernetesBacking } from "../contracts/kubernetes_backing.ts";
import { ACCOUNT, makeAccount, makePod, NAMESPACE, RBAC, RULES, tokenOf, writeAccount } from "./kubernetes_account.ts";
import { ANY_ETCD, KUBE_APISERVER, lackOf } from "./kubernetes_binaries.ts";
import { KubernetesServer } from "./kubernetes_server.ts";

const skip = lackOf(KUBE_APISERVER, ANY_ETCD);

const REQUEST: LeaseRequest = {
  network: {
    ranges: [{ network: parseCidr("10.5.0.0/16"), allocation: null }],
    backendType: "vxlan",
    backendOptions: {},
    nftables: false,
  },
  backendType: "vxlan",
  endpoints: [{ publicIp: parseIp("192.168.64.1"), data: { VNI: 1 } }],
  previous: [],
};

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

describe("access to Kubernetes", { skip }, () => {
  let server: KubernetesServer;
  let folder = "";

  before(async () => {
    if (skip) return;
    server = await KubernetesServer.start();
    folder = mkdtempSync(join(tmpdir(), "weft-access-"));
    await makeAccount(server);
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  /** What a pod with the service account has, and the credentials from it. */
  async function pod() {
    const serviceAccount = mkdtempSync(join(folder, "account-"));
    await writeAccount(server, serviceAccount);
    const env = { KUBERNETES_SERVICE_HOST: "127.0.0.1", KUBERNETES_SERVICE_PORT: String(server.port) };
    return { serviceAccount, credentials: credentialsOf(options({ env, serviceAccount })) };
  }

  function options(given: Partial<CredentialOptions>): CredentialOptions {
    return {
      apiUrl: null,
      kubeconfigFile: null,
      env: {},
      run: () => Promise.reject(new Error("no plugin is named")),
      now: Date.now,
      warn: () => {},
      ...given,
    };
  }

  /** Credentials of a kubeconfig with this user. */
  function kubeconfig(
    user: Record<string, unknown>,
    cluster: Record<string, unknown> = {},
    given: Partial<CredentialOptions> = {},
  ) {
    const path = join(mkdtempSync(join(folder, "config-")), "kubeconfig");
    writeFileSync(path, JSON.stringify(server.kubeconfigOf(user, cluster)));
    return credentialsOf(options({ kubeconfigFile: path, ...given }));
  }

  test("with the walk-through's rights and no more, an agent does all that it has to do", async () => {
    await using backing = new KubernetesBacking(server);
    await server.makeNode("node-1", ["10.5.1.0/24"]);
    const { credentials } = await pod();
    await makePod(server, "weft-x", "node-1");
    await using store = backing.store({ credentials, node: { namespace: "kube-system", pod: "weft-x" } });
    assert.equal(await store.nodeName(soon()), "node-1");
    assert.equal(await store.previousLease([], soon()), null);
    const lease = await store.acquire(REQUEST, soon());
    await using followed = followLeases(store);
    await followed.until("the own lease", ({ leases }) => leases.has("node-1"));
    await server.makeNode("node-2", ["10.5.2.0/24"]);
    await backing.put({
      node: { name: "node-2", subnets: [parseCidr("10.5.2.0/24")], publicIps: [parseIp("192.168.64.2")] },
      backendType: "vxlan",
      data: [null],
      lifetime: null,
    });
    await followed.until("the other lease", ({ leases }) => leases.get("node-2")?.endpoints[0]?.subnet === "10.5.2.0/24");
    await store.renew(lease, soon());
    await store.setNetworkUnavailable(null, soon());
    await store.release(lease, soon());
    await followed.until("the release", ({ leases }) => !leases.has("node-1"));
    assert.deepEqual(store.health(), { connected: true, lastError: null });
    await server.must("DELETE", `${NAMESPACE}/pods/weft-x?gracePeriodSeconds=0`);
  });

  test("those rights do not allow to get a node: the test would show if it were needed", async () => {
    await using _ = new KubernetesBacking(server);
    await server.makeNode("node-1", []);
    const { status, text } = await server.ask("GET", "/api/v1/nodes/node-1", undefined, undefined, await tokenOf(server));
    assert.deepEqual([status, text.includes(`${ACCOUNT}\\" cannot get resource`)], [403, true]);
  });

  test("without rights it is said which is missing and what to do, and all goes on once it is given", async () => {
    await using backing = new KubernetesBacking(server);
    await server.makeNode("node-1", ["10.5.1.0/24"]);
    await server.must("PATCH", `${RBAC}/clusterroles/flannel`, { rules: RULES.slice(0, 1) }, "application/merge-patch+json");
    const { credentials } = await pod();
    await using store = backing.store({ credentials, node: "node-1" });
    const acquired = store.acquire(REQUEST, soon());
    while (store.health().lastError === null) await new Promise((resolve) => setTimeout(resolve, 20));
    const { connected, lastError } = store.health();
    assert.equal(connected, false);
    assert.match(
      lastError!,
      /refused GET \/api\/v1\/nodes with 403: nodes "node-1" is forbidden: User .*flannel.* cannot list resource "nodes".*; give this user the ClusterRole/,
    );
    await server.must("PATCH", `${RBAC}/clusterroles/flannel`, { rules: RULES }, "application/merge-patch+json");
    assert.equal((await acquired).key, "node-1");
  });

  test("a token that is replaced in its file is used from the next request on", async () => {
    await using backing = new KubernetesBacking(server);
    await server.makeNode("node-1", ["10.5.1.0/24"]);
    const { serviceAccount, credentials } = await pod();
    const good = await tokenOf(server);
    writeFileSync(join(serviceAccount, "token"), "worthless");
    await using store = backing.store({ credentials, node: "node-1" });
    const acquired = store.acquire(REQUEST, soon());
    while (store.health().lastError === null) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.match(store.health().lastError!, /with 401: Unauthorized; check the token or client certificate/);
    writeFileSync(join(serviceAccount, "token"), good);
    await acquired;
    assert.deepEqual(store.health(), { connected: true, lastError: null });
  });

  test("a client certificate is enough", async () => {
    await using backing = new KubernetesBacking(server);
    await server.makeNode("node-1", ["10.5.1.0/24"]);
    const { cert, key } = server.clientCertificate();
    const credentials = kubeconfig({ "client-certificate": cert, "client-key": key });
    await using store = backing.store({ credentials, node: "node-1" });
    await store.acquire(REQUEST, soon());
    await using followed = followLeases(store);
    await followed.until("the lease", ({ leases }) => leases.has("node-1"));
  });

  test("a plugin's token is enough", async () => {
    await using backing = new KubernetesBacking(server);
    await server.makeNode("node-1", ["10.5.1.0/24"]);
    const apiVersion = "client.authentication.k8s.io/v1";
    const given = await tokenOf(server);
    const run: CredentialOptions["run"] = ({ argv }) => {
      const stdout = JSON.stringify({ apiVersion, kind: "ExecCredential", status: { token: argv[1] } });
      return Promise.resolve({ code: 0, stdout, stderr: "", exceeded: null });
    };
    const exec = { apiVersion, command: "plugin", args: [given], interactiveMode: "Never" };
    await using store = backing.store({ credentials: kubeconfig({ exec }, {}, { run }), node: "node-1" });
    await store.acquire(REQUEST, soon());
  });

  /** What goes wrong with these credentials; an error if nothing does. */
  async function failure(credentials: ReturnType<typeof kubeconfig>): Promise<string> {
    await using backing = new KubernetesBacking(server);
    await using store = backing.store({ credentials, node: "node-1" });
    const over = new AbortController();
    const asked = store.previousLease([], over.signal).then(() => "nothing", () => "");
    while (store.health().lastError === null && !store.health().connected) await new Promise((resolve) => setTimeout(resolve, 20));
    const { lastError } = store.health();
    over.abort(new Error("over"));
    await asked;
    return lastError ?? "nothing";
  }

  test("a server whose certificate is not trusted is not talked to", async () => {
    const strange = join(folder, "client-ca.crt");
    cpSync(join(server.folder, "client-ca.crt"), strange);
    const user = { token: await tokenOf(server) };
    assert.match(
      await failure(kubeconfig(user, { "certificate-authority": strange })),
      /Cannot reach the API server https:.*certificate/i,
    );
    assert.match(
      await failure(kubeconfig(user, { "tls-server-name": "other.example" })),
      /Cannot reach the API server https:.*(other\.example|name|IDENTITY)/i,
    );
  });

  test("a server may be known by another name, or not be looked at on demand", async () => {
    const user = { token: await tokenOf(server) };
    assert.equal(await failure(kubeconfig(user, { "tls-server-name": "kubernetes" })), "nothing");
    const careless = { "certificate-authority": "", "insecure-skip-tls-verify": true };
    assert.equal(await failure(kubeconfig(user, careless)), "nothing");
  });
});
