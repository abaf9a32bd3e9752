/**
 * What it costs that backends are asked through a seam: planning for 50,000 peers with the built-in vxlan backend, against a planner with
 * the backend's own lines written into it; the same peers through a plugin in its Worker; and the look into an empty folder of plugins.
 *
 * Rounds alternate, and the best of each counts, since the machine may be busy with something else.
 *
 * ```sh
 * npm run bench -- plugins
 * ```
 *
 * @module
 */

import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import * as v from "valibot";
import vxlan, { vxlanData } from "../backends/vxlan.ts";
import type { Backend, NodeSide, Peer } from "../src/model/backend.ts";
import type { BackendPort } from "../src/model/backend_port.ts";
import { networkOf } from "../src/model/ip.ts";
import type { Lease } from "../src/model/lease.ts";
import { macOf, macsOf, publicIpOf, sideOf, subnetOf } from "../src/plugins/check/world.ts";
import { openBackends } from "../src/plugins.ts";
import { inProcess } from "../src/reconcile/in_process.ts";
import { editionOf } from "../src/reconcile/lists.ts";
import { Planner } from "../src/reconcile/plan.ts";

const PEERS = 50_000;
const ROUNDS = Number(process.env["WEFT_BENCH_ROUNDS"] ?? 9);

/** As many as a plugin may have to plan for. */
const FEWER = 5_000;

const side: NodeSide = sideOf(1, 4, 1450, null);
const sides = [side];
const options = { Type: "vxlan", VNI: 1, Port: 0, GBP: false, Learning: false, MTU: 0, DirectRouting: false };
const seam = inProcess(vxlan as unknown as Backend, options);

/** The same with nothing between: what vxlan does for a peer, as it would stand in the planner. */
const inlined: BackendPort = {
  ...seam,
  peer({ subnet, publicIp, data }: Peer<unknown>, { subnet: own }: NodeSide) {
    const checked = v.safeParse(vxlanData, data);
    if (!checked.success) return { path: "none", items: [], state: "rejected", reason: checked.issues[0].message };
    const mac = checked.output.VtepMAC;
    const [link, gateway] = ["flannel.1", networkOf(subnet)];
    return {
      path: "vxlan",
      items: [
        { kind: "fdb", link, mac, dst: publicIp },
        { kind: "neighbour", link, ip: gateway, mac },
        { kind: "route", dst: subnet, to: { via: gateway, link, onlink: true }, src: networkOf(own) },
      ],
      state: "planned",
      reason: null,
    };
  },
};

const peers: readonly Lease[] = Array.from({ length: PEERS }, (_, i): Lease => {
  const n = i + 2;
  const data = { VtepMAC: macOf(n, "flannel.1") };
  return {
    key: `node-${n}`,
    backendType: "vxlan",
    endpoints: [{ subnet: subnetOf(n, 4), publicIp: publicIpOf(n, 4), data }],
    expiresAt: null,
  };
});

function plan(backend: BackendPort, planner = new Planner()): number {
  const before = performance.now();
  const { items } = planner.plan({
    backend,
    sides,
    peers: editionOf(peers),
    nexthopObjects: true,
    foreign: new Map(),
    ways: sides,
  });
  const time = performance.now() - before;
  if (items.size < 4 * PEERS) throw new Error(`only ${items.size} items were planned`);
  return time;
}

const best = { seam: Infinity, inlined: Infinity };
for (let round = 0; round < ROUNDS; round++) {
  for (const [name, backend] of [["seam", seam], ["inlined", inlined]] as const) {
    best[name] = Math.min(best[name], plan(backend));
  }
}
const cost = (best.seam / best.inlined - 1) * 100;
console.log(
  `  ${PEERS.toLocaleString("en")} peers planned: ${best.seam.toFixed(0)} ms through the seam, ${
    best.inlined.toFixed(0)
  } ms inlined`,
);
console.log(`  the seam costs ${cost.toFixed(1)} % (promised: under 10 %)`);

const folder = mkdtempSync("/run/weft-bench-");
try {
  chmodSync(folder, 0o755);
  const before = performance.now();
  const backends = openBackends({ folders: [folder], log: () => {} });
  const opened = performance.now();
  const request = { by: "the bench", given: {}, source: "the bench", macs: macsOf(() => 1) };
  console.log(`  an empty folder adds ${(opened - before).toFixed(2)} ms to the start (promised: under 5 ms)`);

  const text =
    `export default { name: "far", api: 1, type: "vxlan", options: (o) => o, leaseData: (d) => d, mtu: (m) => m, links: () => ["flannel.1"],
  publish: () => null, node: () => [], peer: ({ subnet, publicIp, data: { VtepMAC: mac } }, side) => {
    const [gateway] = subnet.split("/"), link = "flannel.1";
    return { path: "far", items: [{ kind: "fdb", link, mac, dst: publicIp }, { kind: "neighbour", link, ip: gateway, mac },
      { kind: "route", dst: subnet, to: { via: gateway, link, onlink: true }, src: side.subnet.split("/")[0] }] };
  } };`;
  writeFileSync(join(folder, "far.js"), text, { mode: 0o644 });
  let told = Promise.withResolvers<void>();
  const start = performance.now();
  const far = await backends.open({ ...request, name: "far", changed: () => told.resolve() });
  console.log(`  a plugin is loaded in ${(performance.now() - start).toFixed(1)} ms`);
  const planner = new Planner();
  const asked = performance.now();
  const some = editionOf(peers.slice(0, FEWER));
  const go = () => planner.plan({ backend: far, sides, peers: some, nexthopObjects: true, foreign: new Map(), ways: sides });
  while (far.node(side) === null || go().items.size < 4 * FEWER) {
    await told.promise;
    told = Promise.withResolvers();
  }
  console.log(
    `  its answers for ${FEWER.toLocaleString("en")} peers are planned after ${(performance.now() - asked).toFixed(0)} ms`,
  );
  far.close();
} finally {
  rmSync(folder, { recursive: true });
}
