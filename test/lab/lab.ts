/**
 * A network in namespaces: segments (bridges) joined by a router, nodes on the segments, pods behind the nodes.
 *
 * ```text
 *   pod ── cni0 [node a1] eth0 ─┐
 *   pod ── cni0 [node a2] eth0 ─┴─ brA  [router]  brB ── eth0 [node b1] cni0 ── pod
 *            192.168.10.1, .2        .254  ·  .254           192.168.20.1
 *            fd10::1, ::2           ::254  ·  ::254          fd20::1
 * ```
 *
 * The one lab of the demo, the tests and the bench. It works only inside the namespaces that `run.ts` makes, and is gone with them:
 *
 * ```sh
 * bun test/lab/run.ts test/lab/lab_test.ts
 * ```
 *
 * @example A test
 * ```ts ignore
 * import { test } from "node:test";
 * import assert from "node:assert/strict";
 * import { Lab } from "./lab.ts";
 *
 * test("pods of two nodes reach each other", async () => {
 *   await using lab = await Lab.create({ ipv6: true });
 *   const agents = lab.nodes.map((node) => node.agent({ backend: "directrouting" }));
 *   for (const agent of agents) await agent.inSync(2);
 *   const [from, to] = [await lab.node("a1").addPod(), await lab.node("b1").addPod()];
 *   await using pinger = await from.pinger(to.address);
 *   await agents[0]!.stop();
 *   assert.equal((await pinger.stop()).lost, 0);
 * });
 * ```
 *
 * @module
 */

import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Ip, parseIp } from "../../src/model/ip.ts";
import { run, until } from "./command.ts";
import { insideLab } from "./enter.ts";
import { Host } from "./host.ts";
import { flags, Node, type Shared } from "./node.ts";

/** How a lab is made. */
export interface LabOptions {
  /** Names of the nodes by segment; `{ A: ["a1", "a2"], B: ["b1"] }` if absent. Names have at most nine letters and digits. */
  readonly segments?: Readonly<Record<string, readonly string[]>>;
  /** Whether all have IPv6 addresses too; no if absent. */
  readonly ipv6?: boolean;
  /** The MTU of all segments, in bytes; 1500 if absent. */
  readonly mtu?: number;
  /** How the nodes filter by reverse path: 0 not at all (if absent), 1 strictly, 2 loosely. */
  readonly rpFilter?: 0 | 1 | 2;
  /** What net-conf.json of the embedded store holds: an object, or text as it is. A `/16` (and a `/56` with `ipv6`) if absent. */
  readonly netConf?: object | string;
}

/** The router's last byte on every segment. */
const ROUTER = 254;

let labs = 0;

/** The network. Make one with {@linkcode Lab.create}. */
export class Lab implements AsyncDisposable {
  readonly router: Host;
  readonly nodes: readonly Node[];
  /** The folder of the lab, with one folder for each host. */
  readonly dir: string;
  /** The lease database of the embedded store. */
  readonly leaseDb: string;

  private constructor(dir: string, leaseDb: string, router: Host, nodes: readonly Node[]) {
    this.dir = dir;
    this.leaseDb = leaseDb;
    this.router = router;
    this.nodes = nodes;
  }

  /**
   * Builds a lab. Several can stand side by side.
   *
   * @returns The lab, once every node reaches its router.
   * @throws {Error} Outside the namespaces, or where the kernel lacks bridges, veth or (if asked for) IPv6.
   */
  static async create(options: LabOptions = {}): Promise<Lab> {
    if (!insideLab()) throw new Error("The lab works only in namespaces of its own: start this file with bun test/lab/run.ts FILE");
    const { segments = { A: ["a1", "a2"], B: ["b1"] }, ipv6 = false } = options;
    const number = labs++;
    const suffix = number === 0 ? "" : `-${number}`;
    const dir = `/run/lab/${number}`;
    mkdirSync(dir, { recursive: true });
    const shared: Shared = { leaseDb: join(dir, "leases.db"), netConf: join(dir, "net-conf.json") };
    writeFileSync(shared.netConf, renderNetConf(options.netConf ?? defaultNetConf(ipv6)));

    const nets = Object.keys(segments).map((name, i) => netOf(name, i, ipv6));
    const [ipv4, v6] = addressesOf(nets[0]!, ROUTER);
    const router = new Host({
      name: "router",
      namespace: `router${suffix}`,
      dir: join(dir, "router"),
      ipv4: ipv4!,
      ipv6: v6 ?? null,
    });
    const lab = new Lab(
      dir,
      shared.leaseDb,
      router,
      nets.flatMap((net) => nodesOf(net, segments[net.segment]!, suffix, dir, shared)),
    );
    try {
      await lab.#build(nets, options);
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw error;
    }
    return lab;
  }

  /** A node by its name. @throws {Error} If there is none. */
  node(name: string): Node {
    const node = this.nodes.find((each) => each.name === name);
    if (node === undefined) {
      throw new Error(`The lab has no node "${name}", only ${this.nodes.map((each) => each.name).join(", ")}`);
    }
    return node;
  }

