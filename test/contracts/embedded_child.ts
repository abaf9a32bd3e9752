/**
 * What another process does with the file of an embedded store, for tests that need several: `take`, `write` or `listen`.
 *
 * It says `ready` and waits for a line; what it does then it prints, one JSON text a line. It ends with its input.
 *
 * @module
 */

import { writeSync } from "node:fs";
import process from "node:process";
import { createInterface } from "node:readline";
import { watchFolder } from "../watch_folder.ts";
import { parseIp } from "../../src/model/ip.ts";
import type { Lease, LeaseStore } from "../../src/model/lease.ts";
import { openEmbeddedStore } from "../../src/stores/embedded.ts";
import { requestOf } from "./lease_entries.ts";

const [, , role = "", path = "", ip = ""] = process.argv;
const forEver = new AbortController().signal;

const request = requestOf(ip, { n: 0 });

function open(): Promise<LeaseStore> {
  return openEmbeddedStore({
    path,
    node: `node-${ip}`,
    netConfigPath: `${path}.conf`,
    netConfigPathIsDefault: true,
    now: Date.now,
    random: Math.random,
    watchFolder,
  });
}

/** At once, so that nothing that was done is untold when the process is killed. */
function say(what: unknown): void {
  writeSync(1, `${JSON.stringify(what)}\n`);
}

/** Takes a lease, or says why not. */
async function take(): Promise<void> {
  try {
    await using store = await open();
    const { key } = await store.acquire(request, forEver);
    say({ key });
  } catch (error) {
    say({ error: (error as Error).message });
  }
}

/** Writes without end. Step `n` is told once it is done: every fifth gives the lease back, the others write `n` into it. */
async function write(): Promise<void> {
  const store = await open();
  let lease: Lease | null = null;
  for (let n = 1;; n++) {
    const endpoints = [{ publicIp: parseIp(ip), data: { n } }];
    if (n % 5 === 0) {
      await store.release(lease!, forEver);
      lease = null;
    } else if (lease === null) lease = await store.acquire({ ...request, endpoints }, forEver);
    else {
      const { subnet } = lease.endpoints[0]!;
      lease = await store.renew({ ...lease, endpoints: [{ ...endpoints[0]!, subnet }] }, forEver);
    }
    say({ n });
  }
}

/** Tells the data of every lease that comes or changes, and when it was heard. */
async function listen(): Promise<void> {
  await using store = await open();
  for await (const event of store.watch(forEver)) {
    if (event.type === "snapshot") say({ listening: true });
    else for (const record of event.changed) say({ heard: "lease" in record && record.lease.endpoints[0]!.data, at: Date.now() });
  }
}

const lines = createInterface(process.stdin);
lines.once("line", () => void ({ take, write, listen }[role]!)().then(() => process.exit(0)));
lines.once("close", () => process.exit(0));
say("ready");
