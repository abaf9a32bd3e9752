/**
 * The lab itself: that it is apart from the machine, carries packets as a real network does, tells what was lost, and leaves nothing.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { labTest, lacks } from "./case.ts";
import { attempt, Daemon, run, until } from "./command.ts";
import { Lab } from "./lab.ts";
import type { Node } from "./node.ts";
import { runtimeCommand } from "./paths.ts";
import { parsePing } from "./ping.ts";

const RUN = resolve(import.meta.dirname!, "run.ts");
const noVxlan = await lacks(["ip", "link", "add", "type", "vxlan", "id", "1", "dstport", "4789"]);
const noUsers = await lacks(["unshare", "--user", "--map-root-user", "true"]);

labTest("a lab has nothing of the machine's network", async () => {
  await using lab = await Lab.create();
  const names = (links: { ifname: string }[]) => links.map((link) => link.ifname).sort();
  assert.deepEqual(names(JSON.parse(await run(["ip", "-j", "link"]))), ["lo"]);
  assert.deepEqual(names(await lab.node("a1").json(["ip", "-j", "link"])), ["eth0", "lo"]);
  assert.deepEqual(names(await lab.router.json(["ip", "-j", "link"])), ["brA", "brB", "lo", "to-a1", "to-a2", "to-b1"]);
});

labTest("nodes reach each other through the router in both families", async () => {
  await using lab = await Lab.create({ ipv6: true });
  for (const from of lab.nodes) {
    for (const to of lab.nodes) {
      for (const family of [4, 6] as const) {
        const { sent, lost } = await from.ping(to.addressOf(family), { count: 2 });
        assert.deepEqual([from.name, to.name, family, sent, lost], [from.name, to.name, family, 2, 0]);
      }
    }
  }
  const hops = await lab.node("a1").exec(["ping", "-c", "1", "-n", lab.node("b1").address]);
  assert.match(hops, /ttl=63/);
});

labTest("segments, MTU and filtering by reverse path are as asked for", async () => {
  await using lab = await Lab.create({ segments: { X: ["x1"], Y: ["y1"], Z: ["z1"] }, mtu: 1400, rpFilter: 1 });
  const z1 = lab.node("z1");
  assert.equal(z1.address, "192.168.30.1");
  assert.equal((await z1.exec(["cat", "/proc/sys/net/ipv4/conf/eth0/rp_filter"])).trim(), "1");
  const ping = async (size: number) => (await lab.node("x1").ping(z1.address, { count: 1, size, wholeOnly: true })).lost;
  assert.deepEqual([await ping(1400 - 28), await ping(1400 - 27)], [0, 1]);
  assert.throws(() => z1.address6, /z1 has no IPv6 address/);
  assert.throws(() => lab.node("z2"), /no node "z2", only x1, y1, z1/);
});

/** What an agent with the vxlan backend would do on a node for one peer, by hand. */
async function reach(node: Node, peer: Node): Promise<void> {
  const [number, mac] = [numberOf(peer), macOf(peer)];
  await run(["bridge", "-n", node.namespace, "fdb", "append", mac, "dev", "flannel.1", "dst", peer.address]);
  await node.ip(
    `neigh add 10.244.${number}.0 lladdr ${mac} dev flannel.1 nud permanent`,
    `route add 10.244.${number}.0/24 via 10.244.${number}.0 dev flannel.1 onlink`,
    `neigh add fe80::${number} lladdr ${mac} dev flannel.1 nud permanent`,
    `route add fd00:10:244:${number}::/64 via fe80::${number} dev flannel.1 onlink`,
  );
}

function numberOf(node: Node): number {
  return ["a1", "a2", "b1"].indexOf(node.name) + 1;
}

function macOf(node: Node): string {
  return `0a:00:00:00:00:0${numberOf(node)}`;
}

labTest("pods reach each other over a vxlan device made by hand", async () => {
  await using lab = await Lab.create({ ipv6: true });
  for (const node of lab.nodes) {
    const number = numberOf(node);
    node.writeSubnetEnv({
      FLANNEL_SUBNET: `10.244.${number}.1/24`,
      FLANNEL_IPV6_SUBNET: `fd00:10:244:${number}::1/64`,
      FLANNEL_MTU: "1430",
    });
    await node.ip(
      `link add flannel.1 address ${macOf(node)} mtu 1430 type vxlan id 1 local ${node.address} dstport 8472 nolearning`,
      "link set flannel.1 up",
      `addr add 10.244.${number}.0/32 dev flannel.1`,
    );
    await node.addPod();
  }
  for (const node of lab.nodes) {
    for (const peer of lab.nodes) if (peer !== node) await reach(node, peer);
  }
  const [a1, b1] = [lab.node("a1").pods[0]!, lab.node("b1").pods[0]!];
  assert.equal(a1.address, "10.244.1.2");
  assert.equal(a1.address6, "fd00:10:244:1::2");
  for (const to of [b1.address, b1.address6]) {
    const overhead = to.includes(":") ? 48 : 28;
    assert.equal((await a1.ping(to)).lost, 0);
    assert.equal((await a1.ping(to, { count: 1, size: 1430 - overhead, wholeOnly: true })).lost, 0);
  }
  const [device] = await lab.node("a1").json(["ip", "-j", "-s", "link", "show", "flannel.1"]);
  assert.ok(device.stats64.tx.packets >= 8, "the packets went over the vxlan device");
  await lab.node("a1").ip("link del flannel.1");
  assert.equal((await a1.ping(b1.address)).received, 0);
}, noVxlan);

