import assert from "node:assert/strict";
import { test } from "node:test";
import { Child } from "../../test/contracts/child.ts";
import { EmbeddedBacking } from "../../test/contracts/embedded_backing.ts";
import { followLeases } from "../../test/contracts/followed_leases.ts";
import { parseCidr, parseIp } from "../model/ip.ts";
import type { Lease, LeaseRequest } from "../model/lease.ts";

const SCRIPT = new URL("../../test/contracts/embedded_child.ts", import.meta.url).pathname;

const range = {
  network: parseCidr("10.5.0.0/16"),
  allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.255.0") },
};

function nodeOf(number: number) {
  return { name: `node-192.168.64.${number}`, publicIps: [parseIp(`192.168.64.${number}`)], subnets: [] };
}

function requestOf(number: number, data: unknown = null): LeaseRequest {
  return {
    network: { ranges: [range], backendType: "vxlan", backendOptions: {}, nftables: false },
    backendType: "vxlan",
    endpoints: [{ publicIp: parseIp(`192.168.64.${number}`), data }],
    previous: [],
  };
}

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

test("openEmbeddedStore() lets fifty processes start at once", { timeout: 120_000 }, async () => {
  await using backing = new EmbeddedBacking();
  const children = Array.from({ length: 50 }, (_, i) => new Child(SCRIPT, ["take", backing.path, `192.168.64.${i + 1}`]));
  try {
    await Promise.all(children.map((child) => child.until(1)));
    const start = performance.now();
    for (const child of children) child.go();
    await Promise.all(children.map((child) => child.until(2)));
    console.log(`50 processes had their leases after ${Math.round(performance.now() - start)} ms`);
    const keys = children.map((child) => (child.lines[1] as { key?: string }).key ?? assert.fail(JSON.stringify(child.lines)));
    assert.equal(new Set(keys).size, 50);
    await using store = await backing.open(nodeOf(99));
    await using followed = followLeases(store);
    await followed.until("all leases", ({ leases }) => leases.size > 0);
    assert.deepEqual([...followed.keys].sort(), keys.sort());
  } finally {
    for (const child of children) await child.kill();
  }
});

test(
  "a process that is killed while it writes harms nothing, and what it had been told is kept",
  { timeout: 120_000 },
  async () => {
    await using backing = new EmbeddedBacking();
    await using store = await backing.open(nodeOf(99));
    const mine = await store.acquire(requestOf(99), soon());
    let steps = 0;
    for (let round = 1; round <= 20; round++) {
      const node = nodeOf(round);
      const child = new Child(SCRIPT, ["write", backing.path, node.publicIps[0]!]);
      await child.until(1);
      child.go();
      await child.until(2);
      await new Promise((resolve) => setTimeout(resolve, Math.random() * 60));
      await child.kill();
      const { n } = child.lines.at(-1) as { n: number };
      steps += n;
      const start = performance.now();
      await using again = await backing.open(node);
      const found = await again.previousLease(node.publicIps, soon());
      assert.ok(performance.now() - start < 2000, "nothing stays locked");
      // The step after the last one that was told may have been done as well, or not.
      const states = [n, n + 1].map((step) => step % 5 === 0 ? null : step);
      assert.ok(states.includes((found?.endpoints[0]?.data as { n: number } | undefined)?.n ?? null), `${found} after step ${n}`);
      await store.renew(mine, soon());
      assert.deepEqual((await backing.sql("PRAGMA integrity_check")).map((row) => row["integrity_check"]), ["ok"]);
    }
    assert.ok(steps > 40, `${steps} steps`);
  },
);

test("other processes hear of a change within a tenth of a second", { timeout: 120_000 }, async () => {
  await using backing = new EmbeddedBacking();
  await using store = await backing.open(nodeOf(99));
  const listeners = [1, 2, 3].map((it) => new Child(SCRIPT, ["listen", backing.path, `192.168.64.${it}`]));
  try {
    for (const child of listeners) await child.until(1);
    for (const child of listeners) child.go();
    for (const child of listeners) await child.until(2);
    let lease: Lease = await store.acquire(requestOf(99, { n: 0, at: Date.now() }), soon());
    for (let n = 1; n <= 40; n++) {
      await new Promise((resolve) => setTimeout(resolve, 20 + Math.random() * 100));
      lease = await store.renew({ ...lease, endpoints: [{ ...lease.endpoints[0]!, data: { n, at: Date.now() } }] }, soon());
    }
    const isLast = (line: unknown) => (line as { heard?: { n: number } }).heard?.n === 40;
    for (const child of listeners) {
      for (let i = 0; i < 500 && !child.lines.some(isLast); i++) await new Promise((resolve) => setTimeout(resolve, 10));
      assert.ok(child.lines.some(isLast), `the last change was heard: ${JSON.stringify(child.lines.at(-1))}`);
    }
    const heard = listeners.flatMap((child) => child.lines.slice(2) as { heard: { at: number }; at: number }[]);
    const delays = heard.map(({ heard, at }) => at - heard.at).sort((a, b) => a - b);
    const at = (share: number) => delays[Math.floor((delays.length - 1) * share)]!;
    console.log(`${delays.length} changes heard after ${at(0.5)} ms (median), ${at(0.95)} ms (95 %), ${at(1)} ms (slowest)`);
    assert.ok(delays.length >= 3 * 30, `${delays.length} of 123 changes were told by themselves`);
    assert.ok(at(0.95) < 1000, `95 % within ${at(0.95)} ms`);
  } finally {
    for (const child of listeners) await child.kill();
  }
});
