import { test } from "node:test";
import assert from "node:assert/strict";
import type { Report } from "../model/report.ts";
import { createHealthApp, createStatusApp } from "./app.ts";
import { A1, STARTING } from "./testing.ts";

const HOST = { host: "localhost:8473" };
const appOf = (report: Report) => createStatusApp({ report: () => report, hosts: () => ["a1", "192.168.10.1"] });

test("GET /v1/status gives the contract's JSON with store.note, reversePath and problems added", async () => {
  const response = await appOf(A1).request("/v1/status", { headers: HOST });
  assert.equal(response.status, 200);
  assert.match(response.headers.get("content-type")!, /^application\/json/);
  assert.deepEqual(await response.json(), {
    version: "0.1.0",
    node: "a1",
    ready: true,
    reason: null,
    backend: "directrouting",
    network: { ipv4: "10.244.0.0/16", ipv6: null },
    store: { kind: "etcd", connected: true, lastError: null, note: null },
    lease: {
      subnet: "10.244.1.0/24",
      ipv6Subnet: null,
      publicIP: "192.168.10.1",
      publicIPv6: null,
      expiresAt: "2026-01-01T00:00:00Z",
    },
    link: { name: "eth0", address: "192.168.10.1", mtu: 1500 },
    mtu: 1450,
    peers: { total: 2, direct: 1, vxlan: 1, paths: { direct: 1, vxlan: 1 }, pending: 0, rejected: 0 },
    kernel: { items: 5, pending: 0, repairs: 0, lastSync: "2026-01-01T00:00:00Z" },
    reversePath: [{ link: "eth0", mode: "loose" }],
    problems: [],
  });
});

test("GET /v1/status before the lease has the same shape with nulls, and says why the node is not ready", async () => {
  const body = await (await appOf(STARTING).request("/v1/status", { headers: HOST })).json();
  assert.equal(body.ready, false);
  assert.match(body.reason, /^no lease yet: etcd does not answer; subnet\.env/);
  assert.deepEqual(
    [body.backend, body.mtu, body.lease.subnet, body.lease.expiresAt, body.kernel.lastSync, body.network.ipv4],
    Array(6).fill(null),
  );
  assert.equal(body.lease.publicIP, "192.168.10.1");
});

test("GET /v1/status gives null for a time that no calendar has", async () => {
  const report = { ...A1, lease: { ...A1.lease, expiresAt: 9e15 } };
  const body = await (await appOf(report).request("/v1/status", { headers: HOST })).json();
  assert.equal(body.lease.expiresAt, null);
});

test("GET /v1/peers gives one row a peer with the contract's fields", async () => {
  const response = await appOf(A1).request("/v1/peers", { headers: HOST });
  const rows = await response.json();
  assert.equal(rows.length, 2);
  assert.deepEqual(rows[0], {
    subnet: "10.244.2.0/24",
    ipv6Subnet: null,
    publicIP: "192.168.10.2",
    publicIPv6: null,
    backendType: "vxlan",
    path: "direct",
    state: "in-sync",
    reason: null,
  });
});

test("GET /healthz gives flanneld's body, without a newline, ready or not", async () => {
  for (const app of [appOf(STARTING), createHealthApp({ report: () => STARTING })]) {
    const response = await app.request("/healthz", { headers: HOST });
    assert.deepEqual([response.status, await response.text()], [200, "flanneld is running"]);
  }
});

test("GET /readyz gives flanneld's bodies, follows the report both ways and adds the reason on a second line", async () => {
  let report = STARTING;
  for (const app of [createStatusApp({ report: () => report, hosts: () => [] }), createHealthApp({ report: () => report })]) {
    const ask = async () => {
      const response = await app.request("/readyz", { headers: HOST });
      return [response.status, ...(await response.text()).split("\n")];
    };
    report = STARTING;
    assert.deepEqual((await ask()).slice(0, 2), [503, "flanneld is not ready yet"]);
    report = A1;
    assert.deepEqual(await ask(), [200, "flanneld is ready"]);
    report = { ...A1, conditions: { ...A1.conditions, lease: "the lease has expired" } };
    assert.deepEqual(await ask(), [503, "flanneld is not ready yet", "the lease has expired"]);
  }
});

