/**
 * Kubeconfig files: what they give, in YAML and JSON, what is refused, and what is read again.
 *
 * @module
 */

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { Kubeconfig, type KubeconfigOptions } from "./kubeconfig.ts";

let folder = "";
let count = 0;

before(() => {
  folder = mkdtempSync(join(tmpdir(), "weft-kubeconfig-"));
  for (const [name, text] of [["ca.pem", "CA"], ["client.pem", "CERT"], ["client.key", "KEY"], ["token", "from-file\n"]] as const) {
    writeFileSync(join(folder, name), text);
  }
});
after(() => rmSync(folder, { recursive: true, force: true }));

type Json = Record<string, unknown>;

function config(user: Json = {}, cluster: Json = {}): Json {
  return {
    "current-context": "here",
    contexts: [{ name: "there", context: { cluster: "none" } }, {
      name: "here",
      context: { cluster: "c", user: "u", namespace: "x" },
    }],
    clusters: [{ name: "c", cluster: { server: "https://192.0.2.1:6443", ...cluster } }],
    users: [{ name: "u", user }],
  };
}

function open(content: Json | string, given: Partial<KubeconfigOptions> = {}, server: URL | null = null) {
  const path = join(folder, `kubeconfig-${count++}`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  const warnings: string[] = [];
  const options = {
    env: {},
    run: () => Promise.reject(new Error("no plugin is named")),
    now: Date.now,
    warn: (message: string) => warnings.push(message),
    ...given,
  };
  return { path, warnings, credentials: new Kubeconfig(path, server, options) };
}

async function accessOf(content: Json | string) {
  const { url, tls, headers } = await open(content).credentials.access();
  return { origin: url.origin, tls, headers };
}

test("a kubeconfig in YAML, as kubeadm writes it, gives server, CA, certificate and key", async () => {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  const text = `
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: ${base64("CA DATA")}
    server: https://192.0.2.7:6443
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
preferences: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: ${base64("CERT DATA")}
    client-key-data: ${base64("KEY DATA")}
`;
  assert.deepEqual(await accessOf(text), {
    origin: "https://192.0.2.7:6443",
    tls: { ca: "CA DATA", cert: "CERT DATA", key: "KEY DATA" },
    headers: {},
  });
});

test("files are looked for beside the kubeconfig; data in it counts before them", async () => {
  const user = { "client-certificate": "client.pem", "client-key": join("..", folder.split("/").at(-1)!, "client.key") };
  assert.deepEqual((await accessOf(config(user, { "certificate-authority": "ca.pem" }))).tls, {
    ca: "CA",
    cert: "CERT",
    key: "KEY",
  });
  const both = { "certificate-authority": "ca.pem", "certificate-authority-data": "RGF0YQ==" };
  assert.deepEqual((await accessOf(config({}, both))).tls, { ca: "Data" });
});

for (
  const [what, user, authorization] of [
    ["a token", { token: "t" }, "Bearer t"],
    ["a token file, which counts before a token", { token: "t", tokenFile: "token" }, "Bearer from-file"],
    ["a name and a password", { username: "me", password: "secret" }, `Basic ${Buffer.from("me:secret").toString("base64")}`],
    ["nothing", {}, undefined],
  ] as const
) {
  test(`a user may have ${what}`, async () => {
    assert.equal((await accessOf(config(user))).headers["authorization"], authorization);
  });
}

test("tls-server-name and insecure-skip-tls-verify are heeded, the latter with a warning", async () => {
  const { credentials, warnings } = open(config({}, { "tls-server-name": "api.example", "insecure-skip-tls-verify": true }));
  const { tls } = await credentials.access();
  await credentials.access();
  assert.deepEqual(tls, { servername: "api.example", rejectUnauthorized: false });
  assert.equal(warnings.length, 1, "once");
  assert.match(warnings[0]!, /has insecure-skip-tls-verify: whoever is on the way/);
});

test("--kube-api-url stands in for the server of the file, which then may have none", async () => {
  const { credentials } = open(config({ token: "t" }, { server: "" }), {}, new URL("https://192.0.2.99"));
  assert.equal((await credentials.access()).url.host, "192.0.2.99");
});

test("a kubeconfig and its files are read again once they change", async () => {
  const { path, credentials } = open(config({ tokenFile: "rotated" }));
  writeFileSync(join(folder, "rotated"), "one");
  assert.equal((await credentials.access()).headers["authorization"], "Bearer one");
  writeFileSync(join(folder, "rotated"), "two");
  assert.equal((await credentials.access()).headers["authorization"], "Bearer two");
  writeFileSync(path, JSON.stringify(config({ token: "in the new kubeconfig" })));
  assert.equal((await credentials.access()).headers["authorization"], "Bearer in the new kubeconfig");
});

const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "plugin", interactiveMode: "Never" };

