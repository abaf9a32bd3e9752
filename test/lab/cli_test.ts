/**
 * The executable as an operator and systemd use it: what it prints, what it serves, when it refuses, and what it leaves alone.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { Answer } from "./agent.ts";
import { labTest, lacks } from "./case.ts";
import { Cli, complaints, filesIn } from "./cli.ts";
import { Cluster, subnetOf } from "./cluster.ts";
import { until } from "./command.ts";
import { Lab } from "./lab.ts";
import { denoCommand, runtimeCommand } from "./paths.ts";

const HTTP_GET = resolve(import.meta.dirname!, "http_get.ts");
const NOTIFY_SOCKET = resolve(import.meta.dirname!, "notify_socket.ts");
const noIptables = await lacks(["iptables", "-t", "nat", "-S"]);
/** How long an agent may take to get ready, in milliseconds. */
const READY = 30_000;

/** The fields of `/v1/status` in the contract, with an example of each value's type; `null` is allowed where the example is. */
const STATUS = {
  version: "",
  node: "",
  ready: true,
  reason: null,
  backend: "",
  network: { ipv4: "", ipv6: null },
  store: { kind: "", connected: true, lastError: null },
  lease: { subnet: "", ipv6Subnet: null, publicIP: "", publicIPv6: null, expiresAt: "" },
  link: { name: "", address: "", mtu: 0 },
  mtu: 0,
  peers: { total: 0, direct: 0, vxlan: 0, pending: 0, rejected: 0 },
  kernel: { items: 0, pending: 0, repairs: 0, lastSync: "" },
};
const PEER = {
  subnet: "",
  ipv6Subnet: null,
  publicIP: "",
  publicIPv6: null,
  backendType: "",
  path: "",
  state: "",
  reason: null,
};

/** Paths of all fields with the types of their values. */
function typesOf(value: unknown, path = ""): string[] {
  if (value === null || typeof value !== "object") return [`${path}: ${value === null ? null : typeof value}`];
  return Object.entries(value).flatMap(([name, member]) => typesOf(member, path === "" ? name : `${path}.${name}`));
}

function assertContract(value: unknown, contract: object): void {
  const types = typesOf(value);
  assert.deepEqual(typesOf(contract).filter((type) => !types.includes(type)), [], `missing in ${JSON.stringify(value)}`);
}

labTest("status and peers tell of a cluster, as text and as the contract's JSON", async () => {
  await using cluster = await Cluster.create({}, { backend: "directrouting" });
  const { lab, members: [a1] } = cluster;
  const cli = new Cli(lab, a1!.node);
  const where = cli.flags.find((flag) => flag.startsWith("--status-listen"))!;
  const status = JSON.parse(await cli.said("status", "--json", where));
  assertContract(status, STATUS);
  assert.deepEqual(
    { node: status.node, ready: status.ready, backend: status.backend, subnet: status.lease.subnet, store: status.store.kind },
    { node: "a1", ready: true, backend: "directrouting", subnet: subnetOf(a1!), store: "embedded" },
  );
  const { total, direct, vxlan, pending, rejected } = status.peers;
  assert.deepEqual({ total, direct, vxlan, pending, rejected }, { total: 2, direct: 1, vxlan: 1, pending: 0, rejected: 0 });
  const peers = JSON.parse(await cli.said("peers", where, "--json"));
  for (const peer of peers) assertContract(peer, PEER);
  assert.deepEqual(peers.map(({ publicIP, path, state }: Record<string, unknown>) => `${publicIP} ${path} ${state}`).sort(), [
    "192.168.10.2 direct in-sync",
    "192.168.20.1 vxlan in-sync",
  ]);
  const text = await cli.said("status", where);
  assert.match(text, /^Node a1 \(Weft \d+\.\d+\.\d+\) is ready\n/);
  for (const part of ["directrouting", subnetOf(a1!), "192.168.10.1", "2: 1 direct, 1 vxlan"]) assert.ok(text.includes(part), text);
  const table = (await cli.said("peers", where)).trimEnd().split("\n");
  assert.match(table[0]!, /^SUBNET +PUBLIC IP +TYPE +PATH +STATE +REASON/);
  assert.match(
    table.find((line) => line.startsWith(subnetOf(cluster.on("b1"))))!,
    /192\.168\.20\.1 +vxlan +vxlan +in-sync/,
  );
  assert.equal(table.length, 3);
  assert.equal(await cli.said("version"), `agent ${status.version}\n`);
  assert.deepEqual(JSON.parse(await cli.said("version", "--json")), { version: status.version });
});

