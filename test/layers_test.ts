/**
 * The lint plugin of layers against small good and bad sources.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";

const skip = "Deno" in globalThis ? false : "only Deno has a linter that runs plugins";
const root = new URL("..", import.meta.url).pathname;

/** What the plugin says of a source, if it stood at that path. */
async function lint(path: string, source: string): Promise<string[]> {
  const { default: plugin } = await import("./layers.ts");
  return Deno.lint.runPlugin(plugin, root + path, source).map((it) => it.message);
}

const GOOD: readonly (readonly [path: string, source: string])[] = [
  ["src/model/lease.ts", `import { parseIp } from "./ip.ts";`],
  ["src/model/lease_test.ts", `import assert from "node:assert/strict"; import { fake } from "../../test/fake_kernel.ts";`],
  ["src/mod.ts", `export * from "./model/lease.ts";`],
  ["backends/vxlan.ts", `import { defineBackend } from "../src/mod.ts"; import * as v from "valibot";`],
  ["backends/alloc.ts", `import type { Backend } from "../src/mod.ts";`],
  ["backends/alloc_test.ts", `import { parseIp } from "../src/mod.ts"; import alloc from "./alloc.ts"; import "node:fs";`],
  ["backends/extension.ts", `import { spawn } from "node:child_process"; import process from "node:process"; process.kill(1);`],
  ["src/config/settings.ts", `import { readFile } from "node:fs/promises"; import * as v from "valibot";`],
  ["src/netlink/errno.ts", `import { constants } from "node:os";`],
  ["src/netlink/connection.ts", `import type { Driver } from "../../ffi/mod.ts";`],
  ["src/netlink/connection.ts", `import { type Driver } from "../../ffi/mod.ts";`],
  ["src/status/app.ts", `import { stream } from "hono/streaming"; import { serve } from "@hono/node-server";`],
  ["src/agent.ts", `import type { LeaseStore } from "./stores/store.ts"; import { diff } from "./reconcile/diff.ts";`],
  ["src/agent/loop.ts", `import { Agent } from "../agent.ts";`],
  ["src/plugins.ts", `const plugin = await import(path);`],
  ["src/cli.ts", `import { Agent } from "./agent.ts"; import process from "node:process"; process.exit(Deno.pid);`],
  ["ffi/bun.ts", `import { dlopen } from "bun:ffi"; Bun.gc(true);`],
  ["test/lab/demo.ts", `import { cli } from "../../src/cli.ts"; process.exit();`],
  ["src/model/item.ts", `interface X { process: number; Deno(): void } const x = { process: 1 }; x.process = 2;`],
];

const BAD: readonly (readonly [path: string, source: string, message: RegExp])[] = [
  ["src/model/ip.ts", `import { x } from "../kernel/apply.ts";`, /^src\/model may not import src\/kernel$/],
  ["src/model/ip.ts", `import type { X } from "../kernel/apply.ts";`, /^src\/model may not import src\/kernel$/],
  ["src/model/ip.ts", `import "node:fs";`, /node:fs: have it handed in/],
  ["src/model/ip.ts", `export * from "../config/x.ts";`, /may not import src\/config/],
  ["src/model/ip.ts", `export { x } from "../config/x.ts";`, /may not import src\/config/],
  ["src/model/ip.ts", `type T = import("../config/x.ts").T;`, /may not import src\/config/],
  ["src/model/ip.ts", `const x = await import("../config/x.ts");`, /may not import src\/config/],
  ["src/model/ip.ts", `import x = require("../config/x.ts");`, /may not import src\/config/],
  ["src/model/ip.ts", `const x = await import(name);`, /only known at run time/],
  ["src/model/ip.ts", `import { x } from "../../test/fake_kernel.ts";`, /may not import test/],
  ["src/model/ip_test.ts", `import { x } from "../config/x.ts";`, /may not import src\/config/],
  ["src/model/ip_test.ts", `import { env } from "node:process"; env.X;`, /node:process/],
  ["src/mod.ts", `import { vxlan } from "../backends/vxlan.ts";`, /^src\/mod may not import backends$/],
  ["backends/vxlan.ts", `import { parseIp } from "../src/model/ip.ts";`, /^backends may not import src\/model$/],
  ["backends/vxlan.ts", `import { x } from "../src/cli.ts";`, /may not import src\/cli/],
  ["backends/alloc.ts", `import { defineBackend } from "../src/mod.ts";`, /^backends\/alloc may import only types of src\/mod$/],
  ["backends/alloc.ts", `import "node:fs";`, /node:fs: have it handed in/],
  ["backends/extension.ts", `import * as v from "valibot";`, /the package valibot/],
  ["src/netlink/connection.ts", `import "node:net";`, /node:net: have it handed in/],
  ["src/netlink/connection.ts", `import { openDriver } from "../../ffi/mod.ts";`, /may import only types of ffi/],
  ["src/netlink/connection.ts", `import { openDriver, type Driver } from "../../ffi/mod.ts";`, /may import only types of ffi/],
  ["src/agent.ts", `import { Store } from "./stores/embedded.ts";`, /may import only types of src\/stores/],
  ["src/reconcile/diff.ts", `import * as v from "valibot";`, /the package valibot/],
  ["src/reconcile/diff.ts", `import x from "@hono/node-server/x";`, /the package @hono\/node-server$/],
  ["src/stores/etcd.ts", `import { dlopen } from "bun:ffi";`, /bun:ffi: it belongs to ffi/],
  ["src/surprise.ts", `import "./model/ip.ts";`, /src\/surprise has no row/],
  ["src/model/ip.ts", `const pid = process.pid;`, /^process may be named only in/],
  ["src/model/ip.ts", `const x: Deno.Addr = y;`, /^Deno may be/],
  ["src/model/ip.ts", `const x = globalThis.Bun;`, /^Bun may be/],
  ["src/model/ip.ts", `const x = (globalThis as unknown as X).Bun;`, /^Bun may be/],
  ["src/model/ip.ts", `const x = globalThis["Bun"];`, /^Bun may be/],
  ["src/model/ip.ts", `const x = "Bun" in globalThis;`, /^Bun may be/],
  ["src/model/ip.ts", `const x = { process };`, /^process may be/],
  ["src/model/ip.ts", `const x = { [process.pid]: 1 };`, /^process may be/],
];

test("layers lets each layer have what its row says", { skip }, async () => {
  for (const [path, source] of GOOD) assert.deepEqual(await lint(path, source), [], `${path}: ${source}`);
});

test("layers refuses what no row allows, once", { skip }, async () => {
  for (const [path, source, message] of BAD) {
    const [first, ...rest] = await lint(path, source);
    assert.match(first ?? "nothing was said", message, `${path}: ${source}`);
    assert.deepEqual(rest, [], `${path}: ${source}`);
  }
});