test("a plugin's token is used, and asked for again after the server refused it", async () => {
  let runs = 0;
  const run = () => {
    const status = { token: `token ${++runs}` };
    const stdout = JSON.stringify({ apiVersion: exec.apiVersion, kind: "ExecCredential", status });
    return Promise.resolve({ code: 0, stdout, stderr: "", exceeded: null });
  };
  const { credentials } = open(config({ exec }), { run });
  for (const expected of ["Bearer token 1", "Bearer token 1"]) {
    assert.equal((await credentials.access()).headers["authorization"], expected);
  }
  credentials.refused();
  assert.equal((await credentials.access()).headers["authorization"], "Bearer token 2");
});

for (
  const [what, content, says] of [
    ["no YAML", "a: [", /: .* in line 1$/],
    ["YAML of something else", "just text", /Expected Object/],
    ["a wrong type", config({ token: 5 }), /users\.0\.user\.token: .*string/],
    [
      "no current context",
      { ...config(), "current-context": "" },
      /current-context "" is none of its contexts \("there", "here"\)/,
    ],
    ["a context without a cluster", { ...config(), clusters: [] }, /it has no cluster "c"/],
    ["a context without its user", { ...config(), users: [] }, /it has no user "u"/],
    ["no server", config({}, { server: "" }), /The server of cluster "c" in ".*" is "": expected the URL/],
    ["half a client certificate", config({ "client-certificate": "client.pem" }), /certificate and client key must both be there/],
    ["a file that is not there", config({ tokenFile: "nowhere" }), /Cannot use the kubeconfig .*ENOENT.*nowhere/],
    [
      "a CA that is not looked at",
      config({}, { "certificate-authority": "ca.pem", "insecure-skip-tls-verify": true }),
      /contradict/,
    ],
    [
      "an old auth provider",
      config({ "auth-provider": { name: "gcp" } }),
      /auth-provider "gcp" is not known; use a credential plugin/,
    ],
    ["another user to act as", config({ as: "admin" }), /acts as another user/],
    ["a proxy", config({}, { "proxy-url": "http://p" }), /over a proxy/],
    ["a plugin of an unknown version", config({ exec: { ...exec, apiVersion: "v9" } }), /users\.0\.user\.exec\.apiVersion/],
  ] as const
) {
  test(`a kubeconfig with ${what} is an error that names it`, async () => {
    await assert.rejects(open(content as Json | string).credentials.access(), (error) => says.test((error as Error).message));
  });
}

test("a kubeconfig that is not there is an error that names it", async () => {
  const options = { env: {}, run: () => Promise.reject(new Error()), now: Date.now, warn: () => {} };
  await assert.rejects(
    new Kubeconfig("/nonexistent/kubeconfig", null, options).access(),
    /Cannot use the kubeconfig "\/nonexistent\/kubeconfig": ENOENT/,
  );
});

test("no message holds a secret", async () => {
  const secrets = { token: "s3cret-token", password: "s3cret-password", "client-key-data": "czNjcmV0", username: 5 };
  await assert.rejects(open(config(secrets)).credentials.access(), (error) => !/s3cret|czNjcmV0/.test((error as Error).message));
});
