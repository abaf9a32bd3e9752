/**
 * Where the API server is and who asks, in a pod and outside of one.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ConfigError } from "../../config/errors.ts";
import { type CredentialOptions, credentialsOf } from "./credentials.ts";

const SIGNAL = new AbortController().signal;
const POD = { KUBERNETES_SERVICE_HOST: "10.96.0.1", KUBERNETES_SERVICE_PORT: "443" };
let folder = "";

before(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-credentials-"));
});
after(() => rmSync(folder, { recursive: true, force: true }));

function of(given: Partial<CredentialOptions>) {
  return credentialsOf({
    apiUrl: null,
    kubeconfigFile: null,
    env: {},
    serviceAccount: folder,
    run: () => Promise.reject(new Error("no plugin is named")),
    now: Date.now,
    warn: () => {},
    ...given,
  });
}

function write(token: string, ca: string): void {
  writeFileSync(join(folder, "token"), token);
  writeFileSync(join(folder, "ca.crt"), ca);
}

test("a pod has its server from the environment, and token and CA from its service account, as they are now", async () => {
  const credentials = of({ env: POD });
  write("first\n", "CA 1");
  const access = await credentials.access(SIGNAL);
  assert.equal(access.url.href, "https://10.96.0.1/");
  assert.deepEqual([access.tls, access.headers], [{ ca: "CA 1" }, { authorization: "Bearer first" }]);
  write("second", "CA 2");
  const { tls, headers } = await credentials.access(SIGNAL);
  assert.deepEqual([tls, headers], [{ ca: "CA 2" }, { authorization: "Bearer second" }]);
});

test("a server with an IPv6 address stands in brackets", async () => {
  write("t", "CA");
  const { url } = await of({ env: { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" } }).access(SIGNAL);
  assert.equal(url.host, "[fd00::1]:6443");
});

test("a pod without a service account is told what is missing", async () => {
  const empty = mkdtempSync(join(folder, "empty-"));
  await assert.rejects(
    of({ env: POD, serviceAccount: empty }).access(SIGNAL),
    /Cannot read ".*\/token": .*automountServiceAccountToken/,
  );
});

test("outside of a pod, without any flag, it is said what to give", () => {
  assert.throws(
    () => of({}),
    (error) => error instanceof ConfigError && /give --kubeconfig-file or --kube-api-url/.test(error.message),
  );
});

test("--kube-api-url stands in for the pod's server, with the pod's credentials where there are any", async () => {
  write("t", "CA");
  const { url, headers } = await of({ apiUrl: "https://192.0.2.1:6443", env: POD }).access(SIGNAL);
  assert.deepEqual([url.origin, headers], ["https://192.0.2.1:6443", { authorization: "Bearer t" }]);
  const bare = await of({ apiUrl: "https://192.0.2.1:6443", serviceAccount: join(folder, "none") }).access(SIGNAL);
  assert.deepEqual([bare.tls, bare.headers], [{}, {}]);
});

test("over plain http no token is sent", async () => {
  write("t", "CA");
  assert.deepEqual((await of({ apiUrl: "http://127.0.0.1:8080" }).access(SIGNAL)).headers, {});
});

for (const url of ["ftp://x", "https://", "https://x/?y", "https://x y", ""]) {
  test(`--kube-api-url ${JSON.stringify(url)} is refused`, () => {
    assert.throws(() => of({ apiUrl: url }), /--kube-api-url is ".*": expected the URL of an API server/);
  });
}
