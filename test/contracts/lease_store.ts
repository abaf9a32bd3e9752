/**
 * What every lease store promises, as tests: the interface of `src/model/lease.ts`, case by case.
 *
 * A store brings a {@linkcode Backing}: the real thing that its clients share, made anew for every test, and hands to write into it as
 * another program would. Where stores differ by nature, {@linkcode Abilities} say so; such a case is left out before it starts.
 *
 * @module
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import { type Cidr, contains, type Family, familyOf, type Ip, overlaps, parseCidr, parseIp } from "../../src/model/ip.ts";
import { endpointOf, type Lease, LeaseLostError, type LeaseRequest, type LeaseStore, type Range } from "../../src/model/lease.ts";
import { followLeases } from "./followed_leases.ts";
import { V4 } from "./lease_entries.ts";

/** What stores can do or can not. */
export interface Abilities {
  /** The store chooses subnets. Otherwise a node has those of {@linkcode TestNode.subnets}, and leases are kept under its name. */
  readonly allocates: boolean;
  /** Leases that are not renewed end. */
  readonly expires: boolean;
}

/** A node, as its store has to know it. */
export interface TestNode {
  readonly name: string;
  readonly publicIps: readonly Ip[];
  /** What Kubernetes assigns to it. Stores that allocate do not look at it. */
  readonly subnets: readonly Cidr[];
}

/** A lease as another program writes it. */
export interface ForeignLease {
  readonly node: TestNode;
  readonly backendType: string;
  /** One per subnet of the node. */
  readonly data: readonly unknown[];
  /** Milliseconds from now; `null` if it does not expire. Stores whose leases do not expire do not look at it. */
  readonly lifetime: number | null;
}

/** What clients share: a file, a cluster of etcd, an API server. */
export interface Backing extends AsyncDisposable {
  /** Opens a store as the agent of a node does. Whoever calls it disposes of it. */
  open(node: TestNode): Promise<LeaseStore>;
  /** Writes a lease, or writes over it. @returns Its key. */
  put(lease: ForeignLease): Promise<string>;
  /** Writes entries that can not be read as leases, in as many ways as there are. @returns Their keys. */
  putBroken(): Promise<readonly string[]>;
  /** Makes a lease disappear. */
  remove(key: string): Promise<void>;
  /** Writes the network configuration; there is none before. */
  configure(text: string): Promise<void>;
}

const V6: Range = {
  network: parseCidr("fd00:5::/48"),
  allocation: { length: 64, min: parseIp("fd00:5:0:1::"), max: parseIp("fd00:5:0:ffff::") },
};

/** The node with this number; `families` says which addresses it has. */
function nodeOf(number: number, families: readonly Family[] = [4]): TestNode {
  const publicIps = { 4: parseIp(`192.168.64.${number}`), 6: parseIp(`2001:db8::${number}`) };
  const subnets = { 4: parseCidr(`10.5.${100 + number}.0/24`), 6: parseCidr(`fd00:5:0:${100 + number}::/64`) };
  return { name: `node-${number}`, publicIps: families.map((it) => publicIps[it]), subnets: families.map((it) => subnets[it]) };
}

/** Gives up what is taking too long. */
function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

/**
 * Declares the tests of a store.
 *
 * @param name What the tests are called after.
 * @param make Makes an empty backing.
 */
