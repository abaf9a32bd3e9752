/**
 * The extension backend: its formats, and its commands run by a real shell.
 *
 * @module
 */

import { test } from "node:test";
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { leaseDataOf, nodeSide, optionsOf } from "../test/contracts/backend.ts";
import type { EffectContext, EffectPeer, NodeSide } from "../src/mod.ts";
import { extension } from "./extension.ts";

type Data = string | null;
type Commands = Readonly<Record<string, string>>;

/** Time limits in seconds that a test can wait for. */
const SHORT = { start: 0.5, subnet: 0.5, shutdown: 0.5 };
const NODE = { name: "a1", sides: [nodeSide(4) as NodeSide<Data>, nodeSide(6) as NodeSide<Data>] };

/** A folder of its own, what was logged, and backends that share both, as agents do that run one after the other. */
class Bench implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "weft-extension-"));
  readonly logged: string[] = [];
  readonly context: EffectContext = {
    signal: new AbortController().signal,
    log: (level, message) => level !== "debug" && this.logged.push(`${level} ${message}`),
  };

  backend(commands: Commands, limits?: typeof SHORT) {
    const backend = extension(() => join(this.dir, "run", "added.json"), limits);
    const options = optionsOf(backend, { Type: "extension", ...commands });
    const { start, ready, peers, stop } = backend.effects!;
    let all = new Map<string, EffectPeer<Data>>();
    return {
      start: () => start!(this.context, NODE, options),
      ready: (sides = NODE.sides) => ready!(this.context, { ...NODE, sides }, options),
      stop: () => stop!(this.context, NODE, options),
      /** Makes these all the peers there are; tells of `put`, by default all of them. */
      peers: async (now: readonly EffectPeer<Data>[], put = now) => {
        const drop = [...all.values()].filter(({ key }) => !now.some((peer) => peer.key === key));
        all = new Map(now.map((peer) => [peer.key, peer]));
        const failures = await peers!(this.context, { put, drop, all }, NODE, options);
        return Object.fromEntries(failures as Map<string, string>);
      },
    };
  }

  /** The lines of a file that commands wrote. */
  lines(name: string): string[] {
    const path = join(this.dir, name);
    return existsSync(path) ? readFileSync(path, "utf8").split("\n").slice(0, -1).sort() : [];
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true });
  }
}

function peer(n: number, data: Data = null, publicIp = `192.0.2.${n}`): EffectPeer<Data> {
  return { key: `10.244.${n}.0-24`, sides: [{ subnet: `10.244.${n}.0/24`, publicIp, data }] } as unknown as EffectPeer<Data>;
}

test("extension reads its options as flannel does, and refuses what is no command", () => {
  const backend = extension();
  const options = optionsOf(backend, { type: "extension", subnetaddcommand: "true", Unknown: 1 });
  assert.deepEqual(options, {
    PreStartupCommand: "",
    PostStartupCommand: "",
    ShutdownCommand: "",
    SubnetAddCommand: "true",
    SubnetRemoveCommand: "",
  });
  for (const wrong of [1, ["true"], {}, "a\0b"]) {
    assert.throws(() => optionsOf(backend, { PreStartupCommand: wrong }), /PreStartupCommand: expected a command for sh/);
  }
});

test("extension takes a string or nothing from others, without control characters", () => {
  const backend = extension();
  for (const good of ["", "02:00:00:00:00:02", "two\nlines\tand a tab", "$(id); `id`", "é"]) {
    assert.deepEqual(leaseDataOf(backend, good), { value: good });
  }
  assert.deepEqual([leaseDataOf(backend, null), leaseDataOf(backend, undefined)], [{ value: null }, { value: null }]);
  for (const bad of [1, {}, [], true, "a\0b", "\x1b[2J", "a\rb", "\x9b", "x".repeat(16_385)]) {
    assert.ok("issue" in leaseDataOf(backend, bad), JSON.stringify(bad));
  }
});

test("extension publishes what PreStartupCommand prints, and nothing without it", async () => {
  using bench = new Bench();
  const said = await bench.backend({ PreStartupCommand: "cat; echo; echo ' 02:00:00:00:00:01'; echo noise >&2" }).start();
  assert.equal(said, "02:00:00:00:00:01");
  assert.equal(await bench.backend({}).start(), null);
  const backend = extension();
  assert.equal(backend.publish({ ...nodeSide(4), state: "x" }, optionsOf(backend, {})), "x");
  const refused = [
    ["echo no luck >&2; exit 3", /^PreStartupCommand: exit code 3: no luck$/],
    ["printf 'a\\0b'", /can not be published: it has control characters/],
    ["head -c 20000 /dev/zero | tr '\\0' x", /can not be published: it is longer than 16384 characters/],
    ["no-such-program", /exit code 127: .*no-such-program/],
    ["kill -TERM $$", /ended by SIGTERM/],
  ] as const;
  for (const [command, message] of refused) {
    await assert.rejects(bench.backend({ PreStartupCommand: command }).start(), { message }, command);
  }
  const hung = bench.backend({ PreStartupCommand: "sleep 60" }, SHORT).start();
  await assert.rejects(hung, { message: "PreStartupCommand: killed after 0.5 s" });
});