test("the status app answers 421 for a host that is not this node, on every path and method", async () => {
  const app = appOf(A1);
  for (const path of ["/healthz", "/readyz", "/v1/status", "/v1/peers", "/nothing"]) {
    const response = await app.request(path, { headers: { host: "evil.example:8473" } });
    assert.equal(response.status, 421, path);
    assert.match((await response.json()).error, /"evil\.example:8473".*use localhost/);
  }
  assert.equal((await app.request("/v1/peers", { method: "POST", headers: { host: "evil.example" } })).status, 421);
  assert.equal((await app.request("/v1/peers")).status, 421);
  for (const host of ["a1:8473", "192.168.10.1:8473", "[::1]:8473"]) {
    assert.equal((await app.request("/v1/status", { headers: { host } })).status, 200, host);
  }
});

test("the status app looks at the node's addresses anew for each request", async () => {
  const own = ["192.168.10.1"];
  const app = createStatusApp({ report: () => A1, hosts: () => own });
  const ask = async () => (await app.request("/healthz", { headers: { host: "192.168.10.9" } })).status;
  assert.equal(await ask(), 421);
  own.push("192.168.10.9");
  assert.equal(await ask(), 200);
});

test("the health app answers any host and method, as flanneld does, and serves nothing else", async () => {
  const app = createHealthApp({ report: () => A1 });
  for (const method of ["GET", "HEAD", "POST", "OPTIONS"]) {
    assert.equal((await app.request("/healthz", { method, headers: { host: "evil.example" } })).status, 200, method);
  }
  const response = await app.request("/v1/status");
  assert.equal(response.status, 404);
  assert.deepEqual((await response.json()).paths, ["/healthz", "/readyz"]);
});

test("the status app answers 405 with Allow for methods other than GET and HEAD", async () => {
  for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) {
    const response = await appOf(A1).request("/v1/status", { method, headers: HOST });
    assert.deepEqual([response.status, response.headers.get("allow")], [405, "GET, HEAD"], method);
  }
  const head = await appOf(A1).request("/v1/status", { method: "HEAD", headers: HOST });
  assert.deepEqual([head.status, await head.text()], [200, ""]);
});

test("the status app answers 404 with the list of paths", async () => {
  const response = await appOf(A1).request("/v2/status", { headers: HOST });
  assert.equal(response.status, 404);
  const body = await response.json();
  assert.match(body.error, /\/v2\/status/);
  assert.deepEqual(body.paths, ["/healthz", "/readyz", "/v1/status", "/v1/peers"]);
});

test("a report that fails is answered with 500 and one line, without a stack", async () => {
  const app = createStatusApp({ report: () => assert.fail("kernel is gone"), hosts: () => [] });
  const response = await app.request("/v1/status", { headers: HOST });
  assert.deepEqual([response.status, await response.json()], [500, { error: "Cannot answer /v1/status: kernel is gone" }]);
});

test("every answer forbids caching, framing, sniffing and loading", async () => {
  const asked: [string, RequestInit][] = [
    ["/v1/status", { headers: HOST }],
    ["/readyz", { headers: HOST }],
    ["/nothing", { headers: HOST }],
    ["/v1/status", { headers: HOST, method: "POST" }],
    ["/v1/status", { headers: { host: "evil.example" } }],
  ];
  const failing = createStatusApp({ report: () => assert.fail("x"), hosts: () => [] });
  const responses = await Promise.all(asked.map(([path, init]) => appOf(STARTING).request(path, init)));
  responses.push(await failing.request("/v1/status", { headers: HOST }));
  for (const { status, headers } of responses) {
    assert.equal(headers.get("cache-control"), "no-store", String(status));
    assert.equal(headers.get("x-content-type-options"), "nosniff", String(status));
    assert.equal(headers.get("x-frame-options"), "DENY", String(status));
    assert.equal(headers.get("content-security-policy"), "default-src 'none'; frame-ancestors 'none'", String(status));
    assert.equal(headers.get("access-control-allow-origin"), null, String(status));
  }
});
