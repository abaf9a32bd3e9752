/**
 * Bad input: one clear line that names flag or file, value and what is expected, the exit code of its kind, and nothing is changed.
 *
 * Every call is made on a node whose agent has run and was stopped, so there is something to lose: a lease, subnet.env and a kernel
 * full of its items.
 *
 * @module
 */

import assert from "node:assert/strict";
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { dirname, join, resolve } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { labTest, lacks } from "./case.ts";
import { Cli, complaints, filesIn } from "./cli.ts";
import { run, until } from "./command.ts";
import { Lab } from "./lab.ts";
import { runtimeCommand } from "./paths.ts";

const TCP_PEER = resolve(import.meta.dirname!, "tcp_peer.ts");
/** The node's agent masquerades, so that the firewall too is something to leave alone. */
const noIptables = await lacks(["iptables", "-t", "nat", "-S"]);

/** A call. */
interface Call {
  /** Arguments behind the node's own flags; alone if the first is a subcommand without them. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What the message must contain. */
  readonly says: readonly string[];
}

/** Wrong usage: exit code 2. */
const USAGE: readonly Call[] = [
  { args: ["--bakend=vxlan"], says: ["--bakend", "--backend"] },
  { args: ["--backend=vxlam"], says: ["--backend", "vxlam", "vxlan, host-gw, directrouting"] },
  { args: ["--backend=a b"], says: ["--backend", "a b", "name of a backend"] },
  { args: ["--public-ip=1.2.3"], says: ["--public-ip", "1.2.3", "IPv4 address"] },
  { args: ["--public-ip=127.0.0.1"], says: ["--public-ip", "127.0.0.1", "other nodes can send to"] },
  { args: ["--public-ipv6=10.0.0.1"], says: ["--public-ipv6", "10.0.0.1", "IPv6 address"] },
  { args: ["--iface=a/b"], says: ["--iface", "a/b", "name of a network device"] },
  { args: ["--iface-regex=("], says: ["--iface-regex", '"("', "regular expression"] },
  { args: ["--iface-can-reach=gateway"], says: ["--iface-can-reach", "gateway", "IP address"] },
  { args: ["--status-listen=foo"], says: ["--status-listen", "foo", "ip:port", "unix:/path", "off"] },
  { args: ["--healthz-port=99999"], says: ["--healthz-port", "99999", "65535"] },
  { args: ["--subnet-lease-renew-margin=1440"], says: ["--subnet-lease-renew-margin", "1440", "1439"] },
  { args: ["--log-format=xml"], says: ["--log-format", "xml", "text or json"] },
  { args: ["--ip-masq=maybe"], says: ["--ip-masq", "maybe", "true or false"] },
  { args: ["--ip-masq", "false"], says: ["false", "--ip-masq=false"] },
  { args: ["-v=x"], says: ["-v", '"x"', "whole number"] },
  { args: ["--lease-db"], says: ["--lease-db", "a path"] },
  { args: ["--lease-db="], says: ["--lease-db", '""', "a path"] },
  { args: ["--kube-subnet-mgr"], says: ["--kube-subnet-mgr", "--lease-db", "one lease store"] },
  { args: ["--etcd-endpoints=http://127.0.0.1:2379"], says: ["--etcd-endpoints", "--lease-db", "one lease store"] },
  { args: [], env: { FLANNELD_PUBLIC_IP: "1.2.3" }, says: ["FLANNELD_PUBLIC_IP", "1.2.3", "IPv4 address"] },
  { args: ["plan"], says: ["plan", "write it first"] },
];

