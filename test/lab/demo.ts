/**
 * The demo: three nodes on two segments, an agent on each, pods that ping each other, and which way the packets went.
 *
 * ```sh
 * npm run demo             # exit code 0 if no packet was lost
 * npm run demo -- --keep   # goes on until Ctrl-C and says how to look around
 * ```
 *
 * Runs in namespaces of its own and leaves nothing behind.
 *
 * @module
 */

import process from "node:process";
import { parseArgs, styleText } from "node:util";
import type { Agent } from "./agent.ts";
import { enterLab, insideLab, wayIn } from "./enter.ts";
import type { Host } from "./host.ts";
import { Lab } from "./lab.ts";
import type { Node } from "./node.ts";
import { agentCommand, runtimeCommand } from "./paths.ts";
import type { PingResult } from "./ping.ts";

const BACKEND = "directrouting";
/** Packets for each pair of pods in each family. */
const COUNT = 20;

/** A node with all that runs on it. */
interface Member {
  readonly node: Node;
  readonly agent: Agent;
  readonly pod: Host;
  readonly subnet: string | null;
}

/** What one pod saw of another. */
interface Pair {
  readonly from: Member;
  readonly to: Member;
  /** The way of the packets, as the agent of `from` tells it. */
  readonly path: string;
  readonly pings: readonly [ipv4: PingResult, ipv6: PingResult];
}

async function main(args: readonly string[]): Promise<number> {
  const keep = parseArgs({ args: [...args], options: { keep: { type: "boolean", default: false } } }).values.keep;
  if (!insideLab()) return await enterLab([...runtimeCommand(), import.meta.filename!, ...args]);
  let stop = (): void => process.exit(130);
  process.on("SIGINT", () => stop());

  await using lab = await Lab.create({ ipv6: true });
  const [a1, a2, b1] = lab.nodes.map((node) => `${node.name} ${node.address}`);
  print(
    `Weft: three nodes on two segments, an agent on each (--backend=${BACKEND})`,
    "",
    `${a1} ─┬─ segment A ── router ── segment B ─── ${b1}`,
    `${a2} ─┘`,
  );
  const members = await start(lab);
  print("", ...table(["NODE", "POD IPV4", "POD IPV6", "READY AFTER"], members.map(({ row }) => row)));
  const pairs = await pingAll(members.map(({ member }) => member));
  print("", ...table(["PODS OF", "PATH", "IPV4 SENT", "LOST", "RTT", "IPV6 SENT", "LOST", "RTT"], pairs.map(rowOf)));
  const [sent, lost] = (["sent", "lost"] as const).map((count) => sum(pairs, count));
  print(
    "",
    lost === 0 ? colour("green", `${sent} packets sent, none lost.`) : colour("red", `${sent} packets sent, ${lost} LOST.`),
  );
  if (keep) {
    const ended = new Promise<void>((resolve) => stop = resolve);
    print("", ...waysIn(members.map(({ member }) => member)));
    await ended;
  } else {
    print(
      "",
      "On every node the agent served its state at http://127.0.0.1:8473 (/v1/status, /v1/peers, /healthz, /readyz).",
      "To look at it: npm run demo -- --keep",
    );
  }
  return lost === 0 ? 0 : 1;
}

/** Starts the agents, waits until all know each other, and adds the pods. */
async function start(lab: Lab): Promise<{ member: Member; row: string[] }[]> {
  const began = performance.now();
  const agents = lab.nodes.map((node) => ({ node, agent: node.agent({ backend: BACKEND, status: "port" }) }));
  return await Promise.all(agents.map(async ({ node, agent }) => {
    await agent.ready();
    const after = performance.now() - began;
    await agent.inSync(lab.nodes.length - 1);
    const pod = await node.addPod();
    const { subnet } = (await agent.status()).lease;
    return { member: { node, agent, pod, subnet }, row: [node.name, pod.address, pod.address6, `${(after / 1000).toFixed(1)} s`] };
  }));
}

/** Pings between the pods of every two nodes, in both directions and families. */
async function pingAll(members: readonly Member[]): Promise<Pair[]> {
  const pairs: Pair[] = [];
  for (const from of members) {
    const peers = await from.agent.peers();
    pairs.push(
      ...await Promise.all(
        members.filter((to) => to !== from).map(async (to) => ({
          from,
          to,
          path: peers.find((peer) => peer.subnet === to.subnet)?.path ?? "none",
          pings: await Promise.all([
            from.pod.ping(to.pod.address, { count: COUNT }),
            from.pod.ping(to.pod.address6, { count: COUNT }),
          ]),
        })),
      ),
    );
  }
  return pairs;
}

function rowOf({ from, to, path, pings }: Pair): string[] {
  const columns = pings.flatMap(({ sent, lost, rttMs }) => [sent, lost, rttMs === null ? "–" : `${rttMs.toFixed(2)} ms`]);
  return [`${from.node.name} → ${to.node.name}`, path, ...columns.map(String)];
}

function sum(pairs: readonly Pair[], count: "sent" | "lost"): number {
  return pairs.flatMap(({ pings }) => pings).reduce((total, ping) => total + ping[count], 0);
}

/** Commands to paste: a function that runs a program on a node or in a pod, and what to run. */
function waysIn(members: readonly Member[]): string[] {
  const [first, , last] = members as readonly [Member, Member, Member];
  const agent = agentCommand().join(" ");
  return [
    "Runs until Ctrl-C. In another terminal, as the same user:",
    "",
    `  on() { local n=$1; shift; ${wayIn("$n")} "$@"; }`,
    `  on ${first.node.name} ${agent} peers`,
    `  on ${first.node.name} ${agent} status`,
    `  on ${first.node.name} ip route`,
    `  on ${first.pod.namespace} ping ${last.pod.address}`,
    `  on ${first.node.name} tail -f ${first.node.dir}/agent.log`,
    "",
    `The same on ${["router", ...members.flatMap(({ node, pod }) => [node.namespace, pod.namespace])].join(", ")}.`,
  ];
}

/** Columns as wide as their widest cell; what is a number stands to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const widths = head.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const isNumber = head.map((_, i) => rows.every((row) => /^[\d.–]+( m?s)?$/.test(row[i]!) && !/\..*\./.test(row[i]!)));
  const line = (row: readonly string[]) =>
    row.map((cell, i) => isNumber[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)).join("   ").trimEnd();
  return [colour("bold", line(head)), ...rows.map(line)];
}

function colour(style: "bold" | "green" | "red", text: string): string {
  return process.stdout.isTTY && process.env["NO_COLOR"] === undefined ? styleText(style, text) : text;
}

function print(...lines: readonly string[]): void {
  console.log(lines.map((line) => line === "" ? "" : `  ${line}`).join("\n"));
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error((error as Error).message);
  process.exitCode = (error as { code?: string }).code?.startsWith("ERR_PARSE_ARGS") ? 2 : 1;
}
