import assert from "node:assert/strict";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { test } from "node:test";
import { EmbeddedBacking } from "../../test/contracts/embedded_backing.ts";
import { followLeases } from "../../test/contracts/followed_leases.ts";
import { parseCidr, parseIp } from "../model/ip.ts";
import type { Lease, LeaseRequest } from "../model/lease.ts";

function nodeOf(number: number) {
  return { name: `node-${number}`, publicIps: [parseIp(`192.168.64.${number}`)], subnets: [] };
}

function requestOf(number: number, previous: LeaseRequest["previous"] = []): LeaseRequest {
  const range = {
    network: parseCidr("10.5.0.0/16"),
    allocation: { length: 24, min: parseIp("10.5.1.0"), max: parseIp("10.5.255.0") },
  };
  return {
    network: { ranges: [range], backendType: "vxlan", backendOptions: {}, nftables: false },
    backendType: "vxlan",
    endpoints: [{ publicIp: nodeOf(number).publicIps[0]!, data: null }],
    previous,
  };
}

function soon(): AbortSignal {
  return AbortSignal.timeout(20_000);
}

/** Three agents with a lease each, and what each hears. */
async function threeAgents(backing: EmbeddedBacking, use: (agents: Agent[]) => Promise<void>): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const agents: Agent[] = [];
  for (const number of [1, 2, 3]) {
    const store = stack.use(await backing.open(nodeOf(number)));
    const lease = await store.acquire(requestOf(number), soon());
    agents.push({ store, lease, followed: stack.use(followLeases(store)) });
  }
  for (const { followed } of agents) await followed.until("all leases", ({ leases }) => leases.size === 3);
  await use(agents);
}

type Agent = {
  readonly store: Awaited<ReturnType<EmbeddedBacking["open"]>>;
  readonly lease: Lease;
  readonly followed: ReturnType<typeof followLeases>;
};

/** Whether a watch has told at any time that a lease is gone, since it had told of all. */
function wasMissed({ followed }: Agent, { key }: Lease): boolean {
  const full = followed.events.findIndex((_, i) => keysAfter(followed.events.slice(0, i + 1)).size === 3);
  return followed.events.some((_, i) => i > full && !keysAfter(followed.events.slice(0, i + 1)).has(key));
}

function keysAfter(events: Agent["followed"]["events"]): Set<string> {
  let keys = new Set<string>();
  for (const event of events) {
    if (event.type === "snapshot") keys = new Set(event.records.map(({ key }) => key));
    else {
      event.changed.forEach(({ key }) => keys.add(key));
      event.removed.forEach((key) => keys.delete(key));
    }
  }
  return keys;
}

const WAYS: readonly (readonly [what: string, spoil: (backing: EmbeddedBacking) => void])[] = [
  ["deleted", ({ path }) => rmSync(path)],
  ["deleted with its folder", ({ folder }) => rmSync(folder, { recursive: true })],
  ["moved away", ({ path }) => renameSync(path, `${path}.old`)],
  ["replaced by an empty one", ({ path }) => (writeFileSync(`${path}.new`, ""), renameSync(`${path}.new`, path))],
];

for (const [what, spoil] of WAYS) {
  test(
    `a file that is ${what} while agents use it is written anew, is told, and nobody's lease is missed`,
    { timeout: 60_000 },
    async () => {
      await using backing = new EmbeddedBacking();
      await threeAgents(backing, async (agents) => {
        spoil(backing);
        for (const { followed } of agents) {
          await followed.until("a new snapshot", ({ events }) => events.filter(({ type }) => type === "snapshot").length === 2);
        }
        for (const agent of agents) {
          assert.ok(agents.every(({ lease }) => !wasMissed(agent, lease)), JSON.stringify(agent.followed.events));
          const { connected, lastError } = agent.store.health();
          assert.equal(connected, true);
          assert.match(lastError!, /^The lease database ".*leases\.db" was deleted or replaced at \d{4}-/);
          assert.equal((await agent.store.renew(agent.lease, soon())).key, agent.lease.key);
        }
      });
    },
  );
}

test(
  "a lease whose subnet is another node's in the file that took the place is lost, and that is told",
  { timeout: 60_000 },
  async () => {
    await using backing = new EmbeddedBacking();
    await using other = new EmbeddedBacking();
    await threeAgents(backing, async (agents) => {
      const [{ store, lease }] = agents as [Agent];
      {
        await using thief = await other.open(nodeOf(9));
        await thief.acquire(requestOf(9, lease.endpoints.map(({ subnet }) => subnet)), soon());
      }
      renameSync(other.path, backing.path);
      for (const { followed } of agents) {
        const isThere = (it: typeof followed) => it.leases.get(lease.key)?.endpoints[0]?.publicIp === nodeOf(9).publicIps[0];
        await followed.until("the other node's lease", isThere as (it: unknown) => boolean);
        assert.equal(followed.leases.size, 3);
      }
      await assert.rejects(store.renew(lease, soon()), { name: "LeaseLostError" });
      const again = await store.acquire(requestOf(1, lease.endpoints.map(({ subnet }) => subnet)), soon());
      assert.notEqual(again.key, lease.key);
    });
  },
);

test(
  "a file that is replaced by one that can not be read takes no lease away, and is waited for",
  { timeout: 60_000 },
  async () => {
    await using backing = new EmbeddedBacking();
    await threeAgents(backing, async (agents) => {
      renameSync(backing.path, `${backing.path}.old`);
      writeFileSync(`${backing.path}.new`, "these are no leases\n".repeat(100));
      renameSync(`${backing.path}.new`, backing.path);
      await new Promise((resolve) => setTimeout(resolve, 3000));
      renameSync(`${backing.path}.old`, backing.path);
      for (const agent of agents) {
        await agent.store.renew(agent.lease, soon());
        assert.equal(agent.followed.leases.size, 3);
        assert.ok(agents.every(({ lease }) => !wasMissed(agent, lease)), JSON.stringify(agent.followed.events));
      }
    });
  },
);