test("extension tells PostStartupCommand of this node, and waits for nothing that a command leaves in the background", async () => {
  using bench = new Bench();
  const out = join(bench.dir, "out");
  const show = `echo "$NETWORK $SUBNET $PUBLIC_IP $IPV6SUBNET $PUBLIC_IPV6" >${out}; sleep 3 &`;
  const begin = performance.now();
  await bench.backend({ PostStartupCommand: show }).ready();
  assert.ok(performance.now() - begin < 2000);
  assert.deepEqual(bench.lines("out"), ["10.244.0.0/16 10.244.1.0/24 192.0.2.1 fd00:10:244:1::/64 2001:db8::1"]);
  await bench.backend({ ShutdownCommand: `echo bye >${out}` }).stop();
  assert.deepEqual(bench.lines("out"), ["bye"]);
});

test("extension runs start-up commands once, and the later one again for another address, after which peers are added again", async () => {
  using bench = new Bench();
  const note = (what: string) => `echo ${what} >>${bench.dir}/out`;
  const backend = bench.backend({
    PreStartupCommand: note("pre"),
    PostStartupCommand: note("post"),
    SubnetAddCommand: note("add"),
  });
  const [v4, v6] = NODE.sides as [NodeSide<Data>, NodeSide<Data>];
  for (let i = 0; i < 2; i++) {
    await backend.start();
    await backend.ready([{ ...v4, segments: ["eth0", `eth${i}`] }, v6]);
    await backend.peers([peer(2)]);
  }
  assert.deepEqual(bench.lines("out"), ["add", "post", "pre"]);
  await backend.ready([{ ...v4, publicIp: v4.subnet.split("/")[0] as typeof v4.publicIp }, v6]);
  await backend.peers([peer(2)]);
  assert.deepEqual(bench.lines("out"), ["add", "add", "post", "post", "pre"]);
});

test("what other nodes publish reaches commands on standard input and in variables only", async () => {
  using bench = new Bench();
  const out = join(bench.dir, "out");
  const show = (verb: string) => `read -r LINE; echo "${verb} $SUBNET $PUBLIC_IP $IPV6SUBNET $LINE" >>${out}`;
  const backend = bench.backend({ SubnetAddCommand: show("add"), SubnetRemoveCommand: show("remove") });
  const hostile = `$(touch ${bench.dir}/pwned) ; touch ${bench.dir}/pwned #\`touch ${bench.dir}/pwned\``;
  const both = {
    key: "10.244.4.0-24&fd00:4::-64",
    sides: [...peer(4, "four").sides, { subnet: "fd00:4::/64", publicIp: "2001:db8::4", data: "six" }],
  } as unknown as EffectPeer<Data>;
  assert.deepEqual(await backend.peers([peer(2, hostile), peer(3), both]), {});
  assert.deepEqual(await backend.peers([]), {});
  assert.ok(!existsSync(join(bench.dir, "pwned")));
  const said = ["10.244.2.0/24 192.0.2.2  " + hostile, "10.244.3.0/24 192.0.2.3  ", "10.244.4.0/24 192.0.2.4 fd00:4::/64 four"];
  assert.deepEqual(bench.lines("out"), [...said.map((it) => `add ${it}`), ...said.map((it) => `remove ${it}`)]);
});

test("a command that hangs is killed with what it started, fails for its peer only, and holds nobody up", async () => {
  using bench = new Bench();
  const out = join(bench.dir, "out");
  const hang = `sh -c 'echo $$ >>${bench.dir}/pids; sleep 60' & wait`;
  const command = `case $SUBNET in 10.244.?.0/24) ${hang};; *) echo "$SUBNET" >>${out};; esac`;
  const backend = bench.backend({ SubnetAddCommand: command }, SHORT);
  const begin = performance.now();
  const failures = await backend.peers([2, 3, 4, 5, 6, 20, 21].map((n) => peer(n)));
  assert.ok(performance.now() - begin < 3000);
  assert.deepEqual(Object.keys(failures).sort(), [2, 3, 4, 5, 6].map((n) => `10.244.${n}.0-24`));
  assert.equal(failures["10.244.2.0-24"], "SubnetAddCommand: killed after 0.5 s");
  assert.deepEqual(bench.lines("out"), ["10.244.20.0/24", "10.244.21.0/24"]);
  const pids = bench.lines("pids");
  assert.equal(pids.length, 5);
  assert.deepEqual(pids.filter((pid) => isAlive(pid)), []);
});