  /** Kills all that runs in the lab and removes its namespaces and files. */
  async [Symbol.asyncDispose](): Promise<void> {
    const hosts = [this.router, ...this.nodes, ...this.nodes.flatMap((node) => node.pods)];
    await Promise.all(hosts.map((host) => host.killAll()));
    await run(["ip", "-force", "-batch", "-"], { input: hosts.map((host) => `netns del ${host.namespace}`).join("\n") }).catch(
      () => {},
    );
    rmSync(this.dir, { recursive: true, force: true });
  }

  async #build(nets: readonly Net[], { mtu = 1500, rpFilter = 0, ipv6 = false }: LabOptions): Promise<void> {
    const all = [this.router, ...this.nodes];
    await run(["ip", "-batch", "-"], { input: all.map((host) => `netns add ${host.namespace}`).join("\n") });
    await this.router.sysctl(settings(0, ipv6));
    await this.router.ip("link set lo up", ...nets.flatMap((net) => bridge(net, mtu)));
    await Promise.all(this.nodes.map((node) => node.sysctl(settings(rpFilter, ipv6))));
    for (const node of this.nodes) {
      const net = nets.find(({ segment }) => segment === node.segment)!;
      await this.router.ip(
        `link add ${node.port} mtu ${mtu} type veth peer name eth0 mtu ${mtu} netns ${node.namespace}`,
        `link set ${node.port} master br${net.segment} up`,
      );
      const own = [node.ipv4, node.ipv6].filter((address) => address !== null) as Ip[];
      await node.ip(
        "link set lo up",
        "link set eth0 up",
        ...own.map((ip, i) => `addr add ${ip}/${LENGTHS[i]} dev eth0${flags(ip)}`),
        ...addressesOf(net, ROUTER).map((ip) => `route add default via ${ip}`),
      );
    }
    await Promise.all(this.nodes.map((node) => reaches(node, nets.find(({ segment }) => segment === node.segment)!)));
  }
}

/** The networks of a segment: everything of an address but its last part, one text per family. */
interface Net {
  readonly segment: string;
  readonly prefixes: readonly string[];
}

/** Prefix lengths on a segment, in the order of its prefixes. */
const LENGTHS = [24, 64];

function netOf(segment: string, index: number, ipv6: boolean): Net {
  const number = 10 * (index + 1);
  return { segment, prefixes: [`192.168.${number}.`, ...(ipv6 ? [`fd${number}::`] : [])] };
}

function addressesOf(net: Net, host: number): Ip[] {
  return net.prefixes.map((prefix) => parseIp(`${prefix}${host}`));
}

function nodesOf(net: Net, names: readonly string[], suffix: string, dir: string, shared: Shared): Node[] {
  return names.map((name, i) => {
    const [ipv4, ipv6] = addressesOf(net, i + 1);
    const place = { name, namespace: `${name}${suffix}`, dir: join(dir, name), ipv4: ipv4!, ipv6: ipv6 ?? null };
    return new Node(place, net.segment, `to-${name}`, shared);
  });
}

function bridge(net: Net, mtu: number): string[] {
  const name = `br${net.segment}`;
  return [
    // A bridge without an address of its own takes another one whenever a port comes, and nodes then send to the old one.
    `link add ${name} address 02:fe:00:00:00:${name.charCodeAt(2).toString(16)} mtu ${mtu} type bridge mcast_snooping 0`,
    `link set ${name} up`,
    ...addressesOf(net, ROUTER).map((ip, i) => `addr add ${ip}/${LENGTHS[i]} dev ${name}${flags(ip)}`),
  ];
}

function settings(rpFilter: number, ipv6: boolean): Record<string, number> {
  return {
    "net/ipv4/ip_forward": 1,
    "net/ipv4/conf/all/rp_filter": rpFilter,
    "net/ipv4/conf/default/rp_filter": rpFilter,
    ...(ipv6 ? IPV6_SETTINGS : {}),
  };
}

/** Without detection of duplicates, since an address that is being tested for a second answers nobody. */
const IPV6_SETTINGS = {
  "net/ipv6/conf/all/forwarding": 1,
  "net/ipv6/conf/all/disable_ipv6": 0,
  "net/ipv6/conf/default/disable_ipv6": 0,
  "net/ipv6/conf/all/accept_dad": 0,
  "net/ipv6/conf/default/accept_dad": 0,
};

async function reaches(node: Node, net: Net): Promise<void> {
  for (const gateway of addressesOf(net, ROUTER)) {
    await until(`${node.name} reaches its router ${gateway}`, async () => (await node.ping(gateway, { count: 1 })).received === 1);
  }
}

function defaultNetConf(ipv6: boolean): object {
  return {
    Network: "10.244.0.0/16",
    ...(ipv6 ? { EnableIPv6: true, IPv6Network: "fd00:10:244::/56" } : {}),
    Backend: { Type: "vxlan" },
  };
}

function renderNetConf(conf: object | string): string {
  return typeof conf === "string" ? conf : `${JSON.stringify(conf, null, 2)}\n`;
}
