/**
 * What every backend's planners must keep, whatever they plan.
 *
 * @module
 */

import { readFileSync } from "node:fs";
import type { PeerAnswer } from "../../model/backend_port.ts";
import type { Family } from "../../model/ip.ts";
import { keyOf } from "../../model/item.ts";
import { trespass } from "../../reconcile/trespass.ts";
import { Bench, Finding, type Subject } from "./bench.ts";
import { MTU, NEAR, peerOf } from "./world.ts";

/** What a check is made with. */
export interface Case {
  readonly subject: Subject;
  /** What its effects have started with; `null` without effects. */
  readonly state: unknown;
}

/** One thing that must hold. */
export interface Check {
  /** What holds, as a sentence's end: "it …". */
  readonly name: string;
  /** Looks whether it does. @returns A figure worth knowing. @throws {Finding} If it does not. */
  run(given: Case): Promise<string | void>;
}

const FAMILIES: readonly Family[] = [4, 6];
/** A few peers, on the node's segment and beyond. */
const FEW = [2, 3, NEAR, NEAR + 1, NEAR + 2];
/** As many nodes as a large cluster has; how long planning for all may compute, in milliseconds, and what it may take, in megabytes. */
const MANY = { peers: 5_000, time: 2_000, memory: 200 };

/** What no node that is in order publishes. */
const HOSTILE: readonly unknown[] = [
  ...[null, 0, -1, "", "x".repeat(10_000), true, [], {}, [[[]]], { VtepMAC: "ff:ff:ff:ff:ff:ff" }, { VNI: "1", VtepMAC: {} }],
  ...[
    JSON.parse('{"__proto__":{"polluted":true}}'),
    { toString: 1 },
    { length: 1e9 },
    "$(reboot)",
    "'; reboot; '",
    "../../etc/passwd",
  ],
];