labTest("an agent that has no lease yet says so, is healthy, and gets ready once it has one", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1", "a2"] } });
  const [a1, a2] = [lab.node("a1"), lab.node("a2")];
  const other = a2.agent();
  await other.ready(READY);
  using database = new DatabaseSync(lab.leaseDb);
  database.exec("BEGIN IMMEDIATE"); // nobody else can write, so nobody gets a lease
  const agent = a1.agent();
  await agent.until("serves its status", async () => (await agent.get("/healthz")).code === 200, READY);
  assert.deepEqual(await agent.get("/healthz"), { code: 200, body: "flanneld is running" });
  const { code, body } = await agent.get("/readyz");
  assert.equal(code, 503);
  assert.match(body, /^flanneld is not ready yet\n.*lease/);
  const status = await agent.status();
  assert.deepEqual({ ready: status.ready, subnet: status.lease.subnet, expires: status.lease.expiresAt }, {
    ready: false,
    subnet: null,
    expires: null,
  });
  assert.match(status.reason!, /lease/);
  const cli = new Cli(lab, a1);
  assert.match(await cli.said("status", cli.flags[2]!), /^Node a1 \(Weft [\d.]+\) is not ready: .*lease/);
  assert.ok(!existsSync(a1.subnetFile));
  database.exec("ROLLBACK");
  await agent.ready(READY);
  assert.deepEqual(await agent.get("/readyz"), { code: 200, body: "flanneld is ready" });
  assert.equal(await agent.stop(), 0);
});

labTest("a second agent goes on without a status API if the default port is taken, and ends if its subnet.env is", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  const node = lab.node("a1");
  const cli = new Cli(lab, node);
  const agent = node.agent({ status: "port" });
  await agent.ready(READY);
  const get = async (port: number, path: string) =>
    await node.json([...runtimeCommand(), HTTP_GET, `http://127.0.0.1:${port}${path}`]) as Answer;
  assert.equal((await agent.get("/v1/peers")).body, "[]");

  const files = filesIn(lab.dir).filter((line) => !line.includes(".log "));
  const { code, stdout, stderr } = await cli.run(cli.flags);
  assert.deepEqual({ code, stdout, lines: complaints(stderr).length }, { code: 1, stdout: "", lines: 1 }, stderr);
  assert.match(stderr, /^agent: Another agent runs in this network namespace and writes "/);
  assert.ok(stderr.includes(node.subnetFile), stderr);
  assert.deepEqual(filesIn(lab.dir).filter((line) => !line.includes(".log ")), files);

  const own = ["--subnet-file", "--status-listen"];
  const flags = cli.flags.filter((flag) => !own.includes(flag.split("=")[0]!));
  const subnetFile = join(lab.dir, "second.env");
  const health = ["--healthz-ip=127.0.0.1", "--healthz-port=8474"];
  const second = node.agent({ store: "none", status: "port", args: [...flags, `--subnet-file=${subnetFile}`, ...health] });
  await until("the second agent is ready", async () => (await get(8474, "/readyz")).code === 200, {
    timeout: READY,
    state: () => second.tail(),
  });
  const warned = complaints(second.log()).filter((line) => line.includes("8473"));
  assert.equal(warned.length, 1, second.log());
  assert.match(warned[0]!, / warning .*127\.0\.0\.1:8473: another process listens there; .*; the status API is off$/);
  assert.equal((await get(8474, "/healthz")).body, "flanneld is running");
  assert.equal((await get(8474, "/v1/status")).code, 404);
  assert.ok(existsSync(subnetFile));
  assert.equal(await second.stop(), 0);
  assert.equal((await agent.get("/readyz")).code, 200);
});

