/**
 * Credential plugins: what they are told, what is taken from them, and what is said when they fail.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ExecPlugin, type PluginContext, type RunPlugin } from "./exec_plugin.ts";

const VERSION = "client.authentication.k8s.io/v1";
const EXEC = { apiVersion: VERSION, command: "plugin", interactiveMode: "IfAvailable" as const };

type Told = Parameters<RunPlugin>[0];

function bed(answer: (told: Told) => Partial<Awaited<ReturnType<RunPlugin>>>, exec = {}, given: Partial<PluginContext> = {}) {
  const runs: Told[] = [];
  const run: RunPlugin = async (told) => {
    runs.push(told);
    await new Promise((resolve) => setTimeout(resolve, 5));
    return { code: 0, stdout: "", stderr: "", exceeded: null, ...answer(told) };
  };
  const context = {
    folder: "/etc/kube",
    env: { PATH: "/bin", EMPTY: undefined },
    cluster: { server: "https://x" },
    now: () => 0,
    ...given,
  };
  return { runs, plugin: new ExecPlugin({ ...EXEC, ...exec }, { run, ...context }) };
}

function credential(status: unknown, apiVersion = VERSION): { stdout: string } {
  return { stdout: JSON.stringify({ apiVersion, kind: "ExecCredential", status }) };
}

test("a plugin is run with its arguments and variables, and told that nobody is there to ask", async () => {
  const exec = { args: ["get", "a b;c"], env: [{ name: "WHO", value: "weft" }] };
  const { runs, plugin } = bed(() => credential({ token: "t" }), exec);
  assert.deepEqual(await plugin.credential(), { token: "t", cert: null, key: null });
  const [{ argv, env, stdin }] = runs as [Told];
  assert.deepEqual([argv, stdin], [["plugin", "get", "a b;c"], ""]);
  const info = { apiVersion: VERSION, kind: "ExecCredential", spec: { interactive: false } };
  assert.deepEqual(env, { PATH: "/bin", WHO: "weft", KUBERNETES_EXEC_INFO: JSON.stringify(info) });
});

test("a plugin is told of the cluster where it asks", async () => {
  const { runs, plugin } = bed(() => credential({ token: "t" }), { provideClusterInfo: true });
  await plugin.credential();
  assert.deepEqual(JSON.parse(runs[0]!.env["KUBERNETES_EXEC_INFO"]!).spec, {
    cluster: { server: "https://x" },
    interactive: false,
  });
});

for (
  const [command, file] of [["plugin", "plugin"], ["./bin/plugin", "/etc/kube/bin/plugin"], ["/bin/plugin", "/bin/plugin"]] as const
) {
  test(`the command ${command} is run as ${file}`, async () => {
    const { runs, plugin } = bed(() => credential({ token: "t" }), { command });
    await plugin.credential();
    assert.equal(runs[0]!.argv[0], file);
  });
}

test("a credential is kept until it expires, and callers at one time share a run", async () => {
  let now = Date.UTC(2026, 0, 1);
  const answer = () => credential({ token: "t", expirationTimestamp: "2026-01-01T01:00:00Z" });
  const { runs, plugin } = bed(answer, {}, { now: () => now });
  await Promise.all([plugin.credential(), plugin.credential(), plugin.credential()]);
  assert.equal(runs.length, 1);
  now += 3_599_000;
  await plugin.credential();
  assert.equal(runs.length, 1);
  now += 2000;
  await plugin.credential();
  assert.equal(runs.length, 2);
});

test("a client certificate is taken too", async () => {
  const { plugin } = bed(() => credential({ clientCertificateData: "C", clientKeyData: "K" }));
  assert.deepEqual(await plugin.credential(), { token: null, cert: "C", key: "K" });
});

for (
  const [what, answer, exec, says] of [
    ["fails", { code: 3, stderr: "not\nlogged in" }, {}, /ended with 3: not\\u\{a\}logged in/],
    ["is ended by a signal", { code: null }, {}, /ended with a signal: no message/],
    ["takes too long", { exceeded: "time" }, {}, /it took too much time/],
    ["prints no JSON", { stdout: "token" }, {}, /it printed no JSON/],
    ["prints something else", { stdout: '{"kind":"Pod"}' }, {}, /is no ExecCredential/],
    [
      "prints another version",
      credential({ token: "t" }, "client.authentication.k8s.io/v1beta1"),
      {},
      /printed apiVersion ".*v1beta1", expected/,
    ],
    ["gives nothing", credential({}), {}, /neither a token nor a client certificate/],
    ["gives half a certificate", credential({ clientCertificateData: "C" }), {}, /neither a token nor a client certificate/],
    ["wants to ask somebody", {}, { interactiveMode: "Always" }, /nobody is there/],
  ] as const
) {
  test(`a plugin that ${what} is an error, and is run again`, async () => {
    const { plugin, runs } = bed(() => answer, exec);
    for (let i = 0; i < 2; i++) await assert.rejects(plugin.credential(), (error) => says.test((error as Error).message));
    assert.ok(runs.length !== 1);
  });
}

test("a plugin that is not there is an error with the kubeconfig's own hint", async () => {
  const run = () => Promise.reject(new Error("spawn plugin ENOENT"));
  const { plugin } = bed(() => ({}), { installHint: "install it from example.org" }, { run });
  await assert.rejects(
    plugin.credential(),
    /^Error: Cannot get credentials from "plugin": spawn plugin ENOENT; install it from example\.org$/,
  );
});
