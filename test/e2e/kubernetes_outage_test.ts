/**
 * A real API server that goes away and comes back: as it was, without its history, with an older state, or only halted.
 *
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { type FollowedLeases, followLeases } from "../contracts/followed_leases.ts";
import { KubernetesBacking, named } from "../contracts/kubernetes_backing.ts";
import { ANY_ETCD, type Found, KUBE_APISERVER, lackOf, NEW_ETCD } from "./kubernetes_binaries.ts";
import { KubernetesServer } from "./kubernetes_server.ts";

const ANNOTATIONS = named({ "kube-subnet-manager": "true", "backend-type": "vxlan", "public-ip": "192.168.64.2" });
/** From the server's return until all is told: five seconds, and the longest pause between two attempts. */
const BACK = 9000;

function outagesOver(name: string, etcd: Found): void {
  const skip = lackOf(KUBE_APISERVER, etcd);
  describe(name, { skip }, () => {
    let server: KubernetesServer;
    before(async () => {
      if (!skip) server = await KubernetesServer.start(etcd);
    });
    after(() => server?.[Symbol.asyncDispose]());

    async function bed() {
      await using stack = new AsyncDisposableStack();
      const backing = stack.use(new KubernetesBacking(server));
      for (const i of [1, 2, 3]) await server.makeNode(`node-${i}`, [`10.5.${i}.0/24`], ANNOTATIONS);
      const store = stack.use(backing.store({ node: "node-1" }));
      const followed = stack.use(followLeases(store));
      await followed.until("three leases", ({ leases }) => leases.size === 3);
      const all = stack.move();
      return { store, followed, [Symbol.asyncDispose]: () => all[Symbol.asyncDispose]() };
    }

    /** Waits until this is so, since the server is back. */
    async function inSync(followed: FollowedLeases, isSo: () => boolean): Promise<void> {
      const start = performance.now();
      await followed.until("the state after the outage", isSo);
      const took = performance.now() - start;
      assert.ok(took < BACK, `in sync ${Math.round(took)} ms after the server was ready`);
    }

    test("a server that crashes and comes back is followed on; nothing is taken away meanwhile", async () => {
      await using it = await bed();
      await server.stopApi();
      while (it.store.health().connected) await sleep(20);
      await sleep(3000);
      assert.match(it.store.health().lastError!, /Cannot reach the API server/);
      assert.deepEqual(it.followed.events.length, 1, "nothing was told");
      await server.startApi();
      await server.deleteNode("node-3");
      await server.annotate("node-2", named({ "public-ip": "192.168.64.9" }));
      await server.makeNode("node-4", ["10.5.4.0/24"], ANNOTATIONS);
      await inSync(it.followed, () => {
        const { leases } = it.followed;
        return !leases.has("node-3") && leases.get("node-2")!.endpoints[0]!.publicIp === "192.168.64.9" && leases.has("node-4");
      });
      assert.deepEqual(it.followed.leases.get("node-4")!.endpoints[0]!.subnet, "10.5.4.0/24");
      assert.deepEqual(it.store.health(), { connected: true, lastError: null });
    });

    test("a server that comes back without its history is listed anew", async () => {
      await using it = await bed();
      await server.stopApi();
      await server.startApi();
      for (let i = 0; i < 20; i++) await server.annotate("node-2", named({ "public-ip": `192.168.65.${i}` }));
      await server.compact();
      await server.stopApi();
      await server.startApi();
      await server.deleteNode("node-3");
      await inSync(it.followed, () => {
        const { leases } = it.followed;
        return !leases.has("node-3") && leases.get("node-2")!.endpoints[0]!.publicIp === "192.168.65.19";
      });
    });

    test("a server that comes back with an older state is believed, also about podCIDRs", async () => {
      await using it = await bed();
      await server.stopApi();
      await server.copyState("aside");
      await server.startApi();
      await server.deleteNode("node-3");
      await server.deleteNode("node-2");
      await server.makeNode("node-2", ["10.5.22.0/24"], ANNOTATIONS);
      for (let i = 0; i < 50; i++) await server.annotate("node-1", { "example.org/count": String(i) });
      await inSync(
        it.followed,
        () => it.followed.leases.get("node-2")?.endpoints[0]?.subnet === "10.5.22.0/24" && !it.followed.leases.has("node-3"),
      );
      await server.stopApi();
      await server.copyState("back");
      await server.startApi();
      await inSync(
        it.followed,
        () => it.followed.leases.get("node-2")?.endpoints[0]?.subnet === "10.5.2.0/24" && it.followed.leases.has("node-3"),
      );
    });

    test("a server that is halted, with its connections open, is noticed and followed on", async () => {
      await using it = await bed();
      const start = performance.now();
      server.halt(true);
      while (it.store.health().connected) await sleep(20);
      assert.ok(performance.now() - start < 15_000, `noticed after ${Math.round(performance.now() - start)} ms`);
      server.halt(false);
      await server.deleteNode("node-3");
      await inSync(it.followed, () => !it.followed.leases.has("node-3"));
      assert.deepEqual(it.followed.leases.size, 2);
    });
  });
}

outagesOver("outages of Kubernetes, lists in pages", ANY_ETCD);
outagesOver("outages of Kubernetes, lists streamed", NEW_ETCD);