labTest("plan changes nothing: not on a node without a lease, not on a settled one, and it names what is missing", async () => {
  await using cluster = await Cluster.create({ segments: { A: ["a1"], B: ["b1"] } }, { backend: "directrouting" });
  const { lab } = cluster;
  const [a1, b1] = [cluster.on("a1"), cluster.on("b1")];
  const cli = new Cli(lab, a1.node);
  const plan = [...cli.flags.filter((flag) => !flag.startsWith("--status-listen")), "--backend=directrouting"];
  assert.equal(await cli.said("plan", ...plan), "Nothing to change: the kernel holds what is planned.\n");
  await a1.agent.stop();
  const look = async () => [filesIn(lab.dir), await cli.kernel()];
  const before = await look();
  assert.equal(await cli.said("plan", ...plan), "Nothing to change: the kernel holds what is planned.\n");
  assert.deepEqual(JSON.parse(await cli.said("plan", "--json", ...plan)), []);
  assert.deepEqual(await look(), before);

  const subnet = subnetOf(b1);
  await a1.node.ip(`route del ${subnet}`);
  const damaged = await look();
  assert.match(await cli.said("plan", ...plan), new RegExp(`^add +route ${subnet.replaceAll(".", "\\.")} .*\\n$`));
  const [change, ...more] = JSON.parse(await cli.said("plan", "--json", ...plan));
  assert.deepEqual([change.op, change.item.kind, more], ["put", "route", []]);
  assert.deepEqual(await look(), damaged);

  const fresh = (name: string, database: string) => [
    "plan",
    `--node-name=${name}`,
    `--subnet-file=${lab.dir}/fresh.env`,
    `--lease-db=${database}`,
    `--net-config-path=${lab.dir}/net-conf.json`,
  ];
  for (const database of [lab.leaseDb, `${lab.dir}/none/leases.db`]) {
    const router = await lab.router.attempt([...cli.command, ...fresh("router", database), "--iface=brA"]);
    assert.deepEqual({ code: router.code, stdout: router.stdout }, { code: 1, stdout: "" }, router.stderr);
    assert.match(router.stderr, database === lab.leaseDb ? /^agent: This node has no lease yet/ : /leases\.db": it does not exist/);
  }
  assert.deepEqual(await look(), damaged);
  assert.equal(await lab.router.exec(["ip", "-o", "link", "show", "type", "vxlan"]), "");
});

/** What others have on a node, some of it much like ours. */
const FOREIGN = [
  "route add 10.99.0.0/24 via 192.168.10.254",
  "route add 10.244.250.0/24 via 192.168.10.254 proto static",
  "link add vxlan77 type vxlan id 77 dstport 4789 dev eth0",
  "addr add 10.77.0.1/24 dev vxlan77",
  "link set vxlan77 up",
  "neigh add 10.77.0.2 lladdr 02:00:00:00:00:77 dev vxlan77 nud permanent",
  "link add flannel.9 type vxlan id 9 dstport 8479 dev eth0 nolearning",
  "addr add 10.50.1.0/32 dev flannel.9",
  "link set flannel.9 up",
  "route add 10.50.2.0/24 via 10.50.2.0 dev flannel.9 onlink",
  "nexthop add id 5 via 192.168.10.254 dev eth0",
];

labTest("cleanup removes all that is ours and nothing else, shows it first, and refuses while an agent runs", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"], B: ["b1"] } });
  const node = lab.node("a1");
  await node.ip(...FOREIGN);
  for (const chain of [["nat", "POSTROUTING"], ["filter", "FORWARD"]]) {
    await node.exec(["iptables", "-t", chain[0]!, "-A", chain[1]!, "-s", "10.1.0.0/16", "-j", "RETURN"]);
  }
  const cli = new Cli(lab, node);
  const before = await cli.kernel();
  const options = { args: ["--ip-masq", "--iptables-forward-rules=true"], backend: "directrouting" };
  const [agent, other] = [node.agent(options), lab.node("b1").agent(options)];
  for (const each of [agent, other]) await each.inSync(1, READY);
  await agent.ready(READY);
  const cleanup = ["cleanup", `--subnet-file=${node.subnetFile}`];

  const running = await cli.kernel();
  for (const args of [cleanup, [...cleanup, "--dry-run"]]) {
    const { code, stdout, stderr } = await cli.run(args);
    assert.deepEqual({ code, stdout }, { code: 1, stdout: "" });
    assert.match(stderr, /^agent: An agent runs with ".*subnet\.env": stop it before cleaning up after it\n$/);
  }
  assert.equal(await cli.kernel(), running);
  await agent.stop();

  const shown = await cli.said(...cleanup, "--dry-run");
  const listed = JSON.parse(await cli.said(...cleanup, "--dry-run", "--json"));
  assert.equal(await cli.kernel(), running);
  assert.equal(listed.length, shown.trimEnd().split("\n").length);
  const { FLANNEL_SUBNET: subnet } = lab.node("b1").subnetEnv();
  for (const part of ["flannel.1", subnet!.replace(".1/", ".0/"), "table nat", "table filter"]) {
    assert.ok(shown.includes(part), shown);
  }
  for (const part of ["10.99.", "10.244.250.", "vxlan77", "flannel.9", "10.50."]) assert.ok(!shown.includes(part), shown);

  assert.equal(await cli.said(...cleanup), shown.replaceAll("would remove", "removes"));
  assert.deepEqual((await cli.kernel()).split("\n"), before.split("\n"));
  assert.equal(await cli.said(...cleanup), "Nothing to remove.\n");
}, noIptables);

labTest("an agent tells systemd when it is ready, that it lives, and that it stops", async () => {
  await using lab = await Lab.create({ segments: { A: ["a1"] } });
  const node = lab.node("a1");
  const path = join(lab.dir, "notify.sock");
  const systemd = node.spawn([...denoCommand(), "--unstable-net", NOTIFY_SOCKET, path], { log: "systemd" });
  const told = () => systemd.text().split("\n").filter((line) => line.startsWith('"')).map((line) => JSON.parse(line) as string);
  const hears = (what: string) =>
    until(`systemd hears ${what}`, () => told().some((text) => text.split("\n").includes(what)), {
      timeout: READY,
      state: () => systemd.tail(),
    });
  await hears("listening");
  const agent = node.agent({ env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: "3000000" } });
  await hears("READY=1");
  await hears("WATCHDOG=1");
  assert.equal((await agent.get("/readyz")).code, 200);
  assert.ok(told().some((text) => /(^|\n)STATUS=ready$/.test(text)), systemd.text());
  assert.ok(!told().includes("STOPPING=1"));
  assert.equal(await agent.stop(), 0);
  await hears("STOPPING=1");
});
