/**
 * The CNI plugin as a process, with delegates that fail in every way: an error object comes within the time limit, and no process, state
 * or half-written file stays.
 *
 * @module
 */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { labTest } from "../lab/case.ts";
import { attempt, until } from "../lab/command.ts";
import { insideLab } from "../lab/enter.ts";
import { build } from "../../scripts/build.mjs";

const PLUGIN = "/run/plugin";
if (insideLab()) build(resolve(import.meta.dirname!, "cni_entry.ts"), PLUGIN);
const SUBNET_ENV = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n";
/** For delegates that hang; all others get more than they need, however busy the machine is. */
const SHORT_MS = 1000;

/** A folder with subnet.env and a delegate. */
class Bed implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "weft-cni-"));

  /** @param script What the delegate does on ADD; on other commands it succeeds. */
  constructor(script: string) {
    mkdirSync(join(this.dir, "bin"));
    writeFileSync(join(this.dir, "subnet.env"), SUBNET_ENV);
    this.delegate(`[ "$CNI_COMMAND" = ADD ] || exec cat >/dev/null\n${script}`);
  }

  delegate(script: string): void {
    rmSync(join(this.dir, "bin/bridge"), { force: true });
    writeFileSync(join(this.dir, "bin/bridge"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  }

  async run(command: string, input: string | object = {}, limitMs = 60_000) {
    const conf = {
      cniVersion: "1.0.0",
      name: "n",
      type: "flannel",
      subnetFile: join(this.dir, "subnet.env"),
      dataDir: join(this.dir, "s"),
    };
    const env = {
      CNI_COMMAND: command,
      CNI_CONTAINERID: "c1",
      CNI_NETNS: "/run/netns/c1",
      CNI_IFNAME: "eth0",
      CNI_PATH: join(this.dir, "bin"),
      CNI_TEST_LIMIT_MS: String(limitMs),
      MARK: this.dir,
    };
    const began = performance.now();
    const outcome = await attempt([PLUGIN], {
      env,
      input: typeof input === "string" ? input : JSON.stringify({ ...conf, ...input }),
    });
    return { ...outcome, json: outcome.stdout === "" ? null : JSON.parse(outcome.stdout), took: performance.now() - began };
  }

  files(): string[] {
    return existsSync(join(this.dir, "s")) ? readdirSync(join(this.dir, "s")) : [];
  }

  /** Command lines of processes that the plugin or its delegate left. */
  processes(): string[] {
    return readdirSync("/proc").filter((name) => /^\d+$/.test(name)).flatMap((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(`MARK=${this.dir}`)) return [];
        return [readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ")];
      } catch {
        return []; // it has just ended
      }
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

const FAILURES: readonly (readonly [what: string, script: string, code: number])[] = [
  ["fails with an error object", `echo '{"code":77,"msg":"no"}'; exit 1`, 77],
  ["fails with text on both streams", "echo out; echo err >&2; exit 3", 100],
  ["dies of a signal", "kill -9 $$", 100],
  ["prints nothing", "cat >/dev/null", 6],
  ["prints no JSON", "echo hello", 6],
  ["prints half a result", `printf '{"cniVersion":"1.0.0","ips":['`, 6],
  ["prints without end", "yes", 6],
  ["writes errors without end", "yes >&2", 6],
  ["hangs", "sleep 1000", 11],
  ["hangs without its streams", "exec >/dev/null 2>&1 </dev/null; sleep 1000", 11],
  ["leaves a child that holds its streams", "trap '' HUP; sleep 1000 & exit 0", 11],
  ["ignores every signal that it can", "trap '' TERM INT HUP; while :; do sleep 1; done", 11],
];

for (const [what, script, expected] of FAILURES) {
  labTest(`ADD with a delegate that ${what} gives an error object and leaves nothing`, async () => {
    using bed = new Bed(script);
    const { code, json, took } = await bed.run("ADD", {}, expected === 11 ? SHORT_MS : undefined);
    assert.deepEqual([code, json.code], [1, expected], JSON.stringify(json));
    assert.equal(typeof json.msg, "string");
    assert.ok(took < 10 * SHORT_MS, `${took} ms`);
    assert.deepEqual(bed.files(), []);
    await until("all processes have ended", () => bed.processes().length === 0, { state: () => bed.processes().join("\n") });
  });
}

labTest("a delegate that can not be executed gives an error object and leaves nothing", async () => {
  for (
    const [mode, text] of [[0o644, "#!/bin/sh\n"], [0o755, "#!/nowhere/interpreter\n"], [
      0o755,
      "\x7fELF of another machine",
    ]] as const
  ) {
    using bed = new Bed("");
    rmSync(join(bed.dir, "bin/bridge"));
    writeFileSync(join(bed.dir, "bin/bridge"), text, { mode });
    const { code, json } = await bed.run("ADD");
    assert.deepEqual([code, json.code], [1, 5], JSON.stringify(json));
    assert.match(json.msg, /cannot start ".*bin\/bridge"/);
    assert.deepEqual(bed.files(), []);
  }
});

labTest("a delegate that fails even to undo leaves what a later DEL needs, and that one cleans up", async () => {
  for (const script of ["exit 1", "sleep 1000"]) {
    using bed = new Bed("");
    bed.delegate(script);
    assert.equal((await bed.run("ADD", {}, SHORT_MS)).code, 1);
    assert.deepEqual(bed.files().sort(), ["c1", "c1:eth0"]);
    assert.equal((await bed.run("DEL", {}, SHORT_MS)).code, 1);
    bed.delegate(`cat >"${bed.dir}/seen"`);
    assert.equal((await bed.run("DEL")).code, 0);
    assert.equal(JSON.parse(readFileSync(join(bed.dir, "seen"), "utf8")).mtu, 1472);
    assert.deepEqual([bed.files(), bed.processes()], [[], []]);
  }
});

labTest("a delegate need not read what it is given, however much that is", async () => {
  using bed = new Bed(`echo '{"cniVersion":"1.0.0","ips":[]}'`);
  const { code, json } = await bed.run("ADD", { delegate: { filler: "x".repeat(1 << 20) } });
  assert.deepEqual([code, json], [0, { cniVersion: "1.0.0", ips: [] }]);
});

labTest("a delegate gets all of a large configuration, and its large result comes back whole", async () => {
  using bed = new Bed(
    `cat >"$MARK/seen"; printf '{"cniVersion":"1.0.0","filler":"%s"}' "$(head -c 1000000 /dev/zero | tr '\\0' x)"`,
  );
  const { code, json } = await bed.run("ADD", { delegate: { filler: "x".repeat(1 << 20) } });
  assert.deepEqual([code, json.filler?.length], [0, 1_000_000], JSON.stringify(json).slice(0, 500));
  assert.equal(JSON.parse(readFileSync(join(bed.dir, "seen"), "utf8")).filler.length, 1 << 20);
});

labTest("standard output holds nothing but JSON, whatever is on standard input or in subnet.env", async () => {
  using bed = new Bed("exit 1");
  for (const input of ["", "{", "[]", "null", "\0\xff", '{"name":"n"', '{"name":"n","cniVersion":"7"}', "x".repeat(100_000)]) {
    for (const command of ["ADD", "DEL", "CHECK", "GC", "STATUS", "add", ""]) {
      const { code, json } = await bed.run(command, input);
      assert.deepEqual([code, typeof json.code, typeof json.msg], [1, "number", "string"], `${command} ${input.slice(0, 20)}`);
    }
  }
  for (let length = 0; length < SUBNET_ENV.length; length += 7) {
    writeFileSync(join(bed.dir, "subnet.env"), SUBNET_ENV.slice(0, length));
    assert.equal((await bed.run("ADD")).json.code, 11, SUBNET_ENV.slice(0, length));
  }
  assert.deepEqual(bed.files(), []);
});