/** The same of subcommands, which do not take the node's flags. */
const USAGE_OF_SUBCOMMANDS: readonly Call[] = [
  { args: ["statsu"], says: ["statsu", "the nearest is status", "plan"] },
  { args: ["frobnicate"], says: ["frobnicate", "status, peers, plan, cleanup"] },
  { args: ["status", "--jsno"], says: ["--jsno", "--json", "agent status"] },
  { args: ["cleanup", "--dry-rnu"], says: ["--dry-rnu", "--dry-run"] },
  { args: ["peers", "--iface=eth0"], says: ["--iface", "agent peers", "--status-listen"] },
  { args: ["status", "--status-listen=off"], says: ["--status-listen", "off"] },
  { args: ["--etcd-endpoints=ftp://x"], says: ["--etcd-endpoints", "ftp://x", "https://host:port"] },
  { args: ["--etcd-certfile=/c.pem"], says: ["--etcd-certfile", "--etcd-keyfile"] },
];

/** Texts of net-conf.json, and what is said of each. */
const NET_CONFS: readonly (readonly [text: string, ...says: string[]])[] = [
  ['{"Network":', "line 1, column 12", "the end of the text"],
  ["", "line 1, column 1"],
  ["[]", "an object in braces"],
  ["\u0000\u001b[2J", "line 1, column 1"],
  ["{}", "Network", "missing", "10.244.0.0/16"],
  ['{"Network":"10.244.0.0/33"}', "Network", "10.244.0.0/33", "IPv4 prefix"],
  ['{"Network":"fd00::/48"}', "Network", "fd00::/48", "IPv4 prefix"],
  ['{"Network":"10.244.0.0/16","SubnetLen":33}', "SubnetLen", "33"],
  ['{"Network":"10.244.0.0/16","EnableIPv6":true}', "IPv6Network", "missing"],
  ['{"Network":"10.244.0.0/16","EnableIPv4":"yes"}', "EnableIPv4", "yes", "true or false"],
  ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":-4}}', "VNI", "-4"],
  ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":16777216}}', "VNI", "16777216", "16777215"],
  ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan","VNI":"one"}}', "VNI", "one"],
  ['{"Network":"10.244.0.0/16","Backend":{"Type":"vxlam"}}', "Backend.Type", "vxlam", "vxlan, host-gw, directrouting"],
  ['{"Network":"10.244.0.0/16","Backend":{}}', "Backend", "Type"],
];

/** Asks one call to fail as it should. */
async function refused(cli: Cli, args: readonly string[], { says, env = {} }: Omit<Call, "args">, exitCode: number): Promise<void> {
  const call = `${Object.entries(env).flat().join("=")} ${args.filter((arg) => !cli.flags.includes(arg)).join(" ")}`.trim();
  const kernel = await cli.kernel();
  const files = filesIn(...folders);
  const { code, stdout, stderr } = await cli.run(args, env);
  const said = complaints(stderr);
  assert.deepEqual({ call, code, stdout, lines: said.length }, { call, code: exitCode, stdout: "", lines: 1 }, stderr);
  assert.match(said[0]!, /^agent: \P{Cc}+$/u);
  for (const part of says) assert.ok(said[0]!.includes(part), `${call}: "${part}" is not in: ${said[0]}`);
  assert.doesNotMatch(stderr, /\n\s+at |\.ts:\d/, call);
  assert.deepEqual(filesIn(...folders), files, `${call} changed files`);
  assert.equal(await cli.kernel(), kernel, `${call} changed the kernel`);
}

/** Folders with all that a call may find or leave. */
const folders: string[] = [];
const READ_ONLY = "/run/read-only";

/** A node with an agent that has run, so that there are a lease, a subnet.env and kernel items. */
async function usedNode(): Promise<{ readonly lab: Lab; readonly cli: Cli; readonly bad: string }> {
  const lab = await Lab.create({ segments: { A: ["a1"] } });
  const node = lab.node("a1");
  const agent = node.agent({ args: ["--ip-masq"] });
  await agent.ready(30_000);
  assert.equal(await agent.stop(), 0);
  const bad = join(lab.dir, "bad");
  mkdirSync(bad);
  folders.splice(0, Infinity, lab.dir);
  return { lab, cli: new Cli(lab, node), bad };
}