labTest("a pulled cable is seen as a hole in the pings and a stall of the connection", async () => {
  await using lab = await Lab.create();
  const [a1, b1] = [lab.node("a1"), lab.node("b1")];
  await using monitor = await a1.monitor("route");
  await using pinger = await a1.pinger(b1.address);
  await using flow = await a1.connect(b1);
  await lab.router.ip(`link set ${b1.port} down`);
  await a1.ip("route add 198.51.100.0/24 via 192.168.10.2");
  await sleep(1000); // a busy machine may keep ping waiting for a third of it
  await lab.router.ip(`link set ${b1.port} up`);
  const before = pinger.received();
  await until("pings come back", () => pinger.received() > before + 20);
  const pings = await pinger.stop();
  const { sent, answered, longestMs, error } = await flow.stop();
  assert.ok(pings.holes.length >= 1 && pings.lost >= 1 && pings.lost === pings.sent - pings.received, JSON.stringify(pings));
  assert.deepEqual([error, answered], [null, sent]);
  assert.ok(longestMs >= 900, `the connection stalled for ${longestMs} ms`);
  assert.match(monitor.text(), /198\.51\.100\.0\/24 via 192\.168\.10\.2/);
});

labTest("a quiet network loses nothing, and a connection that the other end gives up is told", async () => {
  await using lab = await Lab.create({ ipv6: true });
  const [a1, a2] = [lab.node("a1"), lab.node("a2")];
  await using pinger = await a1.pinger(a2.address6);
  await using flow = await a1.connect(a2, { family: 6 });
  await using ended = await a1.connect(a2);
  await until("40 pings are answered", () => pinger.received() >= 40);
  const { lost, sent } = await pinger.stop();
  assert.equal(lost, 0);
  assert.ok(sent >= 40);
  assert.equal((await flow.stop()).error, null);
  await a2.killAll();
  await sleep(100);
  assert.match((await ended.stop()).error ?? "", /closed|ECONNRESET/);
});

labTest("labs stand side by side, and one that ends takes its namespaces, programs and files with it", async () => {
  await using first = await Lab.create();
  const second = await Lab.create();
  const [dir, sleeper] = [second.dir, second.node("a1").spawn(["sleep", "60"])];
  assert.equal((await second.node("a1").ping(second.node("b1").address)).lost, 0);
  await second[Symbol.asyncDispose]();
  assert.equal(await sleeper.exited, 128 + 9);
  assert.equal(existsSync(dir), false);
  const left = readdirSync("/run/netns").sort();
  assert.deepEqual(left, [first.router, ...first.nodes].map((host) => host.namespace).sort());
  assert.equal((await first.node("a1").ping(first.node("b1").address)).lost, 0);
});

labTest("an agent that ends is reported with its exit code and its log", async () => {
  await using lab = await Lab.create();
  const agent = lab.node("a1").agent({
    command: ["sh", "-c", 'echo "got $*" >&2; exit 3', "agent"],
    backend: "vxlan",
    args: ["-v=2"],
  });
  const flags =
    "--node-name=a1 .*--subnet-file=/run/lab/.*/a1/subnet.env .*--lease-db=.* --net-config-path=.* --backend=vxlan -v=2";
  await assert.rejects(agent.ready(), new RegExp(`The agent on a1 ended with exit code 3.*\n.*got ${flags}`));
});

labTest("programs that fail or hang are named with what they said", async () => {
  await using lab = await Lab.create();
  const a1 = lab.node("a1");
  await assert.rejects(a1.exec(["ip", "route", "add", "192.0.2.0/24", "via", "203.0.113.1"]), /Nexthop has invalid gateway/);
  await assert.rejects(a1.exec(["sh", "-c", "echo waiting; sleep 60"], { timeout: 300 }), /not ended after \d+ ms\nwaiting/);
  const deaf = a1.spawn(["sh", "-c", "trap '' TERM; echo deaf; sleep 60 & wait; wait"]);
  await until("it is deaf", () => deaf.text().includes("deaf"));
  await assert.rejects(deaf.stop("SIGTERM", 200), /sh on a1 did not end within \d+ ms after SIGTERM. It said last:\ndeaf/);
  await assert.rejects(
    until("water burns", () => Promise.reject(new Error("still wet")), { timeout: 50, state: () => "cold" }),
    /Not within \d+ ms: water burns\nstill wet\ncold/,
  );
});

