/**
 * What happens to Node objects of a real API server, and what the store tells of it: the rows of flannel.md 4.2 to 4.6 and those of its
 * weaknesses (section 14, 16 to 22) that are the store's.
 *
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { parseCidr, parseIp } from "../../src/model/ip.ts";
import type { LeaseRequest } from "../../src/model/lease.ts";
import { type FollowedLeases, followLeases } from "../contracts/followed_leases.ts";
import { KubernetesBacking, named } from "../contracts/kubernetes_backing.ts";
import { ANY_ETCD, KUBE_APISERVER, lackOf } from "./kubernetes_binaries.ts";
import { KubernetesServer } from "./kubernetes_server.ts";

const skip = lackOf(KUBE_APISERVER, ANY_ETCD);

const V4 = { "kube-subnet-manager": "true", "backend-type": "vxlan", "backend-data": '{"VNI":1}', "public-ip": "192.168.64.2" };
const V6 = { "backend-v6-data": '{"VNI":1}', "public-ipv6": "2001:db8::2" };
const BOTH = ["10.5.2.0/24", "fd00:5:0:2::/64"];
const RANGES = [{ network: parseCidr("10.5.0.0/16"), allocation: null }, { network: parseCidr("fd00:5::/48"), allocation: null }];
const NETWORK = { ranges: RANGES.slice(0, 1), backendType: "vxlan", backendOptions: {}, nftables: false };
const REQUEST: LeaseRequest = {
  network: NETWORK,
  backendType: "vxlan",
  endpoints: [{ publicIp: parseIp("192.168.64.1"), data: { VNI: 1, VtepMAC: "12:c6:00:00:00:01" } }],
  previous: [],
};
const DUAL: LeaseRequest = {
  ...REQUEST,
  network: { ...NETWORK, ranges: RANGES },
  endpoints: [...REQUEST.endpoints, { publicIp: parseIp("2001:db8::1"), data: { VNI: 1, VtepMAC: "12:c6:00:00:00:02" } }],
};

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

/** What there is of a node's lease, in short. */
function short(followed: FollowedLeases, name: string): string | undefined {
  return followed.leases.get(name)?.endpoints.map(({ subnet, publicIp, data }) => `${subnet} ${publicIp} ${JSON.stringify(data)}`)
    .join(", ");
}

