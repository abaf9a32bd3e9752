/**
 * What stands in a real etcd: values written as flannel's releases write them are read, and what is written equals theirs byte for byte.
 *
 * @module
 */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { type Cidr, parseCidr, parseIp } from "../../src/model/ip.ts";
import type { LeaseRequest } from "../../src/model/lease.ts";
import { EtcdBacking } from "../contracts/etcd_backing.ts";
import { followLeases } from "../contracts/followed_leases.ts";
import { ETCD, ETCDCTL, lackOf } from "./binaries.ts";
import { EtcdCluster } from "./etcd_cluster.ts";

const skip = lackOf(ETCD, ETCDCTL);
const V4 = {
  network: parseCidr("10.5.0.0/16"),
  allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.255.0") },
};
const V6 = {
  network: parseCidr("fd00:5::/48"),
  allocation: { length: 64, min: parseIp("fd00:5:0:1::"), max: parseIp("fd00:5:0:ffff::") },
};
const IP = parseIp("192.168.64.3");
const IP6 = parseIp("fd00:64::3");
const soon = () => AbortSignal.timeout(20_000);

function request(given: Partial<LeaseRequest> & Pick<LeaseRequest, "endpoints">, ranges: LeaseRequest["network"]["ranges"] = [V4]) {
  const network = { ranges, backendType: "vxlan", backendOptions: {}, nftables: false };
  return { network, backendType: "vxlan", previous: [], ...given };
}

