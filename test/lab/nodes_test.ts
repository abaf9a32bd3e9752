/**
 * Three nodes on two segments: what is in the kernels, which ways packets take, and that nothing is lost when ways change.
 *
 * @module
 */

import assert from "node:assert/strict";
import { labTest } from "./case.ts";
import { until } from "./command.ts";
import { Cluster, type Member, subnetOf } from "./cluster.ts";

const DIRECTROUTING = { backend: "directrouting" };

labTest("pods of all nodes reach each other, directly on one segment and over vxlan beyond the router", async () => {
  await using cluster = await Cluster.create({ ipv6: true }, DIRECTROUTING);
  const lost: string[] = [];
  for (const from of cluster.members) {
    for (const to of cluster.members.filter((member) => member !== from)) {
      for (const family of [4, 6] as const) {
        const result = await from.pod.ping(to.pod.addressOf(family), { count: 10 });
        if (result.lost > 0) lost.push(`${from.pod.name} to ${to.pod.name} IPv${family}: ${result.lost} of ${result.sent}`);
      }
    }
  }
  assert.deepEqual(lost, []);
  const [a1, a2, b1] = cluster.members as [Member, Member, Member];
  await checkTunnel(a1, b1);
  await checkTunnel(b1, a1);
  await checkDirect(a1, a2);
  await checkDirect(a2, a1);
});

/** What the peer's own device tells of itself. */
async function vtep(member: Member, device: string): Promise<string> {
  return (await member.node.json(["ip", "-j", "link", "show", device]))[0].address;
}

/** Device, neighbour, FDB entry, nexthop and route as flannel has them (sections 6.1 to 6.4), but through a nexthop object. */
async function checkTunnel(from: Member, to: Member): Promise<void> {
  const { node } = from;
  const [subnet, own] = [subnetOf(to), subnetOf(from)];
  const [gateway, source] = [subnet.split("/")[0]!, own.split("/")[0]!];
  const mac = await vtep(to, "flannel.1");
  const [link] = await node.json(["ip", "-j", "-d", "link", "show", "flannel.1"]);
  assert.equal(link.mtu, 1430); // dual-stack: the external MTU less 70
  assert.equal(link.operstate, "UNKNOWN");
  const { id, local, port, learning, ageing } = link.linkinfo.info_data;
  assert.deepEqual({ id, local, port, learning, ageing }, { id: 1, local: node.address, port: 8472, learning: false, ageing: 300 });
  const [address] = await node.json(["ip", "-j", "-4", "addr", "show", "flannel.1"]);
  assert.deepEqual(address.addr_info.map(({ local, prefixlen, scope }: Record<string, unknown>) => ({ local, prefixlen, scope })), [
    { local: source, prefixlen: 32, scope: "global" },
  ]);
  const neighbours = await node.json(["ip", "-j", "-4", "neigh", "show", "dev", "flannel.1", "nud", "permanent"]);
  assert.deepEqual(neighbours.filter(({ dst }: { dst: string }) => dst === gateway), [{
    dst: gateway,
    lladdr: mac,
    state: ["PERMANENT"],
  }]);
  const fdb = await node.json(["bridge", "-j", "fdb", "show", "dev", "flannel.1"]);
  const entries = fdb.filter((entry: { mac: string }) => entry.mac === mac);
  assert.deepEqual(entries.map(({ dst, state, flags }: Record<string, unknown>) => ({ dst, state, flags })), [
    { dst: to.node.address, state: "permanent", flags: ["self"] },
  ]);
  const [route] = await node.json(["ip", "-j", "-d", "route", "show", subnet]);
  const { type, dst, gateway: via, dev, protocol, scope, prefsrc, flags, metric } = route;
  assert.deepEqual({ type, dst, via, dev, protocol, scope, prefsrc, flags, metric }, {
    type: "unicast",
    dst: subnet,
    via: gateway,
    dev: "flannel.1",
    protocol: "87",
    scope: "global",
    prefsrc: source,
    flags: ["onlink"],
    metric: undefined,
  });
  const [way] = await node.json(["ip", "-j", "route", "get", to.pod.address]);
  assert.deepEqual([way.dev, way.gateway], ["flannel.1", gateway]);
  const [way6] = await node.json(["ip", "-j", "-6", "route", "get", to.pod.address6]);
  assert.equal(way6.dev, "flannel-v6.1");
}

