/**
 * The traffic rules seen from outside: which source addresses arrive while rules are applied, changed and switched.
 *
 * ```
 *   pod 10.244.1.2 ── 10.244.1.1 node 192.0.2.1 ── 192.0.2.2 server, also 10.244.2.2 (a pod elsewhere)
 * ```
 *
 * Every datagram is a connection of its own, since the kernel asks the rules only about a connection's first packet.
 *
 * @module
 */

import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { intentOf, type TrafficSettings } from "../../src/traffic/rules.ts";
import { insideLab } from "./enter.ts";
import { runtimeCommand } from "./paths.ts";
import { IPTABLES, keep, Machine, NFTABLES, RANGES, shell, VARIANTS } from "./traffic_machine.ts";

const IPV4 = RANGES[4];
const POD = "10.244.1.2";
const NODE = "192.0.2.1";
const SERVER = "192.0.2.2";
const POD_ELSEWHERE = "10.244.2.2";
/** The program of senders and of the server. */
const DATAGRAMS = resolve(import.meta.dirname!, "datagrams.ts");

/** Three machines in a row, and how often which address was seen at the far end. */
interface Path extends AsyncDisposable {
  readonly pod: Machine;
  readonly node: Machine;
  /** Datagrams that arrived, by source address. */
  readonly seen: Map<string, number>;
  /** Sends datagrams from a machine, each from a port of its own, and gives the source addresses that arrive. */
  send(from: Machine, count: number, to: string, source?: string): Promise<string[]>;
}

async function makePath(): Promise<Path> {
  const stack = new AsyncDisposableStack();
  const [pod, node, server] = [
    stack.use(await Machine.make()),
    stack.use(await Machine.make()),
    stack.use(await Machine.make()),
  ];
  await shell(`
    ip link add p0 netns ${node.name} type veth peer name eth0 netns ${pod.name}
    ip link add eth0 netns ${node.name} type veth peer name eth0 netns ${server.name}`);
  await node.sh(`
    ip addr add 10.244.1.1/24 dev p0; ip addr add ${NODE}/24 dev eth0; ip addr add 198.51.100.1/32 dev lo
    ip link set p0 up; ip link set eth0 up; ip route add 10.244.0.0/16 via ${SERVER}
    echo 1 > /proc/sys/net/ipv4/ip_forward`);
  await pod.sh(`ip addr add ${POD}/24 dev eth0; ip link set eth0 up; ip route add default via 10.244.1.1`);
  // It has a way back to every address, so that a datagram that was not masqueraded is seen, not lost.
  await server.sh(`
    ip addr add ${SERVER}/24 dev eth0; ip addr add ${POD_ELSEWHERE}/32 dev lo; ip link set eth0 up; ip route add default via ${NODE}`);
  const seen = new Map<string, number>();
  let listening = false;
  server.start([...runtimeCommand(), DATAGRAMS, "listen"], (line) => {
    if (line === "listening") listening = true;
    else seen.set(line, (seen.get(line) ?? 0) + 1);
  });
  for (let i = 0; !listening && i < 500; i++) await sleep(20);
  assert.ok(listening);
  const send = async (from: Machine, count: number, to: string, source = "0.0.0.0") => {
    seen.clear();
    await sendFrom(from, count, to, source);
    return [...seen.keys()].sort();
  };
  return { pod, node, seen, send, [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

/** Sends datagrams and gives them time to arrive. */
async function sendFrom(from: Machine, count: number, to: string, source: string): Promise<void> {
  const argv = [...runtimeCommand(), DATAGRAMS, "send", String(count), to, source];
  const result = await from.run(argv, "");
  assert.equal(result?.status, 0, result?.stderr);
  await sleep(100);
}

function lab(name: string, body: (path: Path) => Promise<void>): void {
  test(name, { skip: insideLab() ? false : "needs the lab: run it by test/lab/run.ts" }, async () => {
    await using path = await makePath();
    await body(path);
  });
}

/** Sends at least `count` datagrams from the pod while something is done at least `rounds` times; all must arrive from the node. */
async function whileSending(path: Path, count: number, rounds: number, action: (round: number) => Promise<void>): Promise<void> {
  const { pod, seen } = path;
  let [sent, done, sending] = [0, 0, true];
  const sender = (async () => {
    for (; sent < count || (done < rounds && sent < 20 * count); sent += count / 4) {
      await sendFrom(pod, count / 4, SERVER, "0.0.0.0");
    }
  })().finally(() => sending = false);
  for (; sending; done++) await action(done);
  await sender;
  console.log(`# ${done} rounds, ${sent} sent, arrived: ${JSON.stringify(Object.fromEntries(seen))}`);
  assert.deepEqual([...seen], [[NODE, sent]]);
  assert.ok(done >= rounds, `${done} rounds`);
}

/** Settings for each way of holding the rules, with a script that makes the agent choose it. */
const WAYS: readonly (readonly [string, TrafficSettings, string])[] = [
  ["nftables", NFTABLES, "true"],
  ...VARIANTS.map((variant) => [`iptables-${variant}`, IPTABLES, `iptables-${variant} -t nat -N KUBE-POSTROUTING`] as const),
];

for (const [name, settings, prepare] of WAYS) {
  lab(`${name}: pods are masqueraded to the outside only, nodes also to pods elsewhere, and marked packets never`, async (path) => {
    const { pod, node, send } = path;
    await node.sh(prepare);
    assert.deepEqual(await send(pod, 5, SERVER), [POD], "without rules nothing is masqueraded");
    await keep(node.manager(), intentOf(settings, [IPV4]));
    assert.deepEqual(await send(pod, 5, SERVER), [NODE]);
    assert.deepEqual(await send(pod, 5, POD_ELSEWHERE), [POD]);
    assert.deepEqual(await send(node, 5, POD_ELSEWHERE, "198.51.100.1"), [NODE]);
    assert.deepEqual(await send(node, 5, SERVER, "198.51.100.1"), ["198.51.100.1"], "not a pod's affair");
    await node.sh(`nft -f - <<END
add table ip marks
add chain ip marks forward { type filter hook forward priority -150; }
add rule ip marks forward meta mark set 0x4001
END`);
    assert.deepEqual(await send(pod, 5, SERVER), [POD], "kube-proxy's bit among others");
  });

  lab(`${name}: no packet leaves with a pod's address while the rules are applied again and again`, async (path) => {
    await path.node.sh(prepare);
    const manager = path.node.manager();
    await keep(manager, intentOf(settings, [IPV4]));
    // Another setting each time: the chains are flushed and refilled.
    await whileSending(path, 4000, 20, (round) => keep(manager, intentOf({ ...settings, fullyRandom: round % 2 === 0 }, [IPV4])));
  });
}

lab("no packet leaves with a pod's address while the mode is switched, from flannel v0.11's rules on", async (path) => {
  const [N, S] = [IPV4.network, IPV4.subnet];
  await path.node.sh(`
    iptables-legacy -t nat -A POSTROUTING -s ${N} -d ${N} -j RETURN
    iptables-legacy -t nat -A POSTROUTING -s ${N} ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
    iptables-legacy -t nat -A POSTROUTING ! -s ${N} -d ${S} -j RETURN
    iptables-legacy -t nat -A POSTROUTING ! -s ${N} -d ${N} -j MASQUERADE --random-fully
    iptables-nft -t nat -N KUBE-POSTROUTING`);
  const manager = path.node.manager();
  await whileSending(path, 3000, 10, (round) => keep(manager, intentOf(round % 2 === 0 ? IPTABLES : NFTABLES, [IPV4])));
});
