/**
 * The same routes by `ip -batch`, which asks for an acknowledgement of every one: `ip_batch.ts one-gateway PEERS DEVICE ADDRESS`.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import process from "node:process";

const [mode, count, device, address] = process.argv.slice(2) as [string, string, string, string];
if (mode !== "one-gateway") throw new Error(`There is no mode "${mode}"`);
const lines = Array.from(
  { length: Number(count) },
  (_, peer) => `route add 10.${peer >> 8}.${peer & 255}.0/24 via ${address} dev ${device} proto 87`,
);
writeFileSync("/run/routes", lines.join("\n"));
const start = performance.now();
const { status, stderr } = spawnSync("ip", ["-batch", "/run/routes"], { encoding: "utf8" });
const seconds = (performance.now() - start) / 1000;
if (status !== 0) console.error(stderr);
console.log(JSON.stringify({ mode, peers: Number(count), items: Number(count), seconds, errors: status === 0 ? 0 : 1 }));