/** Keys and values, and what is read there: subnets, addresses and data. */
const READ: readonly (readonly [what: string, key: string, value: string, endpoints: readonly unknown[], backendType: string])[] = [
  [
    "vxlan of flannel HEAD",
    "10.5.52.0-24",
    '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
    ["10.5.52.0/24", "192.168.64.3", { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" }],
    "vxlan",
  ],
  [
    "vxlan of v0.18",
    "10.5.53.0-24",
    '{"PublicIP":"192.168.64.4","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}',
    ["10.5.53.0/24", "192.168.64.4", { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:45" }],
    "vxlan",
  ],
  ["host-gw", "10.5.54.0-24", '{"PublicIP":"192.168.64.5","PublicIPv6":null,"BackendType":"host-gw"}', [
    "10.5.54.0/24",
    "192.168.64.5",
    null,
  ], "host-gw"],
  ["udp and alloc, without a type", "10.5.55.0-24", '{"PublicIP":"192.168.64.6","PublicIPv6":null}', [
    "10.5.55.0/24",
    "192.168.64.6",
    null,
  ], ""],
  ["fields and spaces of a later release", "10.5.56.0-24", '{ "PublicIP": "192.168.64.7", "Zone": [1], "BackendType": "vxlan" }', [
    "10.5.56.0/24",
    "192.168.64.7",
    null,
  ], "vxlan"],
  [
    "dual-stack",
    "10.5.57.0-24&fd00:5:0:57::-64",
    '{"PublicIP":"192.168.64.8","PublicIPv6":"fd00:64::8","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:46"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:47"}}',
    [
      "10.5.57.0/24",
      "192.168.64.8",
      { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:46" },
      "fd00:5:0:57::/64",
      "fd00:64::8",
      { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:47" },
    ],
    "vxlan",
  ],
];

describe("formats in etcd", { skip }, () => {
  let cluster: EtcdCluster;
  before(async () => {
    if (!skip) cluster = await EtcdCluster.start({ etcd: ETCD });
  });
  after(() => cluster?.[Symbol.asyncDispose]());

  test("what flannel's releases write is read", async () => {
    await using backing = new EtcdBacking(cluster);
    for (const [, key, value] of READ) await cluster.ctl(["put", backing.path(key), value]);
    await using store = await backing.open();
    await using followed = followLeases(store);
    await followed.until("all", ({ keys }) => keys.size === READ.length);
    for (const [what, key, , endpoints, backendType] of READ) {
      const lease = followed.leases.get(key);
      const found = lease?.endpoints.flatMap(({ subnet, publicIp, data }) => [subnet, publicIp, data]);
      assert.deepEqual([found, lease?.backendType], [endpoints, backendType], what);
    }
  });

  /** Takes a lease and reads what stands there. */
  async function written(backing: EtcdBacking, asked: LeaseRequest): Promise<{ keys: string; value: string; ttl: string }> {
    await using store = await backing.open();
    const lease = await store.acquire(asked, soon());
    const keys = await cluster.ctl(["get", "--prefix", "--keys-only", `${backing.prefix}/`]);
    const value = await cluster.ctl(["get", "--print-value-only", backing.path(lease.key)]);
    const [id] = /"lease":(\d+)/.exec(await cluster.ctl(["get", "-w=json", backing.path(lease.key)])) ?? [];
    const ttl = id === undefined ? "" : await cluster.ctl(["lease", "timetolive", BigInt(id.slice(8)).toString(16)]);
    return { keys: keys.trim(), value: value.slice(0, -1), ttl };
  }

  test("what is written equals flannel's, for every backend and both families", async () => {
    const vxlan = { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:44" };
    const vxlan6 = { VNI: 1, VtepMAC: "c6:d2:32:6f:8f:45" };
    const previous: Cidr[] = [parseCidr("10.5.52.0/24"), parseCidr("fd00:5:0:52::/64")];
    const cases: readonly (readonly [LeaseRequest, key: string, value: string])[] = [
      [
        request({ endpoints: [{ publicIp: IP, data: vxlan }], previous }),
        "10.5.52.0-24",
        '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
      ],
      [
        request({ endpoints: [{ publicIp: IP, data: null }], previous, backendType: "host-gw" }),
        "10.5.52.0-24",
        '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
      ],
      [
        request({ endpoints: [{ publicIp: IP, data: vxlan }, { publicIp: IP6, data: vxlan6 }], previous }, [V4, V6]),
        "10.5.52.0-24&fd00:5:0:52::-64",
        '{"PublicIP":"192.168.64.3","PublicIPv6":"fd00:64::3","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}',
      ],
      [
        request({ endpoints: [{ publicIp: IP6, data: vxlan6 }], previous }, [V6]),
        "0.0.0.0-0&fd00:5:0:52::-64",
        '{"PublicIP":"0.0.0.0","PublicIPv6":"fd00:64::3","BackendType":"vxlan","BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:45"}}',
      ],
    ];
    for (const [asked, key, value] of cases) {
      await using backing = new EtcdBacking(cluster);
      const found = await written(backing, asked);
      assert.deepEqual([found.keys, found.value], [backing.path(key), value]);
      assert.match(found.ttl, /granted with TTL\(86400s\)/);
    }
  });

  test("a reservation, a key without an etcd lease, stays one when it is taken and renewed", async () => {
    await using backing = new EtcdBacking(cluster);
    await cluster.ctl(["put", backing.path("10.5.60.0-24"), '{"PublicIP":"192.168.64.3"}']);
    const asked = request({ endpoints: [{ publicIp: IP, data: null }] });
    const { keys, value, ttl } = await written(backing, asked);
    assert.deepEqual([keys, ttl], [backing.path("10.5.60.0-24"), ""]);
    assert.equal(value, '{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan"}');
    await using store = await backing.open();
    const lease = await store.renew(await store.acquire(asked, soon()), soon());
    assert.equal(lease.expiresAt, null);
    assert.doesNotMatch(await cluster.ctl(["get", "-w=json", backing.path(lease.key)]), /"lease"/);
  });

  test("a running node's lease that an administrator makes permanent stays so, and alarms nobody", async () => {
    await using backing = new EtcdBacking(cluster);
    await using store = await backing.open();
    const lease = await store.acquire(request({ endpoints: [{ publicIp: IP, data: null }] }), soon());
    const value = await cluster.ctl(["get", "--print-value-only", backing.path(lease.key)]);
    await cluster.ctl(["put", backing.path(lease.key), value.trim()]);
    await using followed = followLeases(store);
    await followed.until("the lease", ({ leases }) => leases.has(lease.key));
    assert.equal((await store.renew(lease, soon())).expiresAt, null);
    assert.deepEqual([backing.logged, store.health().lastError], [[], null]);
  });

  test("of several leases with a node's address, the one that it had before is kept, and the others are given up", async () => {
    await using backing = new EtcdBacking(cluster);
    for (const key of ["10.5.60.0-24", "10.5.61.0-24", "10.5.62.0-24"]) {
      await cluster.put(backing.path(key), `{"PublicIP":"${IP}"}`);
    }
    const asked = request({ endpoints: [{ publicIp: IP, data: null }], previous: [parseCidr("10.5.61.0/24")] });
    assert.equal((await written(backing, asked)).keys, backing.path("10.5.61.0-24"));
  });

  test("fifty nodes that start at once in a /18 get fifty different subnets", async () => {
    await using backing = new EtcdBacking(cluster);
    const range = {
      network: parseCidr("10.5.0.0/18"),
      allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.63.0") },
    };
    const keys = await Promise.all(Array.from({ length: 50 }, async (_, i) => {
      await using store = await backing.open();
      const endpoints = [{ publicIp: parseIp(`192.168.64.${i + 1}`), data: null }];
      return (await store.acquire(request({ endpoints }, [range]), AbortSignal.timeout(60_000))).key;
    }));
    assert.equal(new Set(keys).size, 50);
    assert.equal((await cluster.ctl(["get", "--prefix", "--keys-only", backing.path("")])).trim().split(/\n+/).length, 50);
  });

  test("nodes that start at once get neither one IPv4 subnet nor one IPv6 subnet twice, although their keys differ", async () => {
    await using backing = new EtcdBacking(cluster);
    const narrow = [
      { network: parseCidr("10.5.0.0/20"), allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.12.0") } },
      { network: parseCidr("fd00:5::/48"), allocation: { length: 64, min: parseIp("fd00:5:0:1::"), max: parseIp("fd00:5:0:c::") } },
    ];
    const leases = await Promise.all(Array.from({ length: 12 }, async (_, i) => {
      await using store = await backing.open();
      const endpoints = [parseIp(`192.168.64.${i + 1}`), parseIp(`fd00:64::${i + 1}`)].map((publicIp) => ({
        publicIp,
        data: null,
      }));
      return await store.acquire(request({ endpoints }, narrow), AbortSignal.timeout(60_000));
    }));
    for (const family of [0, 1]) assert.equal(new Set(leases.map(({ endpoints }) => endpoints[family]!.subnet)).size, 12);
    assert.equal((await cluster.ctl(["get", "--prefix", "--keys-only", backing.path("")])).trim().split(/\n+/).length, 12);
  });
});