labTest("wrong usage gives one line, exit code 2, and changes nothing", async () => {
  const { lab, cli } = await usedNode();
  await using _ = lab;
  for (const { args, ...expected } of USAGE) await refused(cli, [...cli.flags, ...args], expected, 2);
  for (const { args, ...expected } of USAGE_OF_SUBCOMMANDS) await refused(cli, args, expected, 2);
}, noIptables);

labTest("a net-conf.json or subnet.env that can not be used gives one line, exit code 1, and changes nothing", async () => {
  const { lab, cli, bad } = await usedNode();
  await using _ = lab;
  const file = join(bad, "net-conf.json");
  const refuses = (args: readonly string[], says: readonly string[]) => refused(cli, [...cli.flags, ...args], { says }, 1);
  for (const [text, ...says] of NET_CONFS) {
    writeFileSync(file, text);
    await refuses([`--net-config-path=${file}`], [file, ...says]);
  }
  await refuses([`--net-config-path=${bad}/none.json`], [`${bad}/none.json`, "does not exist", "--net-config-path"]);
  await refuses([`--net-config-path=${bad}`], [bad, "not a regular file", "--net-config-path"]);
  await refuses([`--subnet-file=${bad}`], [bad, "must be a readable file"]);
  const plan = (args: readonly string[], says: readonly string[]) =>
    refused(cli, ["plan", ...cli.flags.filter((flag) => !flag.startsWith("--status-listen")), ...args], { says }, 1);
  writeFileSync(file, '{"Network":"10.244.0.0/33"}');
  await plan([`--net-config-path=${file}`], [file, "10.244.0.0/33"]);
  await plan([`--subnet-file=${bad}`], [bad]);
  const garbage = join(bad, "subnet.env");
  writeFileSync(garbage, "FLANNEL_SUBNET=xx\nFLANNEL_NETWORK");
  for (const path of [`${bad}/none.env`, bad, garbage]) {
    await refused(cli, ["cleanup", `--subnet-file=${path}`], { says: [path] }, 1);
  }
}, noIptables);

labTest("a lease database that can not be used gives one line, exit code 1, and is not touched", async () => {
  const { lab, cli, bad } = await usedNode();
  await using _ = lab;
  mkdirSync(READ_ONLY, { recursive: true });
  folders.push(READ_ONLY);
  const cases = databases(lab.leaseDb, bad);
  await run(["mount", "--bind", READ_ONLY, READ_ONLY]);
  await run(["mount", "-o", "remount,bind,ro", READ_ONLY]);
  for (const [file, ...says] of cases) {
    await refused(cli, [...cli.flags, `--lease-db=${file}`], { says: [file, ...says] }, 1);
  }
}, noIptables);

/** Makes bad databases of a good one. */
function databases(good: string, bad: string): readonly (readonly [file: string, ...says: string[]])[] {
  const at = (name: string) => join(bad, name);
  const bytes = readFileSync(good);
  writeFileSync(at("text.db"), "These are the leases\n");
  writeFileSync(at("random.db"), crypto.getRandomValues(new Uint8Array(8192)));
  writeFileSync(at("truncated.db"), bytes.subarray(0, 5000));
  writeFileSync(at("damaged.db"), bytes.fill(0xa5, 4096, 12_288));
  copyFileSync(good, at("newer.db"));
  sql(at("newer.db"), "PRAGMA user_version = 99");
  sql(at("other.db"), "CREATE TABLE lease (a)");
  mkdirSync(at("folder.db"));
  copyFileSync(good, join(READ_ONLY, "leases.db"));
  return [
    [at("text.db"), "not an SQLite database", "--lease-db"],
    [at("random.db"), "not an SQLite database", "--lease-db"],
    [at("truncated.db"), "damaged", "move it away"],
    [at("damaged.db"), "damaged", "move it away"],
    [at("newer.db"), "format 99", "format 1", "newer agent"],
    [at("other.db"), "another program's database", "--lease-db"],
    [at("folder.db"), "not a regular file", "--lease-db"],
    [join(READ_ONLY, "leases.db"), "must be writable", "--lease-db"],
    [join(READ_ONLY, "new.db"), "must be writable", "--lease-db"],
    [join(at("text.db"), "leases.db"), "can not be a folder", "--lease-db"],
  ];
}