describe("nodes of Kubernetes", { skip }, () => {
  let server: KubernetesServer;
  before(async () => {
    if (!skip) server = await KubernetesServer.start();
  });
  after(() => server?.[Symbol.asyncDispose]());

  /** A store of node-1, followed. */
  async function bed(podCidrs: readonly string[] = ["10.5.1.0/24"], annotations: Record<string, string> = {}) {
    await using stack = new AsyncDisposableStack();
    const backing = stack.use(new KubernetesBacking(server));
    await server.makeNode("node-1", podCidrs, named(annotations));
    const store = stack.use(backing.store({ node: "node-1" }));
    const followed = stack.use(followLeases(store));
    await followed.until("the first list", ({ events }) => events.length > 0);
    const all = stack.move();
    return { backing, store, followed, [Symbol.asyncDispose]: () => all[Symbol.asyncDispose]() };
  }

  /** Waits until the store says this of a node. */
  async function says(followed: FollowedLeases, name: string, expected: string | undefined): Promise<void> {
    await followed.until(`${name} as ${expected}`, () => short(followed, name) === expected);
  }

  test("acquire() writes flannel's annotations through the status, by a strategic merge, and leaves others alone", async () => {
    await using it = await bed(["10.5.1.0/24"], { "public-ip": "192.168.64.99" });
    await server.annotate("node-1", { "example.org/other": "stays" });
    const before = (await server.node("node-1")).metadata.resourceVersion;
    await it.store.acquire(REQUEST, soon());
    const { metadata, spec } = await server.node("node-1");
    assert.deepEqual(metadata.annotations, {
      ...named({
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-data": '{"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}',
        "public-ip": "192.168.64.1",
      }),
      "example.org/other": "stays",
    });
    assert.deepEqual(spec.podCIDRs, ["10.5.1.0/24"]);
    await it.store.acquire(REQUEST, soon());
    await it.store.renew(await it.store.acquire(REQUEST, soon()), soon());
    const { resourceVersion } = (await server.node("node-1")).metadata;
    assert.equal(resourceVersion, metadata.resourceVersion, "nothing differs, so nothing is written");
    assert.notEqual(resourceVersion, before);
  });

  test("acquire() in both families writes the data and the address of each", async () => {
    await using it = await bed(["10.5.1.0/24", "fd00:5:0:1::/64"]);
    const lease = await it.store.acquire(DUAL, soon());
    assert.deepEqual(lease.endpoints.map(({ subnet }) => subnet), ["10.5.1.0/24", "fd00:5:0:1::/64"]);
    const { annotations } = (await server.node("node-1")).metadata;
    assert.deepEqual(
      annotations,
      named({
        "kube-subnet-manager": "true",
        "backend-type": "vxlan",
        "backend-data": '{"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}',
        "backend-v6-data": '{"VNI":1,"VtepMAC":"12:c6:00:00:00:02"}',
        "public-ip": "192.168.64.1",
        "public-ipv6": "2001:db8::1",
      }),
    );
  });

  test("a node without any annotation takes its lease (weakness 18)", async () => {
    await using it = await bed();
    await server.patchNode("node-1", { metadata: { annotations: null } });
    assert.equal((await server.node("node-1")).metadata.annotations, undefined);
    await it.store.acquire(REQUEST, soon());
    await says(it.followed, "node-1", '10.5.1.0/24 192.168.64.1 {"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}');
  });

  test("a node waits for its podCIDR, and takes its lease as soon as it is assigned (weakness 22)", async () => {
    await using it = await bed([]);
    const acquired = it.store.acquire(REQUEST, soon());
    while (it.store.health().lastError === null) await sleep(20);
    assert.match(it.store.health().lastError!, /^Node node-1 has no podCIDR yet/);
    const start = performance.now();
    await server.patchNode("node-1", { spec: { podCIDR: "10.5.1.0/24", podCIDRs: ["10.5.1.0/24"] } });
    assert.equal((await acquired).endpoints[0]!.subnet, "10.5.1.0/24");
    assert.ok(performance.now() - start < 2000);
  });

  test("a podCIDR outside of the network is refused, and nothing is written", async () => {
    await using it = await bed(["10.99.1.0/24"]);
    await assert.rejects(it.store.acquire(REQUEST, soon()), /podCIDR 10\.99\.1\.0\/24 is outside of the network 10\.5\.0\.0\/16/);
    assert.deepEqual((await server.node("node-1")).metadata.annotations ?? {}, {});
  });

  test("an address that an administrator overwrites is published, and told to others", async () => {
    await using it = await bed(["10.5.1.0/24"], { "public-ip-overwrite": "203.0.113.7", "node-public-ip": "203.0.113.8" });
    assert.deepEqual(await it.store.configuredPublicIps(soon()), ["203.0.113.8"]);
    assert.equal((await it.store.acquire(REQUEST, soon())).endpoints[0]!.publicIp, "192.168.64.1");
    await says(it.followed, "node-1", '10.5.1.0/24 203.0.113.7 {"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}');
    await server.annotate("node-1", named({ "public-ip-overwrite": null }));
    await it.store.renew(await it.store.acquire(REQUEST, soon()), soon());
    await says(it.followed, "node-1", '10.5.1.0/24 192.168.64.1 {"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}');
  });

  test("an overwrite that comes or goes is published at once, and what others wrote into our annotations is set right", async () => {
    await using it = await bed();
    await it.store.acquire(REQUEST, soon());
    const ours = (ip: string) => `10.5.1.0/24 ${ip} {"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}`;
    await says(it.followed, "node-1", ours("192.168.64.1"));
    await server.annotate("node-1", named({ "public-ip-overwrite": "203.0.113.7" }));
    await says(it.followed, "node-1", ours("203.0.113.7"));
    await server.annotate("node-1", named({ "public-ip-overwrite": null }));
    await says(it.followed, "node-1", ours("192.168.64.1"));
    await server.annotate("node-1", named({ "public-ip": "198.51.100.66", "backend-data": "null" })); // weakness 24
    await says(it.followed, "node-1", "10.5.1.0/24 198.51.100.66 null");
    await says(it.followed, "node-1", ours("192.168.64.1"));
  });

  test("the data that the node published before is found again, under any prefix (weakness 20)", async () => {
    await using it = await bed();
    await using store = it.backing.store({ node: "node-1", annotationPrefix: "example.org/blue" });
    await store.acquire({
      ...REQUEST,
      endpoints: [{ ...REQUEST.endpoints[0]!, data: { VtepMAC: "12:c6:00:00:00:09", Other: "text" } }],
    }, soon());
    assert.equal((await server.node("node-1")).metadata.annotations!["example.org/blue-kube-subnet-manager"], "true");
    await using again = it.backing.store({ node: "node-1", annotationPrefix: "example.org/blue" });
    assert.deepEqual((await again.previousLease([], soon()))!.endpoints[0]!.data, { VtepMAC: "12:c6:00:00:00:09", Other: "text" });
    assert.equal(await it.store.previousLease([], soon()), null, "another prefix is another network");
    assert.deepEqual([...it.followed.keys], []);
  });

  test("either family that changes alone is told (weakness 16)", async () => {
    await using it = await bed();
    await server.makeNode("node-2", BOTH, named({ ...V4, ...V6 }));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.2 {"VNI":1}, fd00:5:0:2::/64 2001:db8::2 {"VNI":1}');
    await server.annotate("node-2", named({ "public-ip": "192.168.64.3" }));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.3 {"VNI":1}, fd00:5:0:2::/64 2001:db8::2 {"VNI":1}');
    await server.annotate("node-2", named({ "backend-v6-data": '{"VNI":2}' }));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.3 {"VNI":1}, fd00:5:0:2::/64 2001:db8::2 {"VNI":2}');
    await server.annotate("node-2", named({ "public-ipv6": null }));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.3 {"VNI":1}');
  });

  test("a node whose manager's annotation is removed is gone, and comes back with it (weakness 17)", async () => {
    await using it = await bed();
    await server.makeNode("node-2", ["10.5.2.0/24"], named(V4));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.2 {"VNI":1}');
    await server.annotate("node-2", named({ "kube-subnet-manager": "false" }));
    await says(it.followed, "node-2", undefined);
    await server.annotate("node-2", named({ "kube-subnet-manager": "true" }));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.2 {"VNI":1}');
  });

  test("a node that is deleted and made again has its new podCIDR (weakness 17)", async () => {
    await using it = await bed();
    for (const cidr of ["10.5.2.0/24", "10.5.3.0/24", "10.5.4.0/24"]) {
      await server.makeNode("node-2", [cidr], named(V4));
      await says(it.followed, "node-2", `${cidr} 192.168.64.2 {"VNI":1}`);
      await server.deleteNode("node-2");
    }
    await says(it.followed, "node-2", undefined);
  });

  test("a node that gets its podCIDR after its annotations is told with a reason, and then as a lease (weakness 17)", async () => {
    await using it = await bed();
    await server.makeNode("node-2", [], named(V4));
    await it.followed.until("the reason", ({ reasons }) => reasons.has("node-2"));
    assert.match(it.followed.reasons.get("node-2")!, /no podCIDR is assigned/);
    await server.patchNode("node-2", { spec: { podCIDR: "10.5.2.0/24", podCIDRs: ["10.5.2.0/24"] } });
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.2 {"VNI":1}');
  });

  test("the API server refuses to change a podCIDR that is set, on which this store relies", async () => {
    await using _ = await bed();
    const patch = { spec: { podCIDR: "10.5.9.0/24", podCIDRs: ["10.5.9.0/24"] } };
    const { status, text } = await server.ask("PATCH", "/api/v1/nodes/node-1", patch, "application/merge-patch+json");
    assert.deepEqual([status, /podCIDR/i.test(text)], [422, true]);
  });

  test("status heartbeats of nodes are no news", async () => {
    await using it = await bed();
    await it.store.acquire(REQUEST, soon());
    await says(it.followed, "node-1", '10.5.1.0/24 192.168.64.1 {"VNI":1,"VtepMAC":"12:c6:00:00:00:01"}');
    const before = it.followed.events.length;
    for (let i = 0; i < 20; i++) {
      const condition = { type: "Ready", status: "True", lastHeartbeatTime: new Date(i * 1000).toISOString() };
      const patch = { status: { conditions: [condition] } };
      await server.must("PATCH", "/api/v1/nodes/node-1/status", patch, "application/strategic-merge-patch+json");
    }
    await server.makeNode("node-2", ["10.5.2.0/24"], named(V4));
    await says(it.followed, "node-2", '10.5.2.0/24 192.168.64.2 {"VNI":1}');
    assert.equal(it.followed.events.length, before + 1);
  });

  test("the condition is merged into the others, and changed back with a reason", async () => {
    await using it = await bed();
    const ready = { status: { conditions: [{ type: "Ready", status: "True" }] } };
    await server.must("PATCH", "/api/v1/nodes/node-1/status", ready, "application/strategic-merge-patch+json");
    const condition = async () =>
      (await server.node("node-1")).status!.conditions!.find(({ type }) => type === "NetworkUnavailable");
    await it.store.setNetworkUnavailable(null, soon());
    const { lastHeartbeatTime, lastTransitionTime, ...first } = (await condition())!;
    assert.match(lastHeartbeatTime!, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    assert.equal(lastTransitionTime, lastHeartbeatTime);
    assert.deepEqual(first, {
      type: "NetworkUnavailable",
      status: "False",
      reason: "FlannelIsUp",
      message: "Flannel is running on this node",
    });
    await it.store.setNetworkUnavailable("the lease is lost", soon());
    const { status, message } = (await condition())!;
    assert.deepEqual([status, message], ["True", "the lease is lost"]);
    assert.equal((await server.node("node-1")).status!.conditions!.length, 2);
  });

  test("a thousand changes of a hundred nodes end where they have to", async () => {
    await using it = await bed();
    const names = Array.from({ length: 100 }, (_, i) => `many-${i}`);
    await Promise.all(names.map((name, i) => server.makeNode(name, [`10.5.${100 + i}.0/24`], named(V4))));
    for (let round = 1; round <= 10; round++) {
      await Promise.all(names.map((name) => server.annotate(name, named({ "public-ip": `192.168.65.${round}` }))));
    }
    await it.followed.until("all", ({ leases }) =>
      names.every((name) => leases.get(name)?.endpoints[0]?.publicIp === "192.168.65.10"));
    for (const [i, name] of names.entries()) {
      assert.equal(it.followed.leases.get(name)!.endpoints[0]!.subnet, `10.5.${100 + i}.0/24`);
    }
  });
});
