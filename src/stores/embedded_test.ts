import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { test } from "node:test";
import { watchFolder } from "../../test/watch_folder.ts";
import { followLeases } from "../../test/contracts/followed_leases.ts";
import { type Cidr, type Ip, parseCidr, parseIp } from "../model/ip.ts";
import { type Lease, LeaseLostError, type LeaseRequest, type LeaseStore } from "../model/lease.ts";
import { type EmbeddedStoreOptions, LEASE_TIME, openEmbeddedStore } from "./embedded.ts";

/** Time that stands still until it is told to go on; it never waits for anything. */
class Clock {
  #now = 1_700_000_000_000;
  readonly #timers = new Set<{ readonly at: number; readonly call: () => void }>();

  readonly now = (): number => this.#now;
  readonly after = (milliseconds: number, call: () => void): () => void => {
    const timer = { at: this.#now + milliseconds, call };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  };

  get timers(): number {
    return this.#timers.size;
  }

  advance(milliseconds: number): void {
    this.#now += milliseconds;
    for (const timer of this.#timers) {
      if (timer.at > this.#now) continue;
      this.#timers.delete(timer);
      timer.call();
    }
  }
}

/** A file, and the agents that open it. */
class Machine implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "weft-embedded-"));
  readonly path = join(this.folder, "leases.db");
  readonly clock = new Clock();
  readonly #stores: LeaseStore[] = [];

