/**
 * One measurement of Weft's own way into the kernel: plans the same items as a mode of limit.c, puts them, and prints its line of JSON.
 * Started by kernel.ts in a network namespace of its own: `kernel_worker.ts MODE PEERS DEVICE ADDRESS [SRC]`. `WEFT_BENCH_WARM=N` puts and
 * drops them N times before.
 *
 * @module
 */

import process from "node:process";
import { openDriver } from "../ffi/mod.ts";
import { keys } from "../src/cli/adapters.ts";
import { openKernel } from "../src/kernel/kernel.ts";
import { cidrOf, type Ip, ipNumber, ipOf, macFromBytes, networkOf, parseIp } from "../src/model/ip.ts";
import type { Change, Item } from "../src/model/item.ts";

const [mode, count, link, first, source] = process.argv.slice(2) as [string, string, string, string, string | undefined];
const base = ipNumber(parseIp(first));

/** What one peer needs in a mode of limit.c. */
function itemsOf(peer: number): Item[] {
  const dst = cidrOf(ipOf(0x0a000000n + BigInt(peer << 8), 4), 24);
  const id = Number(ipNumber(networkOf(dst)));
  const src = source === undefined ? null : parseIp(source);
  const address = ipOf(base + BigInt(peer), 4);
  const mac = macFromBytes(Uint8Array.of(2, 0, 0, peer >> 16, peer >> 8 & 255, peer & 255));
  const nexthop = (via: Ip): Item => ({ kind: "nexthop", id, hop: { via, link, onlink: true } });
  switch (mode) {
    case "one-gateway":
      return [{ kind: "route", dst, to: { via: parseIp(first), link, onlink: false }, src }];
    case "onlink":
      return [{ kind: "route", dst, to: { via: address, link, onlink: true }, src }];
    case "nexthop":
      return [nexthop(address), { kind: "route", dst, to: id, src }];
    case "vxlan":
      return [
        { kind: "fdb", link, mac, dst: address },
        { kind: "neighbour", link, ip: networkOf(dst), mac },
        nexthop(networkOf(dst)),
        { kind: "route", dst, to: id, src },
      ];
    default:
      throw new Error(`There is no mode "${mode}"`);
  }
}

using kernel = openKernel(await openDriver(), { keys });
const items = Array.from({ length: Number(count) }, (_, peer) => itemsOf(peer)).flat();
const changes = items.map((item): Change => ({ op: "put", item, old: null }));
// C comes compiled; the runtime compiles what it has seen often, and goes on doing so for a second.
for (let round = 0; round < Number(process.env["WEFT_BENCH_WARM"] ?? 0); round++) {
  await kernel.apply(changes);
  await kernel.apply(changes.map(({ item }): Change => ({ op: "drop", item })));
}
const start = performance.now();
const refusals = await kernel.apply(changes);
const seconds = (performance.now() - start) / 1000;
const [failed] = refusals.values();
if (failed !== undefined) console.error(failed.error);
console.log(JSON.stringify({ mode, peers: Number(count), items: items.length, seconds, errors: refusals.size }));