/** The checks of planners. */
export const PLANNER_CHECKS: readonly Check[] = [
  {
    name: "names its devices as Linux allows, and knows them again",
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      const { links, devices } = bench.port;
      for (const link of links) {
        if (!/^[^\s/:]{1,15}$/.test(link)) {
          throw new Finding(`links() names "${link}", which no device can be called`, "use at most 15 characters without / and :");
        }
        if (devices !== null && !devices.test(link)) {
          throw new Finding(
            `its devices, ${devices}, does not match "${link}" of links()`,
            "let it match every name that links() may answer",
          );
        }
      }
    },
  },
  {
    name: "leaves pods an MTU that fits into the device's",
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      const mtus: number[] = [];
      for (const families of [[4], [6], [4, 6]] as const) {
        const mtu = await bench.mtu(families);
        if (!Number.isInteger(mtu) || mtu < 576 || mtu > MTU) {
          throw new Finding(`mtu(${MTU}, [${families}]) answers ${mtu}`, `answer a whole number from 576 to ${MTU}`);
        }
        mtus.push(mtu);
      }
      return `${Math.min(...mtus)} of ${MTU} bytes`;
    },
  },
  {
    name: "reads what it publishes itself",
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      for (const family of FAMILIES) {
        const [answer] = await bench.peers([2], family, [await bench.publish(2, family)]);
        if (answer!.state === "rejected") {
          throw new Finding(
            `a peer that publishes what publish() answers is rejected: ${answer!.reason}`,
            "let leaseData take what publish() answers",
          );
        }
      }
    },
  },
  {
    name: "asks only for what is its own, in the family that it is asked about",
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      for (const family of FAMILIES) {
        const side = await bench.side(family);
        const { links } = bench.port;
        const wrong = trespass(await bench.node(family), { side, links, peer: null });
        if (wrong !== null) throw new Finding(`node() in IPv${family}: ${wrong}`, "see docs/backends.md, Items");
        const answers = await good(bench, FEW, family);
        for (const [i, { items }] of answers.entries()) {
          const wrong = trespass(items, { side, links, peer: peerOf(FEW[i]!, family, null) });
          if (wrong !== null) throw new Finding(`peer() in IPv${family}: ${wrong}`, "see docs/backends.md, Items");
        }
      }
    },
  },
  {
    name: "gives every peer a route, or says why not, and gives no two the same item",
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      const keys = new Map<string, string>();
      const claim = (key: string, owner: string) => {
        const other = keys.get(key);
        if (other !== undefined) {
          throw new Finding(`${owner} needs "${key}", which is ${other}'s`, "let every peer have items of its own");
        }
        keys.set(key, owner);
      };
      for (const family of FAMILIES) {
        for (const item of await bench.node(family)) claim(keyOf(item), "the node");
        for (const [i, { path, items, state, reason }] of (await good(bench, FEW, family)).entries()) {
          const { subnet } = peerOf(FEW[i]!, family, null);
          const elsewhere = path === "none" || bench.port.effects.peers !== undefined; // effects may make the way
          if (state === "planned" && !elsewhere && !items.some((item) => item.kind === "route" && item.dst === subnet)) {
            throw new Finding(
              `peer() answers the path "${path}", but no route to ${subnet}`,
              'answer a route, or the path "none", or why not as pending',
            );
          }
          if (state === "pending" && (reason ?? "") === "") {
            throw new Finding("peer() lets a peer wait without a reason", "say why in pending");
          }
          items.forEach((item) => item.kind === "wireguard-peer" || claim(keyOf(item), `peer ${FEW[i]}`));
        }
      }
    },
  },
  {
    name: "answers the same for the same, in any order, with nobody's clock or lots",
    async run({ subject, state }) {
      const answers: unknown[] = [];
      for (const [before, peers] of [FEW, [...FEW].reverse(), FEW].entries()) {
        using bench = await Bench.open(subject, state);
        for (let n = 0; n < before; n++) await bench.publish(NEAR - n, 4); // whoever counts has counted more
        const all: unknown[] = [bench.port.links, await bench.mtu()];
        for (const family of FAMILIES) {
          const byPeer = new Map((await good(bench, peers, family)).map((answer, i) => [peers[i], answer]));
          all.push(await bench.publish(1, family), await bench.node(family), FEW.map((n) => byPeer.get(n)));
        }
        answers.push(all);
      }
      const [first, ...others] = answers.map((each) => JSON.stringify(each));
      if (others.some((each) => each !== first)) {
        throw new Finding(
          "asked again, it answers something else",
          "keep nothing between calls, and take all from the arguments; effects.start may make what must be made once",
        );
      }
    },
  },
  {
    name: "bears whatever other nodes publish",
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      const peers = HOSTILE.map((_, i) => i + 2);
      for (const family of FAMILIES) {
        const answers = await bench.peers(peers, family, HOSTILE);
        for (const [i, { reason }] of answers.entries()) {
          if (reason === null || !reason.includes(`backend ${bench.port.name} failed`)) continue;
          throw new Finding(
            `a peer that publishes ${JSON.stringify(HOSTILE[i]).slice(0, 80)} makes peer() fail: ${reason}`,
            "let leaseData refuse what peer() can not use",
          );
        }
      }
      if (({} as { polluted?: boolean }).polluted) {
        throw new Finding("it lets others change every object", "never copy keys that others name");
      }
    },
  },
  {
    name: `plans ${MANY.peers.toLocaleString("en")} peers in bearable time and memory`,
    async run({ subject, state }) {
      using bench = await Bench.open(subject, state);
      const peers = Array.from({ length: MANY.peers }, (_, i) => i + 2);
      const data = await bench.data(peers, 4);
      await bench.side(4);
      const [before, small] = [computed(), anonymous()];
      const answers = await bench.peers(peers, 4, data);
      const [time, memory] = [computed() - before, Math.max(0, anonymous() - small)];
      if (time > MANY.time) {
        throw new Finding(`it takes ${time} ms for ${MANY.peers} peers`, `plan in less than ${MANY.time / MANY.peers} ms for each`);
      }
      if (memory > MANY.memory) {
        throw new Finding(
          `it takes ${memory} MB for ${MANY.peers} peers`,
          `take less than ${MANY.memory} MB: keep nothing between calls`,
        );
      }
      const items = answers.reduce((sum, { items }) => sum + items.length, 0);
      const size = JSON.stringify(answers).length / MANY.peers;
      if (size > 4_096) throw new Finding(`it answers ${Math.round(size)} bytes for each peer`, "answer few items for each peer");
      return `${items} items in ${time} ms and ${memory} MB`;
    },
  },
];

/** How long this process has computed, in milliseconds: what others do on the machine does not count. Source: proc(5), in ticks of 10 ms. */
function computed(): number {
  const fields = readFileSync("/proc/self/stat", "latin1").split(") ").at(-1)!.split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

/** The memory of this process that no file stands behind, in megabytes. */
function anonymous(): number {
  return Math.round(Number(/^RssAnon:\s*(\d+)/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? 0) / 1024);
}

/** What peers need that publish what they should. @throws {Finding} If one is rejected, or planning for it fails. */
async function good(bench: Bench, peers: readonly number[], family: Family): Promise<readonly PeerAnswer[]> {
  const answers = await bench.peers(peers, family, await bench.data(peers, family));
  for (const [i, { state, reason }] of answers.entries()) {
    if (state === "rejected" || (reason?.includes(`backend ${bench.port.name} failed`) ?? false)) {
      throw new Finding(`IPv${family}, peer ${peers[i]}: ${reason}`, "let leaseData and peer() take what nodes publish");
    }
  }
  return answers;
}