export function leaseStoreContract(name: string, make: () => Promise<Backing>, { allocates, expires }: Abilities): void {
  const needsAllocation = allocates ? false : "subnets are not chosen by this store";
  const needsExpiry = expires ? false : "leases of this store do not expire";

  function promise(what: string, skip: string | false, run: (backing: Backing) => Promise<void>): void {
    test(`${name}: ${what}`, { skip, timeout: 60_000 }, async () => {
      await using backing = await make();
      await run(backing);
    });
  }

  function requestOf(node: TestNode, given: Partial<Omit<LeaseRequest, "network">> & { readonly ranges?: readonly Range[] } = {}) {
    const { ranges = node.publicIps.map((ip) => familyOf(ip) === 4 ? V4 : V6), ...rest } = given;
    return {
      network: {
        ranges: ranges.map((range) => allocates ? range : { ...range, allocation: null }),
        backendType: "vxlan",
        backendOptions: {},
        nftables: false,
      },
      backendType: "vxlan",
      endpoints: node.publicIps.map((publicIp) => ({ publicIp, data: { VNI: 1, VtepMAC: "0a:58:00:00:00:01" } })),
      previous: [],
      ...rest,
    } satisfies LeaseRequest;
  }

  /** Opens, takes the lease and closes; whatever happens, nothing stays open. */
  async function take(backing: Backing, node: TestNode, given?: Parameters<typeof requestOf>[1]): Promise<Lease> {
    await using store = await backing.open(node);
    return await store.acquire(requestOf(node, given), soon());
  }

  const subnetsOf = ({ endpoints }: Lease) => endpoints.map(({ subnet }) => subnet);

  promise(
    "a watch begins with a snapshot of all leases, one's own among them, and goes on with changes",
    false,
    async (backing) => {
      await using a = await backing.open(nodeOf(1));
      const own = await a.acquire(requestOf(nodeOf(1)), soon());
      const other = await backing.put({ node: nodeOf(2), backendType: "host-gw", data: [null], lifetime: null });
      await using followed = followLeases(a);
      await followed.until("both leases", ({ leases }) => leases.size === 2);
      assert.equal(followed.events[0]?.type, "snapshot");
      assert.deepEqual([...followed.keys].sort(), [own.key, other].sort());
      assert.deepEqual(followed.leases.get(own.key)!.endpoints, own.endpoints);
      const seen = followed.leases.get(other)!;
      assert.deepEqual([seen.key, seen.backendType], [other, "host-gw"]);
      assert.deepEqual(seen.endpoints, [{ subnet: nodeOf(2).subnets[0], publicIp: nodeOf(2).publicIps[0], data: null }]);
      const third = await take(backing, nodeOf(3));
      await followed.until("the third lease", ({ leases }) => leases.has(third.key));
      assert.ok(followed.events.slice(1).every(({ type }) => type === "changes"), "no second snapshot without a gap");
    },
  );

  promise("a watch on an empty store gives an empty snapshot at once", false, async (backing) => {
    await using a = await backing.open(nodeOf(1));
    await using followed = followLeases(a);
    await followed.until("a snapshot", ({ events }) => events.length > 0);
    assert.deepEqual(followed.events, [{ type: "snapshot", records: [] }]);
  });

  promise("a watch tells when the attributes of a lease change, and when it is gone", false, async (backing) => {
    await using a = await backing.open(nodeOf(1));
    const foreign = { node: nodeOf(2), backendType: "vxlan", data: [{ VNI: 1, VtepMAC: "0a:58:00:00:00:02" }], lifetime: null };
    const key = await backing.put(foreign);
    await using followed = followLeases(a);
    await followed.until("the lease", ({ leases }) => leases.has(key));
    const moved = { ...foreign, node: { ...foreign.node, publicIps: [parseIp("192.168.64.99")] }, data: [{ VNI: 2 }] };
    assert.equal(await backing.put(moved), key);
    await followed.until("the new address", ({ leases }) => leases.get(key)?.endpoints[0]?.publicIp === "192.168.64.99");
    assert.deepEqual(followed.leases.get(key)!.endpoints[0]!.data, { VNI: 2 });
    await backing.remove(key);
    await followed.until("its removal", ({ keys }) => keys.size === 0);
    assert.ok(followed.events.slice(1).every(({ type }) => type === "changes"));
  });

  promise("two watches of one store hear the same", false, async (backing) => {
    await using a = await backing.open(nodeOf(1));
    await using first = followLeases(a);
    await using second = followLeases(a);
    const key = await backing.put({ node: nodeOf(2), backendType: "vxlan", data: [null], lifetime: null });
    for (const followed of [first, second]) await followed.until("the lease", ({ leases }) => leases.has(key));
  });

  promise("a node that starts again finds its lease and keeps its subnet, with new attributes", false, async (backing) => {
    const node = nodeOf(1);
    await using watcher = await backing.open(nodeOf(9));
    await using followed = followLeases(watcher);
    const before = await take(backing, node);
    await take(backing, nodeOf(2));
    await using again = await backing.open(node);
    const found = await again.previousLease(node.publicIps, soon());
    assert.deepEqual([found?.key, found?.endpoints], [before.key, before.endpoints]);
    const endpoints = [{ publicIp: node.publicIps[0]!, data: { VNI: 7 } }];
    const lease = await again.acquire(requestOf(node, { endpoints, backendType: "host-gw" }), soon());
    assert.deepEqual([lease.key, lease.backendType, subnetsOf(lease)], [before.key, "host-gw", subnetsOf(before)]);
    assert.deepEqual(lease.endpoints[0]!.data, { VNI: 7 });
    await followed.until("the new attributes", ({ leases }) => leases.get(lease.key)?.backendType === "host-gw");
    assert.equal(followed.keys.size, 2);
  });

  promise("a node that is new has no previous lease", false, async (backing) => {
    await take(backing, nodeOf(1));
    await using store = await backing.open(nodeOf(2));
    assert.equal(await store.previousLease(nodeOf(2).publicIps, soon()), null);
  });

  promise("the subnets in subnet.env are taken again if they are free, and left alone if not", needsAllocation, async (backing) => {
    const previous = [parseCidr("10.5.77.0/24")];
    assert.deepEqual(subnetsOf(await take(backing, nodeOf(1), { previous })), previous);
    const other = subnetsOf(await take(backing, nodeOf(2), { previous }));
    assert.ok(contains(V4.network, other[0]!) && !overlaps(other[0]!, previous[0]!));
    const foreign = subnetsOf(await take(backing, nodeOf(3), { previous: [parseCidr("172.16.5.0/24")] }));
    assert.ok(contains(V4.network, foreign[0]!));
  });

  promise("a lease that does not fit the network any more is given up for one that does", needsAllocation, async (backing) => {
    const before = await take(backing, nodeOf(1));
    const ranges = [{
      network: parseCidr("10.6.0.0/16"),
      allocation: { length: 25, min: parseIp("10.6.0.128"), max: parseIp("10.6.255.128") },
    }];
    await using store = await backing.open(nodeOf(1));
    const lease = await store.acquire(requestOf(nodeOf(1), { ranges }), soon());
    assert.match(lease.endpoints[0]!.subnet, /^10\.6\..*\/25$/);
    await using followed = followLeases(store);
    await followed.until("the snapshot", ({ events }) => events.length > 0);
    assert.deepEqual([...followed.keys], [lease.key], `without ${before.key}`);
  });

  promise("when no subnet is free it says so, takes nothing, and goes on when one is", needsAllocation, async (backing) => {
    const ranges = [{
      network: parseCidr("10.5.0.0/22"),
      allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.3.0") },
    }];
    const leases = [];
    for (const number of [1, 2, 3]) leases.push(await take(backing, nodeOf(number), { ranges }));
    assert.deepEqual(leases.flatMap(subnetsOf).sort(), ["10.5.1.0/24", "10.5.2.0/24", "10.5.3.0/24"]);
    await assert.rejects(
      take(backing, nodeOf(4), { ranges }),
      /^Error: Cannot take a lease: no \/24 from 10\.5\.1\.0 to 10\.5\.3\.0 is free/,
    );
    assert.deepEqual(subnetsOf(await take(backing, nodeOf(2), { ranges })), subnetsOf(leases[1]!), "who has one keeps it");
    await using second = await backing.open(nodeOf(2));
    await second.release(await second.acquire(requestOf(nodeOf(2), { ranges }), soon()), soon());
    assert.deepEqual(subnetsOf(await take(backing, nodeOf(4), { ranges })), subnetsOf(leases[1]!));
  });

  promise("many nodes that start at once get different subnets", needsAllocation, async (backing) => {
    const nodes = Array.from({ length: 30 }, (_, i) => nodeOf(i + 1));
    const leases = await Promise.all(nodes.map((node) => take(backing, node)));
    assert.equal(new Set(leases.flatMap(subnetsOf)).size, nodes.length);
    await using store = await backing.open(nodes[0]!);
    await using followed = followLeases(store);
    await followed.until("the snapshot", ({ events }) => events.length > 0);
    assert.deepEqual([...followed.keys].sort(), leases.map(({ key }) => key).sort());
  });

  promise("no subnet overlaps those that foreign leases have, whatever their length", needsAllocation, async (backing) => {
    const wide = { ...nodeOf(9), subnets: [parseCidr("10.5.0.0/17")] };
    await backing.put({ node: wide, backendType: "vxlan", data: [null], lifetime: null });
    const lease = await take(backing, nodeOf(1));
    assert.ok(!overlaps(wide.subnets[0]!, lease.endpoints[0]!.subnet), lease.endpoints[0]!.subnet);
  });

  promise("renewing writes the attributes and makes the lease last", false, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    await using followed = followLeases(store);
    const lease = await store.acquire(requestOf(nodeOf(1)), soon());
    if (expires) assert.ok(lease.expiresAt! > Date.now() + 23 * 3_600_000, "24 hours");
    const endpoints = lease.endpoints.map((endpoint) => ({ ...endpoint, data: { VNI: 9 } }));
    const renewed = await store.renew({ ...lease, endpoints }, soon());
    assert.deepEqual([renewed.key, renewed.endpoints], [lease.key, endpoints]);
    if (expires) assert.ok(renewed.expiresAt! >= lease.expiresAt!);
    await followed.until("the attributes", ({ leases }) => {
      const data = leases.get(lease.key)?.endpoints[0]?.data as { VNI?: number } | undefined;
      return data?.VNI === 9;
    });
    assert.equal(followed.keys.size, 1);
  });

  promise("a lease that was removed is lost: it is neither renewed nor released", false, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    const lease = await store.acquire(requestOf(nodeOf(1)), soon());
    await backing.remove(lease.key);
    await assert.rejects(store.renew(lease, soon()), LeaseLostError);
    await assert.rejects(store.release(lease, soon()), LeaseLostError);
    await using followed = followLeases(store);
    await followed.until("the snapshot", ({ events }) => events.length > 0);
    assert.equal(followed.keys.size, 0, "it was not written again");
    const again = await store.acquire(requestOf(nodeOf(1), { previous: subnetsOf(lease) }), soon());
    assert.deepEqual(subnetsOf(again), subnetsOf(lease));
  });

  promise(
    "a lease over which another node has written is lost, and that node's is left alone",
    needsAllocation,
    async (backing) => {
      await using store = await backing.open(nodeOf(1));
      const lease = await store.acquire(requestOf(nodeOf(1)), soon());
      const thief = { ...nodeOf(2), subnets: subnetsOf(lease) };
      await backing.put({ node: thief, backendType: "vxlan", data: [{ VNI: 4 }], lifetime: 3_600_000 });
      await assert.rejects(store.renew(lease, soon()), LeaseLostError);
      await assert.rejects(store.release(lease, soon()), LeaseLostError);
      await using followed = followLeases(store);
      await followed.until("the snapshot", ({ leases }) => leases.size > 0);
      assert.equal(followed.leases.get(lease.key)?.endpoints[0]?.publicIp, thief.publicIps[0]);
    },
  );

  promise("a lease that is released is gone for everybody", false, async (backing) => {
    await using a = await backing.open(nodeOf(1));
    await using b = await backing.open(nodeOf(2));
    await using followed = followLeases(b);
    const lease = await a.acquire(requestOf(nodeOf(1)), soon());
    await followed.until("the lease", ({ leases }) => leases.has(lease.key));
    await a.release(lease, soon());
    await followed.until("its end", ({ keys }) => !keys.has(lease.key));
    await assert.rejects(a.release(lease, soon()), LeaseLostError);
    assert.equal(await a.previousLease(nodeOf(1).publicIps, soon()), null);
  });

  promise("a lease that nobody renews ends for everybody, and its subnet is free", needsExpiry, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    await using followed = followLeases(store);
    const node = { ...nodeOf(2), subnets: [parseCidr("10.5.77.0/24")] };
    const key = await backing.put({ node, backendType: "vxlan", data: [null], lifetime: 2000 });
    await followed.until("the lease", ({ leases }) => leases.has(key));
    const inUse = await take(backing, nodeOf(3), { previous: node.subnets });
    assert.notDeepEqual(subnetsOf(inUse), node.subnets);
    await followed.until("its end", ({ keys }) => !keys.has(key));
    await using late = await backing.open(node);
    assert.equal(await late.previousLease(node.publicIps, soon()), null);
    assert.deepEqual(subnetsOf(await take(backing, nodeOf(4), { previous: node.subnets })), node.subnets);
  });

  promise("a lease that an administrator made to last for ever stays so", needsExpiry, async (backing) => {
    const node = { ...nodeOf(1), subnets: [parseCidr("10.5.77.0/24")] };
    await backing.put({ node, backendType: "vxlan", data: [null], lifetime: null });
    await using store = await backing.open(node);
    const lease = await store.acquire(requestOf(node), soon());
    assert.deepEqual([subnetsOf(lease), lease.expiresAt], [node.subnets, null]);
    assert.equal((await store.renew(lease, soon())).expiresAt, null);
    await using followed = followLeases(store);
    await followed.until("the lease", ({ leases }) => leases.size > 0);
    assert.equal([...followed.leases.values()][0]!.expiresAt, null);
  });

  promise("an entry that can not be read harms only itself, and is told with the reason", false, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    await using followed = followLeases(store);
    const before = await backing.put({ node: nodeOf(2), backendType: "vxlan", data: [null], lifetime: null });
    const broken = await backing.putBroken();
    assert.ok(broken.length > 0);
    const after = await backing.put({ node: nodeOf(3), backendType: "vxlan", data: [null], lifetime: null });
    const own = await store.acquire(requestOf(nodeOf(1)), soon());
    await followed.until("everything", ({ leases, reasons }) => leases.size === 3 && reasons.size === broken.length);
    assert.deepEqual([...followed.leases.keys()].sort(), [before, after, own.key].sort());
    assert.deepEqual([...followed.reasons.keys()].sort(), [...broken].sort());
    for (const [key, reason] of followed.reasons) assert.match(reason, /^[^\n]{5,400}$/, key);
    await using late = followLeases(store);
    await late.until("the snapshot", ({ events }) => events.length > 0);
    assert.deepEqual([...late.reasons], [...late.reasons].filter(([key]) => broken.includes(key)));
    assert.deepEqual([late.leases.size, late.reasons.size], [3, broken.length]);
    for (const key of broken) await backing.remove(key);
    await followed.until("the end of what is broken", ({ reasons }) => reasons.size === 0);
    assert.equal(followed.leases.size, 3);
  });

  promise("a node has a lease in both families, and one of them may be alone", false, async (backing) => {
    const [both, six] = [nodeOf(1, [4, 6]), nodeOf(2, [6])];
    await using a = await backing.open(both);
    await using b = await backing.open(six);
    await using followed = followLeases(a);
    const [dual, alone] = [await a.acquire(requestOf(both), soon()), await b.acquire(requestOf(six), soon())];
    assert.deepEqual(dual.endpoints.map(({ subnet }) => familyOf(subnet)), [4, 6]);
    assert.deepEqual(dual.endpoints.map(({ publicIp }) => publicIp), both.publicIps);
    assert.ok(contains(V4.network, dual.endpoints[0]!.subnet) && contains(V6.network, dual.endpoints[1]!.subnet));
    assert.deepEqual(alone.endpoints.map(({ publicIp }) => publicIp), six.publicIps);
    assert.ok(!overlaps(endpointOf(dual, 6)!.subnet, endpointOf(alone, 6)!.subnet));
    await followed.until("both", ({ leases }) => leases.size === 2);
    for (const lease of [dual, alone]) assert.deepEqual(followed.leases.get(lease.key)?.endpoints, lease.endpoints);
    for (const [store, node, lease] of [[a, both, dual], [b, six, alone]] as const) {
      assert.deepEqual((await store.previousLease(node.publicIps, soon()))?.endpoints, lease.endpoints);
      assert.equal((await store.renew(lease, soon())).key, lease.key);
    }
    assert.deepEqual(subnetsOf(await take(backing, six)), subnetsOf(alone), "also after a restart");
  });

  promise("IPv6 switched on leaves the IPv4 subnet as it was", needsAllocation, async (backing) => {
    const before = await take(backing, nodeOf(1));
    const lease = await take(backing, nodeOf(1, [4, 6]));
    assert.equal(endpointOf(lease, 4)!.subnet, before.endpoints[0]!.subnet);
    assert.ok(contains(V6.network, endpointOf(lease, 6)!.subnet));
    const back = await take(backing, nodeOf(1));
    assert.deepEqual(subnetsOf(back), subnetsOf(before));
  });

  promise("a signal cuts every call short with its reason, and ends every stream", false, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    const lease = await store.acquire(requestOf(nodeOf(1)), soon());
    await backing.configure('{"Network":"10.5.0.0/16"}');
    const enough = new Error("enough");
    const aborted = AbortSignal.abort(enough);
    const isEnough = (error: unknown) => error === enough;
    await assert.rejects(store.previousLease(nodeOf(1).publicIps, aborted), isEnough);
    await assert.rejects(store.acquire(requestOf(nodeOf(1)), aborted), isEnough);
    await assert.rejects(store.renew(lease, aborted), isEnough);
    await assert.rejects(store.release(lease, aborted), isEnough);
    for (const open of [(it: AbortSignal) => store.watch(it), (it: AbortSignal) => store.networkConfig(it)]) {
      assert.deepEqual(await ending(open(aborted), enough), 0);
      const controller = new AbortController();
      const ended = ending(open(controller.signal), enough);
      await new Promise((resolve) => setTimeout(resolve, 300));
      const start = performance.now();
      controller.abort(enough);
      assert.equal(await ended, 1, "the first element came, and no other");
      assert.ok(performance.now() - start < 2000, "at once");
    }
    assert.equal((await store.renew(lease, soon())).key, lease.key, "the store is as usable as before");
  });

  promise("the network configuration is told when it is there, and whenever it changes", false, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    const [first, second, third] = [1, 2, 3].map((it) => `{"Network":"10.${it}.0.0/16","Backend":{"Type":"vxlan"}}`);
    const texts: string[] = [];
    const controller = new AbortController();
    const following = (async () => {
      while (!controller.signal.aborted) {
        try {
          for await (const text of store.networkConfig(controller.signal)) texts.push(text);
        } catch {
          await new Promise((resolve) => setTimeout(resolve, 50)); // as the agent does: a file may be missing at first
        }
      }
    })();
    const heard = async (text: string) => {
      for (let i = 0; i < 1000 && texts.at(-1) !== text; i++) await new Promise((resolve) => setTimeout(resolve, 10));
      assert.equal(texts.at(-1), text);
    };
    for (const text of [first!, second!, third!, first!]) {
      await backing.configure(text);
      await heard(text);
    }
    await backing.configure(first!);
    await new Promise((resolve) => setTimeout(resolve, 200));
    controller.abort();
    await following;
    assert.deepEqual(
      texts.filter((it) => [first, second, third].includes(it)),
      [first, second, third, first],
      "nothing is told twice",
    );
  });

  promise("a store that answers is healthy", false, async (backing) => {
    await using store = await backing.open(nodeOf(1));
    await store.acquire(requestOf(nodeOf(1)), soon());
    assert.deepEqual(store.health(), { connected: true, lastError: null });
    assert.ok(["embedded", "etcd", "kubernetes"].includes(store.kind));
  });
}

/** Reads a stream to its end, which may be an end or the reason of its signal. @returns How many elements there were. */
async function ending(stream: AsyncIterable<unknown>, reason: Error): Promise<number> {
  let count = 0;
  try {
    for await (const _ of stream) count++;
  } catch (error) {
    assert.equal(error, reason);
  }
  return count;
}
