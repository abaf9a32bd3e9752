/**
 * What must hold of every backend in a real kernel: in a network namespace that is thrown away.
 *
 * @module
 */

import type { BareSide, NodeSide, OpenSide } from "../../model/backend.ts";
import type { BackendPort } from "../../model/backend_port.ts";
import { EFFECT_LIMITS, type EffectContext, type EffectNode, type EffectPeer, type Effects } from "../../model/effects.ts";
import { describe, keyOf } from "../../model/item.ts";
import type { Kernel } from "../../model/kernel.ts";
import { Bench, Finding, type Subject } from "./bench.ts";
import type { Case } from "./planners.ts";
import { type Resident, Room } from "./room.ts";
import { MTU, NEAR, openSideOf, publicIpOf, subnetOf } from "./world.ts";

/** One thing that must hold. */
export interface KernelCheck {
  /** What holds, as a sentence's end: "it …". */
  readonly name: string;
  /** Looks whether it does, in a kernel without any items. @throws {Finding} If it does not. @throws {Skip} If that can not be seen here. */
  run(given: Case, kernel: Kernel): Promise<string | void>;
}

/** On the node's segment, and beyond. */
const PEERS: readonly Resident[] = [{ n: 2 }, { n: 3 }, { n: NEAR + 1 }];

/** The checks with a kernel. */
export const KERNEL_CHECKS: readonly KernelCheck[] = [
  {
    name: "puts into the kernel what it plans",
    async run(given, kernel) {
      using room = await Room.open(given, kernel);
      await room.settle(PEERS);
      return `${room.plan.items.size} items`;
    },
  },
  {
    name: "is known again after a restart, and changes nothing then",
    async run(given, kernel) {
      using before = await Room.open(given, kernel);
      await before.settle(PEERS);
      using after = await Room.open(given, kernel);
      const changes = (await after.changes(PEERS)).filter((change) => !isWaiting(after, change));
      if (changes.length > 0) {
        throw new Finding(
          `an agent without a memory would ${changes[0]}`,
          "let links() name all devices, and plan the same each time",
        );
      }
    },
  },
  {
    name: "follows peers that come, move and go",
    async run(given, kernel) {
      using room = await Room.open(given, kernel);
      await room.settle([{ n: 2 }, { n: 3 }]);
      await room.settle([{ n: 3, at: 5 }, { n: 4 }]);
      using fresh = await Room.open(given, kernel);
      const changes = (await fresh.changes([{ n: 3, at: 5 }, { n: 4 }])).filter((change) => !isWaiting(fresh, change));
      if (changes.length > 0) {
        throw new Finding(
          `what has moved is not as if it had been there from the start: ${changes[0]}`,
          "plan from the arguments alone",
        );
      }
    },
  },
  {
    name: "is put right when somebody takes any part of it away",
    async run(given, kernel) {
      using room = await Room.open(given, kernel);
      await room.settle(PEERS);
      const items = room.held();
      for (const item of items) {
        await room.harm(item);
        try {
          await room.settle(PEERS);
        } catch (error) {
          if (!(error instanceof Finding)) throw error;
          throw new Finding(`after "${describe(item)}" was deleted: ${error.message}`, error.mend);
        }
      }
      return `${items.length} items taken away and put back`;
    },
  },
  {
    name: "leaves nothing behind, and what is not its own alone",
    async run(given, kernel) {
      using room = await Room.open(given, kernel);
      await room.settle(PEERS);
      await room.settle([]);
      const { items } = room.plan;
      const left = room.held().filter((item) => !items.has(keyOf(item)));
      if (left.length > 0) throw new Finding(`without peers there is still "${describe(left[0]!)}"`, "see docs/backends.md, Items");
      await room.clear();
      const [still] = room.held();
      if (still !== undefined) throw new Finding(`"${describe(still)}" can not be removed`, "see docs/backends.md, Items");
    },
  },
];

/** Whether a change is of a peer that waits for a reason of its own. */
function isWaiting({ plan }: Room, change: string): boolean {
  return plan.peers.some(({ sides }) =>
    sides.some(({ state, keys }) =>
      state !== "planned" && keys.some((key) => {
        const item = plan.items.get(key);
        return item !== undefined && change.endsWith(describe(item));
      })
    )
  );
}

/** What effects must keep. */
export const EFFECT_CHECK: { readonly name: string; run(subject: Subject, state: unknown): Promise<string | void> } = {
  name: "has effects that bear to be called again",
  async run(subject, state) {
    using bench = await Bench.open(subject, state);
    const { effects } = bench.port;
    const calls = Object.keys(effects);
    if (calls.length === 0) return "it has none";
    const node = await nodeOf(bench);
    const peers: EffectPeer[] = [];
    for (const n of [2, 3]) {
      const publicIps = [publicIpOf(n, 4), publicIpOf(n, 6)];
      const sides = [];
      for (const family of [4, 6] as const) {
        const [data] = await bench.data([n], family);
        sides.push({ subnet: subnetOf(n, family), publicIp: publicIpOf(n, family), publicIps, data });
      }
      peers.push({ key: `node-${n}`, sides });
    }
    const all = new Map(peers.map((peer) => [peer.key, peer]));
    for (const _ of ["once", "again"]) {
      if (effects.start !== undefined) await startOf(bench.port);
      if (effects.ready !== undefined) await within("ready", (context) => effects.ready!(context, node));
      if (effects.peers !== undefined) {
        const failures = await within("peers", (context) => effects.peers!(context, { put: peers, drop: [], all }, node));
        const [failure] = failures ?? [];
        if (failure !== undefined) throw new Finding(`peers(): ${failure[0]}: ${failure[1]}`, "let it take what nodes publish");
      }
    }
    if (effects.peers !== undefined) {
      await within("peers", (context) => effects.peers!(context, { put: [], drop: peers, all: new Map() }, node));
    }
    if (effects.health !== undefined) {
      const sick = await within("health", (context) => effects.health!(context, node));
      if (sick !== null) throw new Finding(`health(): ${sick}`, "answer null while nothing is wrong");
    }
    if (effects.stop !== undefined) await within("stop", (context) => effects.stop!(context, node));
    return calls.join(", ");
  },
};

/** Starts a backend's effects. @returns The state; `null` if it starts nothing. */
export async function startOf(port: BackendPort): Promise<unknown> {
  const { start } = port.effects;
  if (start === undefined) return null;
  const mtu = MTU; // what pods get is not known before the backend was asked
  const sides: BareSide[] = ([4, 6] as const).map((family) => openSideOf(1, family, mtu, null));
  const state = await within("start", (context) => start(context, { name: "node-1", sides }));
  const text = JSON.stringify(state ?? null);
  if (text === undefined) {
    throw new Finding("start() resolves with what is no JSON", "resolve with plain objects, texts, numbers or null");
  }
  return JSON.parse(text);
}

async function nodeOf(bench: Bench): Promise<EffectNode<NodeSide & OpenSide>> {
  return { name: "node-1", sides: [await bench.side(4), await bench.side(6)] };
}

async function within<T>(call: keyof Effects, effect: (context: EffectContext) => Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(EFFECT_LIMITS[call]);
  const late = new Promise<never>((_, reject) =>
    signal.addEventListener("abort", () => reject(new Error(`it did not end within ${EFFECT_LIMITS[call] / 1000} s`)))
  );
  try {
    return await Promise.race([effect({ signal, log: () => {} }), late]);
  } catch (error) {
    throw new Finding(`${call}(): ${(error as Error).message}`, "an effect must bear to be called where it has been called before");
  }
}