/** A route over the peer's own address, and nothing of it on the vxlan devices. */
async function checkDirect(from: Member, to: Member): Promise<void> {
  const { node } = from;
  const [route] = await node.json(["ip", "-j", "-d", "route", "show", subnetOf(to)]);
  assert.deepEqual([route.gateway, route.dev, route.flags, route.protocol], [to.node.address, "eth0", [], "87"]);
  const [way6] = await node.json(["ip", "-j", "-6", "route", "get", to.pod.address6]);
  assert.deepEqual([way6.gateway, way6.dev], [to.node.address6, "eth0"]);
  for (const device of ["flannel.1", "flannel-v6.1"]) {
    const mac = await vtep(to, device);
    const held = await node.exec(["sh", "-c", `ip neigh show dev ${device}; bridge fdb show dev ${device}`]);
    assert.ok(!held.includes(mac), `${node.name} has vxlan entries for ${to.node.name}:\n${held}`);
  }
}

labTest("an on-link route to a peer that comes and goes changes the way and loses nothing", async () => {
  await using cluster = await Cluster.create({ ipv6: true, rpFilter: 1 }, DIRECTROUTING);
  // On a device without any IPv4 address a loose filter drops what has another way back, just as a strict one does.
  await attach(cluster, "b1", "A", "192.0.2.1/32");
  // IPv6 answers only for addresses of the device that was asked on; IPv4 answers for all.
  const { node: moved } = cluster.on("b1");
  await moved.sysctl({ "net/ipv6/conf/eth1/proxy_ndp": 1 });
  await moved.ip(`neigh add proxy ${moved.address6} dev eth1`);
  await using traffic = await cluster.traffic([["a1", "b1"]]);
  const [a1, b1] = [cluster.on("a1").node, cluster.on("b1").node];
  // A device must be loose before packets come in there, so b1 learns of the new way first. Loose, it takes them from then on.
  const onA1 = (verb: string) => a1.ip(`route ${verb} ${b1.address} dev eth0`, `route ${verb} ${b1.address6} dev eth0`);
  const onB1 = (verb: string) => b1.ip(`route ${verb} ${a1.address} dev eth1`, `route ${verb} ${a1.address6} dev eth1`);
  await onB1("add");
  await until("eth1 is loose", async () => (await b1.exec(["cat", "/proc/sys/net/ipv4/conf/eth1/rp_filter"])) === "2\n");
  await onA1("add");
  await cluster.way("a1", "b1", "direct");
  await cluster.way("b1", "a1", "direct");
  await onB1("del");
  await cluster.way("b1", "a1", "vxlan"); // a1 goes on sending directly
  await onA1("del");
  await cluster.way("a1", "b1", "vxlan");
  assert.deepEqual(await traffic.stop(), []);
  const filter = await a1.exec(["cat", "/proc/sys/net/ipv4/conf/flannel.1/rp_filter", "/proc/sys/net/ipv4/conf/eth0/rp_filter"]);
  assert.equal(filter, "2\n2\n");
});

labTest("a node that moves to the other segment is reached directly there, and nothing is lost", async () => {
  await using cluster = await Cluster.create({ ipv6: true }, DIRECTROUTING);
  const [a1, b1] = [cluster.on("a1"), cluster.on("b1")];
  const pairs = [["a1", "b1"], ["b1", "a2"]] as const;
  await attach(cluster, "b1", "A", "192.168.10.77/24", "fd10::77/64");
  await using traffic = await cluster.traffic(pairs);
  // Make before break: the new address is there and the default route moves; the old address goes when nobody sends to it any more.
  await b1.node.ip("route replace default via 192.168.10.254 dev eth1", "route replace default via fd10::254 dev eth1");
  for (const [one, other] of pairs) {
    await cluster.way(one, other, "direct");
    await cluster.way(other, one, "direct");
  }
  const [peer] = (await a1.agent.peers()).filter(({ subnet }) => subnet === subnetOf(b1));
  assert.deepEqual([peer!.publicIP, peer!.publicIPv6], ["192.168.10.77", "fd10::77"]);
  await b1.node.ip("addr flush dev eth0");
  assert.deepEqual(await traffic.stop(), []);
});

/** Gives a node a second device on a segment. */
async function attach({ lab }: Cluster, name: string, segment: string, ...addresses: readonly string[]): Promise<void> {
  const node = lab.node(name);
  await lab.router.ip(
    `link add ${name}-eth1 type veth peer name eth1 netns ${node.namespace}`,
    `link set ${name}-eth1 master br${segment} up`,
  );
  await node.ip(
    "link set eth1 up",
    ...addresses.map((address) => `addr add ${address} dev eth1${address.includes(":") ? " nodad" : ""}`),
  );
}