  async open(node: string, options: Partial<EmbeddedStoreOptions> = {}): Promise<LeaseStore> {
    const store = await openEmbeddedStore({
      path: this.path,
      node,
      netConfigPath: join(this.folder, "net-conf.json"),
      netConfigPathIsDefault: true,
      now: this.clock.now,
      after: this.clock.after,
      random: Math.random,
      watchFolder,
      ...options,
    });
    this.#stores.push(store);
    return store;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const store of this.#stores) await store[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const range = {
  network: parseCidr("10.5.0.0/16"),
  allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.255.0") },
};

function requestOf(ip: string, previous: readonly string[] = []): LeaseRequest {
  return {
    network: { ranges: [range], backendType: "vxlan", backendOptions: {}, nftables: false },
    backendType: "vxlan",
    endpoints: [{ publicIp: parseIp(ip), data: null }],
    previous: previous.map(parseCidr),
  };
}

function subnetOf({ endpoints }: Lease): Cidr {
  return endpoints[0]!.subnet;
}

function withAddress(lease: Lease, ip: Ip): Lease {
  return { ...lease, endpoints: lease.endpoints.map((endpoint) => ({ ...endpoint, publicIp: ip })) };
}

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

test("nodes with one name and different addresses have leases of their own, as those with one address and different names", async () => {
  await using machine = new Machine();
  const given = [["host", "192.168.0.1"], ["host", "192.168.0.2"], ["a", "10.0.2.15"], ["b", "10.0.2.15"]] as const;
  const leases: Lease[] = [];
  for (const [node, ip] of given) leases.push(await (await machine.open(node)).acquire(requestOf(ip), soon()));
  assert.equal(new Set(leases.map(({ key }) => key)).size, 4);
  for (const [i, [node, ip]] of given.entries()) {
    const again = await machine.open(node);
    assert.equal((await again.previousLease([parseIp(ip)], soon()))?.key, leases[i]!.key);
    assert.equal((await again.acquire(requestOf(ip), soon())).key, leases[i]!.key);
  }
});

test("a node can not take, renew or release the lease of one with the same address or the same name", async () => {
  await using machine = new Machine();
  const lease = await (await machine.open("a")).acquire(requestOf("10.0.2.15"), soon());
  for (const [node, ip] of [["b", "10.0.2.15"], ["a", "10.0.2.16"]] as const) {
    const other = await machine.open(node);
    const foreign = withAddress(lease, parseIp(ip));
    await assert.rejects(other.renew(foreign, soon()), LeaseLostError);
    await assert.rejects(other.release(foreign, soon()), LeaseLostError);
    const own = await other.acquire(requestOf(ip, [subnetOf(lease)]), soon());
    assert.notEqual(subnetOf(own), subnetOf(lease));
  }
});

test("renewing publishes the node's new address, and a restarted agent is known by it", async () => {
  await using machine = new Machine();
  const store = await machine.open("a");
  const lease = await store.acquire(requestOf("192.168.0.1"), soon());
  const moved = withAddress(lease, parseIp("192.168.0.7"));
  assert.deepEqual(await store.renew(moved, soon()), moved);
  await using followed = followLeases(await machine.open("b"));
  await followed.until("the new address", ({ leases }) => leases.get(lease.key)?.endpoints[0]?.publicIp === "192.168.0.7");
  const again = await machine.open("a");
  assert.equal(await again.previousLease([parseIp("192.168.0.1")], soon()), null);
  assert.equal((await again.acquire(requestOf("192.168.0.7"), soon())).key, lease.key);
});

test("a lease that another program has changed is renewed only if it is still the node's", async () => {
  await using machine = new Machine();
  const store = await machine.open("a");
  const lease = await store.acquire(requestOf("192.168.0.1"), soon());
  const change = (statement: string) => {
    const db = new DatabaseSync(machine.path, { timeout: 5000 });
    db.exec(statement);
    db.close();
  };
  change(`UPDATE lease SET expires_at = ${machine.clock.now() + 1000}`);
  await store.renew(lease, soon());
  change('UPDATE lease SET value = \'{"PublicIP":"192.168.0.9"}\'');
  await assert.rejects(store.renew(lease, soon()), /^LeaseLostError: the lease 10\.5\.\d+\.0-24 is that of another node$/);
  change("UPDATE lease SET value = 'nonsense'");
  await assert.rejects(store.renew(lease, soon()), LeaseLostError);
  const other = await store.acquire(requestOf("192.168.0.1", [subnetOf(lease)]), soon());
  assert.notEqual(other.key, lease.key, "what can not be read is not written over");
});

test("a lease lasts 24 hours from its last renewal, and its end is heard at that moment by one timer", async () => {
  await using machine = new Machine();
  const [store, observer] = [await machine.open("a"), await machine.open("b")];
  const lease = await store.acquire(requestOf("192.168.0.1"), soon());
  assert.equal(lease.expiresAt, machine.clock.now() + LEASE_TIME);
  await using followed = followLeases(observer);
  await followed.until("the lease", ({ leases }) => leases.size === 1);
  machine.clock.advance(LEASE_TIME - 1000);
  const renewed = await store.renew(lease, soon());
  assert.equal(renewed.expiresAt, machine.clock.now() + LEASE_TIME);
  await followed.until("the renewal", ({ leases }) => leases.get(lease.key)?.expiresAt === renewed.expiresAt);
  machine.clock.advance(LEASE_TIME - 1);
  assert.equal(machine.clock.timers, 1);
  assert.equal((await store.previousLease([parseIp("192.168.0.1")], soon()))?.key, lease.key);
  machine.clock.advance(1);
  await followed.until("its end", ({ keys }) => keys.size === 0);
  assert.deepEqual(followed.events.at(-1), { type: "changes", changed: [], removed: [lease.key] });
  assert.equal(machine.clock.timers, 0, "nothing is waited for any more");
  assert.equal(await store.previousLease([parseIp("192.168.0.1")], soon()), null);
  await assert.rejects(store.renew(renewed, soon()), /^LeaseLostError: the lease .* expired at 2023-11-1/);
});

test("a store that is closed ends its watches and refuses what comes after", async () => {
  await using machine = new Machine();
  const store = await machine.open("a");
  await store.acquire(requestOf("192.168.0.1"), soon());
  const events = store.watch(new AbortController().signal)[Symbol.asyncIterator]();
  const texts = store.networkConfig(new AbortController().signal)[Symbol.asyncIterator]();
  await Promise.all([events.next(), texts.next()]);
  const ends = [events.next(), texts.next()];
  await store[Symbol.asyncDispose]();
  for (const end of ends) await assert.rejects(end, /^Error: The lease database ".*" has been closed$/);
  await assert.rejects(store.acquire(requestOf("192.168.0.1"), soon()), /has been closed$/);
  assert.equal(machine.clock.timers, 0);
});

test("a store that is read-only shows what there is, and writes nothing, not even a file", async () => {
  await using machine = new Machine();
  await assert.rejects(machine.open("a", { readOnly: true }), /it does not exist; the first agent that starts makes it$/);
  assert.deepEqual(readdirSync(machine.folder), []);
  const lease = await (await machine.open("a")).acquire(requestOf("192.168.0.1"), soon());
  const reader = await machine.open("a", { readOnly: true });
  assert.equal((await reader.previousLease([parseIp("192.168.0.1")], soon()))?.key, lease.key);
  await assert.rejects(reader.acquire(requestOf("192.168.0.2"), soon()), { name: "DatabaseError" });
  await using followed = followLeases(reader);
  await followed.until("the lease", ({ leases }) => leases.has(lease.key));
});

test("twenty thousand leases are read, added to and followed without trouble", { timeout: 120_000 }, async () => {
  await using machine = new Machine();
  const store = await machine.open("a");
  const db = new DatabaseSync(machine.path, { timeout: 5000 });
  db.exec(`BEGIN; WITH RECURSIVE n (i) AS (SELECT 256 UNION ALL SELECT i + 1 FROM n WHERE i < 20255)
    INSERT INTO lease (key, value, node, expires_at) SELECT format('10.%d.%d.0-24', i / 256, i % 256),
      format('{"PublicIP":"172.16.%d.%d","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:%02x:%02x"}}',
        i / 256, i % 256, i / 256, i % 256), 'n' || i, ${machine.clock.now() + LEASE_TIME} FROM n; COMMIT`);
  db.close();
  const network = parseCidr("10.0.0.0/8");
  const wide = { network, allocation: { length: 24, min: parseIp("10.0.1.0"), max: parseIp("10.255.255.0") } };
  const request = requestOf("192.168.0.1", ["10.200.0.0/24"]);
  await using followed = followLeases(store);
  const start = performance.now();
  await followed.until("all leases", ({ leases }) => leases.size === 20_000);
  const read = performance.now() - start;
  const lease = await store.acquire({ ...request, network: { ...request.network, ranges: [wide] } }, soon());
  const acquired = performance.now() - start - read;
  await followed.until("the new lease", ({ leases }) => leases.has(lease.key));
  const heard = performance.now() - start - read - acquired;
  const [a, b, c] = [read, acquired, heard].map(Math.round);
  console.log(`20,000 leases: snapshot ${a} ms, one more taken in ${b} ms, heard of ${c} ms later`);
  assert.equal(subnetOf(lease), "10.200.0.0/24");
  assert.equal(followed.events.length, 2);
});