function sql(file: string, statement: string): void {
  const db = new DatabaseSync(file);
  db.exec(statement);
  db.close();
}

labTest("a device or an address that can not be had gives one line, exit code 1, and changes nothing", async () => {
  const { lab, cli, bad } = await usedNode();
  await using _ = lab;
  const taken = join(bad, "taken.sock");
  writeFileSync(join(bad, "file.sock"), "no socket");
  using _server = await listening(taken);
  const peer = cli.node.spawn([...runtimeCommand(), TCP_PEER, "serve", "7000"], { log: "port" });
  await until("somebody listens on port 7000", () => peer.text().includes("listening"), { state: () => peer.tail() });
  const cases: readonly Call[] = [
    { args: ["--iface=nope0"], says: ["nope0", "does not exist"] },
    { args: ["--iface=10.9.9.9"], says: ["no device has the address 10.9.9.9"] },
    { args: ["--iface-regex=^wlan"], says: ["^wlan", "matches"] },
    { args: ["--iface-can-reach=fd99::1"], says: ["no route to fd99::1"] },
    { args: ["--iface=lo"], says: ["lo", "no usable IPv4 address"] },
    { args: ["--status-listen=10.9.9.9:80"], says: ["10.9.9.9:80", "does not have the address"] },
    { args: ["--status-listen=192.168.10.1:7000"], says: ["192.168.10.1:7000", "another process listens there"] },
    { args: ["--healthz-port=7000"], says: ["7000", "another process listens there"] },
    { args: [`--status-listen=unix:${taken}`], says: [taken, "another process listens there"] },
    { args: [`--status-listen=unix:${bad}/file.sock`], says: [`${bad}/file.sock`, "is no socket"] },
    { args: [`--status-listen=unix:${bad}/none/s`], says: [`${bad}/none/s`, "directory does not exist"] },
  ];
  for (const { args, ...expected } of cases) await refused(cli, [...cli.flags, ...args], expected, 1);
  for (const name of ["status", "peers"]) {
    const nobody = `--status-listen=unix:${bad}/none.sock`;
    await refused(cli, [name, nobody], { says: [`/v1/${name}`, `${bad}/none.sock`, "no agent listens there"] }, 1);
  }
  const { says } = { says: ["/v1/status", "127.0.0.1:8473", "no agent listens there", "--status-listen"] };
  await refused(cli, ["status"], { says }, 1);
}, noIptables);

labTest("a subnet.env that says nothing usable is warned of, replaced, and costs neither lease nor kernel items", async () => {
  const { lab, cli } = await usedNode();
  await using _ = lab;
  const { node } = cli;
  const [kernel, before] = [await cli.kernel(), node.subnetEnv()];
  writeFileSync(node.subnetFile, "FLANNEL_SUBNET=xx\nFLANNEL_NETWORK");
  const agent = node.agent({ args: ["--ip-masq"] });
  const start = agent.log().length;
  await agent.ready(30_000);
  const warned = complaints(agent.log().slice(start));
  assert.equal(warned.length, 1, agent.log());
  for (const part of [" warning ", node.subnetFile, "FLANNEL_NETWORK"]) assert.ok(warned[0]!.includes(part), warned[0]);
  assert.deepEqual(node.subnetEnv(), before);
  assert.equal(await cli.kernel(), kernel);
  await agent.stop();
}, noIptables);

async function listening(path: string): Promise<Disposable> {
  const server = createServer((socket) => socket.destroy());
  mkdirSync(dirname(path), { recursive: true });
  await new Promise<void>((done, fail) => server.once("error", fail).listen(path, done));
  return { [Symbol.dispose]: () => void server.close() };
}