labTest("nothing is left when the process that started a lab is killed, or that one's own parent", async () => {
  await using files = await scratch();
  const script = await files.write(
    "left.ts",
    `import { Lab } from ${JSON.stringify(resolve(import.meta.dirname!, "lab.ts"))};
     await using lab = await Lab.create();
     lab.node("a1").spawn(["sh", "-c", "sleep 60; true ${files.dir}"]);
     console.log("up");
     await new Promise((done) => setTimeout(done, 60_000));`,
  );
  const enter = [...runtimeCommand(), RUN, script];
  for (const [name, argv] of Object.entries({ itself: enter, parent: ["sh", "-c", '"$@"; true', "sh", ...enter] })) {
    await using daemon = new Daemon(name, argv, join(files.dir, `${name}.log`));
    await until("the inner lab is up", () => daemon.text().includes("up"), { state: () => daemon.tail() });
    assert.ok(running(files.dir) >= 3, "the outer process, the inner one and what that started");
    await daemon.stop("SIGKILL");
    await until(`all is gone after the end of ${name}`, () => running(files.dir) === 0, { timeout: 3000 });
  }
});

labTest("where namespaces are forbidden, the setting is named and the exit code is 1", async () => {
  const forbid = 'echo 0 >/proc/sys/user/max_net_namespaces && exec "$@"';
  const { code, stderr } = await attempt(
    ["unshare", "--user", "--map-root-user", "sh", "-c", forbid, "sh", ...runtimeCommand(), RUN, "nothing.ts"],
  );
  assert.equal(code, 1);
  assert.match(stderr, /Cannot make private namespaces[^]*sudo sysctl -w user.max_net_namespaces=15000/);
}, noUsers);

labTest("the exit code is the program's, and the first that failed of several test files'", async () => {
  await using files = await scratch();
  const enter = async (...args: string[]) => (await attempt([...runtimeCommand(), RUN, ...args])).code;
  const [seven, zero] = [await files.write("seven.ts", "process.exit(7)"), await files.write("zero.ts", "process.exit(0)")];
  const bad = await files.write("bad_test.ts", 'import { test } from "node:test"; test("bad", () => { throw new Error("bad"); });');
  const good = await files.write("good_test.ts", 'import { test } from "node:test"; test("good", () => {});');
  assert.deepEqual([await enter(seven), await enter(zero)], [7, 0]);
  assert.deepEqual([await enter(good), await enter(bad, good), await enter(good, zero)], [0, 1, 1]);
});

labTest("packets sent before the count count, whenever their answers come", () => {
  const line = (seq: number) => `64 bytes from 10.0.0.1: icmp_seq=${seq} ttl=64 time=0.5 ms\n`;
  const asked = (answered: number, sent: number) =>
    `\r${answered}/${sent} packets, 0% loss, min/avg/ewma/max = 0.5/0.5/0.5/0.5 ms\n`;
  const end = (sent: number) => `\n${sent} packets transmitted, 0 received\n`;
  const counts = (...parts: string[]) => {
    const { sent, received, lost } = parsePing(parts.join(""));
    return [sent, received, lost];
  };
  assert.deepEqual(counts(line(1), line(2), end(3)), [3, 2, 1]);
  assert.deepEqual(counts(line(1), asked(1, 3), line(2), line(3), line(4), end(5)), [3, 3, 0]);
  assert.deepEqual(counts(line(1), asked(1, 3), line(3), line(4), end(5)), [3, 2, 1]);
  assert.deepEqual(parsePing([1, 4].map(line).join("") + end(6)).holes, [{ first: 2, last: 3 }, { first: 5, last: 6 }]);
  assert.throws(() => parsePing("ping: connect: Network is unreachable"), /no summary:\nping: connect/);
});

/** A folder for files that a lab inside this one shall see too, which `/run` is not. */
async function scratch() {
  const dir = await mkdtemp("/tmp/weft-lab-");
  const write = async (name: string, text: string) => {
    await writeFile(join(dir, name), text);
    return join(dir, name);
  };
  return { dir, write, [Symbol.asyncDispose]: () => rm(dir, { recursive: true }) };
}

/** How many processes have a text in their command line. */
function running(text: string): number {
  return readdirSync("/proc").filter((pid) => /^\d+$/.test(pid) && commandLine(pid).includes(text)).length;
}

function commandLine(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it ended meanwhile
  }
}