/** Whether a process runs; one that nobody has waited for yet does not. */
function isAlive(pid: string): boolean {
  const path = `/proc/${pid}/stat`;
  return existsSync(path) && !/\) Z /.test(readFileSync(path, "utf8"));
}

/** Commands that fail as `ip route add` and `ip route del` do: the first if the subnet is there, the other if it is not. */
function tableIn(dir: string): Commands {
  const file = `${dir}/routes/$(echo "$SUBNET" | tr / -)`;
  return {
    SubnetAddCommand: `mkdir -p ${dir}/routes; if [ -e ${file} ]; then echo File exists >&2; exit 2; fi; echo $PUBLIC_IP >${file}`,
    SubnetRemoveCommand: `rm ${file}`,
  };
}

test("extension removes what led to a peer before it adds it elsewhere, and what leads to one that is gone", async () => {
  using bench = new Bench();
  const backend = bench.backend(tableIn(bench.dir));
  assert.deepEqual(await backend.peers([peer(2), peer(3)]), {});
  assert.deepEqual(await backend.peers([peer(2, null, "192.0.2.77")]), {});
  assert.deepEqual(bench.lines("routes/10.244.2.0-24"), ["192.0.2.77"]);
  assert.deepEqual(bench.lines("routes/10.244.3.0-24"), []);
  assert.deepEqual(bench.logged, []);
});

test("extension adds again what failed, after the remove command has taken away what was in its way", async () => {
  using bench = new Bench();
  const commands = tableIn(bench.dir);
  await bench.backend(commands).peers([peer(2, null, "192.0.2.99")]);
  rmSync(join(bench.dir, "run"), { recursive: true }); // nobody knows who did that
  const backend = bench.backend(commands);
  assert.deepEqual(await backend.peers([peer(2)]), { "10.244.2.0-24": "SubnetAddCommand: exit code 2: File exists" });
  assert.deepEqual(bench.lines("routes/10.244.2.0-24"), ["192.0.2.99"]);
  assert.deepEqual(await backend.peers([peer(2)]), {});
  assert.deepEqual(bench.lines("routes/10.244.2.0-24"), ["192.0.2.2"]);
});

test("extension remembers over a restart: what is there stays, and what is gone is removed", async () => {
  using bench = new Bench();
  const commands = tableIn(bench.dir);
  await bench.backend(commands).peers([peer(2), peer(3)]);
  assert.deepEqual(await bench.backend(commands).peers([peer(2)]), {});
  assert.deepEqual(bench.lines("routes/10.244.2.0-24"), ["192.0.2.2"]);
  assert.deepEqual(bench.lines("routes/10.244.3.0-24"), []);
  const [line, ...rest] = bench.logged;
  assert.match(line!, /^warning 10\.244\.2\.0-24 was added before, and stays: SubnetAddCommand: exit code 2: File exists$/);
  assert.deepEqual(rest, []);
  rmSync(join(bench.dir, "routes"), { recursive: true });
  assert.deepEqual(await bench.backend(commands).peers([peer(2)]), {}); // what was lost meanwhile is added again
  assert.deepEqual(bench.lines("routes/10.244.2.0-24"), ["192.0.2.2"]);
});

test("a remove command that fails is logged, and the peer forgotten", async () => {
  using bench = new Bench();
  const backend = bench.backend({ SubnetAddCommand: "true", SubnetRemoveCommand: "echo gone already >&2; false" });
  await backend.peers([peer(2)]);
  assert.deepEqual(await backend.peers([]), {});
  assert.deepEqual(await backend.peers([]), {});
  assert.deepEqual(bench.logged, ["warning 10.244.2.0-24: SubnetRemoveCommand: exit code 1: gone already"]);
});

test("an output of others' words is shown on one line, without control characters", async () => {
  using bench = new Bench();
  const backend = bench.backend({ SubnetAddCommand: "cat >&2; printf '\\033[31m' >&2; false" });
  const failures = await backend.peers([peer(2, `first\n${"x".repeat(1000)}`)]);
  assert.match(failures["10.244.2.0-24"]!, /^SubnetAddCommand: exit code 1: x{290,} \[31m$/);
});
