/**
 * What the store does for its own node: waiting, publishing, and saying whether the network can be used.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { watchFolder } from "../../../test/watch_folder.ts";
import { managed, StandIn } from "../../../test/kubernetes/stand_in.ts";
import { parseCidr, parseIp } from "../../model/ip.ts";
import { LeaseLostError, type LeaseRequest } from "../../model/lease.ts";
import { credentialsOf } from "./credentials.ts";
import { type KubernetesOptions, KubernetesStore } from "./store.ts";

const PREFIX = "flannel.alpha.coreos.com";
const REQUEST: LeaseRequest = {
  network: {
    ranges: [{ network: parseCidr("10.0.0.0/8"), allocation: null }],
    backendType: "vxlan",
    backendOptions: {},
    nftables: false,
  },
  backendType: "vxlan",
  endpoints: [{ publicIp: parseIp("192.168.100.1"), data: { VNI: 1 } }],
  previous: [],
};
const BARE = { metadata: { name: "a", uid: "u", resourceVersion: "1" }, spec: {} };

async function bed(given: Partial<KubernetesOptions> = {}) {
  const server = await StandIn.start();
  const warnings: string[] = [];
  const none = () => Promise.reject(new Error("no plugin is named"));
  const store = new KubernetesStore({
    credentials: credentialsOf({ apiUrl: server.url, kubeconfigFile: null, env: {}, run: none, now: Date.now, warn: () => {} }),
    annotationPrefix: PREFIX,
    netConfigPath: "/nonexistent",
    watchFolder,
    node: "a",
    userAgent: "weft/test",
    now: () => Date.UTC(2026, 0, 1),
    random: Math.random,
    warn: (message) => warnings.push(message),
    ...given,
  });
  return {
    server,
    store,
    warnings,
    patches: () => server.asked.filter(({ method }) => method === "PATCH"),
    async [Symbol.asyncDispose]() {
      await store[Symbol.asyncDispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

function soon(): AbortSignal {
  return AbortSignal.timeout(10_000);
}

test("a node waits for its Node and then for its podCIDR, and says for what", async () => {
  await using it = await bed();
  const acquired = it.store.acquire(REQUEST, soon());
  await it.server.until("the wait for the Node", () => it.store.health().lastError !== null);
  assert.deepEqual(it.store.health(), { connected: true, lastError: "There is no Node a yet" });
  it.server.put(BARE);
  await it.server.until("the wait for podCIDR", () => /no podCIDR yet/.test(it.store.health().lastError ?? ""));
  assert.match(
    it.store.health().lastError!,
    /^Node a has no podCIDR yet; kube-controller-manager assigns it if it has --allocate-node-cidrs/,
  );
  assert.deepEqual(it.patches(), [], "nothing is published before");
  const assigned = performance.now();
  it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24", podCIDRs: ["10.1.0.0/24"] } });
  const lease = await acquired;
  assert.ok(performance.now() - assigned < 1500, "at once");
  assert.deepEqual(lease, {
    key: "a",
    backendType: "vxlan",
    endpoints: [{ subnet: "10.1.0.0/24", publicIp: "192.168.100.1", data: { VNI: 1 } }],
    expiresAt: null,
  });
  assert.deepEqual(it.store.health(), { connected: true, lastError: null });
});

test("the wait ends with the signal's reason", async () => {
  await using it = await bed();
  const controller = new AbortController();
  const acquired = it.store.acquire(REQUEST, controller.signal);
  await it.server.until("the wait", () => it.store.health().lastError !== null);
  const reason = new Error("enough");
  controller.abort(reason);
  await assert.rejects(acquired, (error) => error === reason);
});

test("annotations are patched in the status, once, as flannel does", async () => {
  await using it = await bed();
  it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24" } });
  await it.store.acquire(REQUEST, soon());
  await it.store.acquire(REQUEST, soon());
  const [patch, ...others] = it.patches();
  assert.equal(others.length, 0, "what is there already is not written again");
  assert.deepEqual([patch!.method, patch!.path], ["PATCH", "/api/v1/nodes/a/status"]);
  assert.equal(
    patch!.body,
    `{"metadata":{"annotations":{"${PREFIX}/backend-data":"{\\"VNI\\":1}","${PREFIX}/backend-type":"vxlan",` +
      `"${PREFIX}/kube-subnet-manager":"true","${PREFIX}/public-ip":"192.168.100.1"}}}`,
  );
});

test("a node is never asked for by get", async () => {
  await using it = await bed();
  it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24" } });
  const lease = await it.store.acquire(REQUEST, soon());
  await it.store.renew(lease, soon());
  await it.store.previousLease([], soon());
  await it.store.configuredPublicIps(soon());
  await it.store.release(lease, soon());
  for (const { method, path, query } of it.server.asked) {
    if (method === "GET") assert.deepEqual([path, query.get("fieldSelector")], ["/api/v1/nodes", "metadata.name=a"]);
  }
});

test("a server that fails is asked until it answers, and says so meanwhile", async () => {
  await using it = await bed();
  it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24" } });
  let failures = 3;
  it.server.intercept = ({ method }, response) => {
    if (failures === 0 || (failures === 1 && method === "GET")) return false;
    failures--;
    response.writeHead(500).end("etcd is slow");
    return true;
  };
  const acquired = it.store.acquire(REQUEST, soon());
  await it.server.until("a failure", () => it.store.health().lastError !== null);
  assert.deepEqual(it.store.health(), {
    connected: false,
    lastError: "The API server refused GET /api/v1/nodes with 500: etcd is slow",
  });
  await acquired;
  assert.equal(failures, 0);
  assert.deepEqual(it.store.health(), { connected: true, lastError: null });
});

test("a Node that is deleted while it is patched is an error, not a wait for ever", async () => {
  await using it = await bed();
  it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24" } });
  it.server.intercept = ({ method }) => {
    if (method === "PATCH") it.server.nodes.delete("a");
    return false;
  };
  await assert.rejects(it.store.acquire(REQUEST, soon()), /refused PATCH \/api\/v1\/nodes\/a\/status with 404/);
});

for (
  const [what, change, says] of [
    ["its Node is deleted", null, /the lease of node a is lost: its Node was deleted/],
    ["its Node is made again with another podCIDR", managed("a", "10.9.0.0/24"), /its podCIDR is 10\.9\.0\.0\/24 now/],
    ["its Node is made again without podCIDR", managed("a"), /its podCIDR is not assigned now/],
    [
      "the manager's annotation is removed",
      { ...managed("a", "10.1.0.0/24"), metadata: { ...BARE.metadata, annotations: {} } },
      /annotation flannel\.alpha\.coreos\.com\/kube-subnet-manager was removed/,
    ],
  ] as const
) {
  test(`the lease is lost when ${what}`, async () => {
    await using it = await bed();
    it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24" } });
    const lease = await it.store.acquire(REQUEST, soon());
    if (change === null) it.server.delete("a");
    else it.server.put(change);
    await assert.rejects(it.store.renew(lease, soon()), (error) => error instanceof LeaseLostError && says.test(error.message));
    await assert.rejects(it.store.release(lease, soon()), LeaseLostError);
  });
}

test("what an administrator wrote wrong is told, and the node's own address published", async () => {
  await using it = await bed();
  const annotations = { [`${PREFIX}/public-ip-overwrite`]: "somewhere", [`${PREFIX}/node-public-ip`]: "203.0.113.5" };
  it.server.put({ metadata: { ...BARE.metadata, annotations }, spec: { podCIDR: "10.1.0.0/24" } });
  await it.store.acquire(REQUEST, soon());
  assert.equal(it.server.nodes.get("a")!.metadata.annotations![`${PREFIX}/public-ip`], "192.168.100.1");
  assert.deepEqual(it.warnings.length, 1);
  assert.match(it.warnings[0]!, /public-ip-overwrite is not used: "somewhere" is no IPv4 address/);
  assert.deepEqual(await it.store.configuredPublicIps(soon()), ["203.0.113.5"]);
});

/** A store that knows its node by a pod, and a server that says this of the pod, one after the other. */
async function bedOfPod(...answers: readonly (readonly [status: number, body: unknown])[]) {
  const it = await bed({ node: { namespace: "kube-system", pod: "weft-x" } });
  let next = 0;
  it.server.intercept = ({ path }, response) => {
    if (path !== "/api/v1/namespaces/kube-system/pods/weft-x") return false;
    const [status, body] = answers[next++]!;
    response.writeHead(status).end(JSON.stringify(body));
    return true;
  };
  return it;
}

test("the node's name is that of the node on which its pod runs", async () => {
  await using it = await bedOfPod([503, {}], [200, { spec: { nodeName: "10.0.0.7" } }]);
  assert.equal(it.store.node, null);
  assert.equal(await it.store.nodeName(soon()), "10.0.0.7");
  assert.equal(await it.store.nodeName(soon()), "10.0.0.7", "it is asked for once");
  assert.equal(it.store.node, "10.0.0.7");
});

test("a pod that is not there, or on no node, tells no name, and that does not pass", async () => {
  for (const answer of [[404, {}], [200, { spec: {} }], [200, { spec: { nodeName: "" } }]] as const) {
    await using it = await bedOfPod(answer);
    await assert.rejects(
      it.store.configuredPublicIps(soon()),
      /^ConfigError: Cannot tell the name of this node: pod "kube-system\/weft-x" does not exist or is on no node; give --node-name/,
    );
  }
});

test("the condition is patched until the server has heard it", async () => {
  await using it = await bed();
  it.server.put({ ...BARE, spec: { podCIDR: "10.1.0.0/24" } });
  let failures = 2;
  it.server.intercept = (_, response) => failures-- > 0 && (response.writeHead(503).end("not yet"), true);
  await it.store.setNetworkUnavailable(null, soon());
  assert.equal(it.patches().length, 3);
  assert.equal(
    it.patches().at(-1)!.body,
    '{"status":{"conditions":[{"type":"NetworkUnavailable","status":"False","lastHeartbeatTime":"2026-01-01T00:00:00Z",' +
      '"lastTransitionTime":"2026-01-01T00:00:00Z","reason":"FlannelIsUp","message":"Flannel is running on this node"}]}}',
  );
});

test("the condition is given up with the signal's reason", async () => {
  await using it = await bed();
  const controller = new AbortController();
  const patched = it.store.setNetworkUnavailable("out of order", controller.signal);
  await sleep(100);
  const reason = new Error("enough");
  controller.abort(reason);
  await assert.rejects(patched, (error) => error === reason);
});

test("a prefix that can not begin an annotation is refused when the store is made", async () => {
  await assert.rejects(bed({ annotationPrefix: "org" }), /"org" can not begin the name of an annotation/);
});
