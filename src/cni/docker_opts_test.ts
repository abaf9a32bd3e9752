import assert from "node:assert/strict";
import * as fs from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { dockerOpts } from "./docker_opts.ts";

const SAMPLE = "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.74.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n";
const EACH = 'DOCKER_OPT_BIP="--bip=10.1.74.1/24"\nDOCKER_OPT_IPMASQ="--ip-masq=true"\nDOCKER_OPT_MTU="--mtu=1472"\n';
const ALL = '" --bip=10.1.74.1/24 --ip-masq=true --mtu=1472"\n';

interface Run {
  readonly file?: string | null;
  readonly env?: Readonly<Record<string, string>>;
  readonly routes?: string;
}

async function run(args: readonly string[], { file = SAMPLE, env = {}, routes = "" }: Run = {}) {
  const dir = fs.mkdtempSync(join(tmpdir(), "weft-docker-"));
  const [from, to] = [join(dir, "subnet.env"), join(dir, "docker_opts.env")];
  let [stdout, stderr] = ["", ""];
  try {
    if (file !== null) fs.writeFileSync(from, file);
    fs.writeFileSync(to, "from before\n");
    const code = await dockerOpts(args.map((arg) => arg.replace("@from", from).replace("@to", to)), {
      env,
      stdout: (text) => void (stdout += text),
      stderr: (text) => void (stderr += text),
      spawn: ({ argv }) => {
        assert.deepEqual(argv, ["ip", "route", "show"]);
        return Promise.resolve({ code: 0, stdout: routes, stderr: "", exceeded: null });
      },
    });
    return { code, stdout, stderr, written: fs.readFileSync(to, "utf8") };
  } finally {
    fs.rmSync(dir, { recursive: true });
  }
}

for (
  const [args, expected] of [
    [[], `${EACH}DOCKER_OPTS=${ALL}`],
    [["-i"], EACH],
    [["-c"], `DOCKER_OPTS=${ALL}`],
    [["-ic"], `${EACH}DOCKER_OPTS=${ALL}`],
    [["-k", "CUSTOM_KEY"], `${EACH}CUSTOM_KEY=${ALL}`],
    [["-ckCUSTOM_KEY"], `CUSTOM_KEY=${ALL}`],
    [["-m"], `${EACH}DOCKER_OPTS=${ALL}`.replace('DOCKER_OPT_IPMASQ="--ip-masq=true"\n', "").replace(" --ip-masq=true", "")],
    [["-c", "--", "-x"], `DOCKER_OPTS=${ALL}`],
  ] as const
) {
  test(`docker-opts ${args.join(" ")} writes what flannel's script writes`, async () => {
    const { code, stdout, stderr, written } = await run(["-f", "@from", "-d@to", ...args]);
    assert.deepEqual([code, stdout, stderr, written], [0, "", "", expected]);
  });
}

test("docker-opts turns Docker's masquerading off where the agent masquerades", async () => {
  const { written } = await run(["-f", "@from", "-d", "@to", "-c"], { file: SAMPLE.replace("false", "true") });
  assert.equal(written, 'DOCKER_OPTS=" --bip=10.1.74.1/24 --ip-masq=false --mtu=1472"\n');
});

test("docker-opts adds variables of the environment, and what the combined one held", async () => {
  const env = { DOCKER_OPT_ZZ: " --log  driver=none ", DOCKER_OPTS: "--debug", OTHER: "x", DOCKER_OPT_MTU: "--mtu=1" };
  const { written } = await run(["-f", "@from", "-d", "@to"], { env, file: "FLANNEL_MTU=1472\n" });
  assert.equal(
    written,
    'DOCKER_OPT_MTU="--mtu=1472"\nDOCKER_OPT_ZZ="--log driver=none"\nDOCKER_OPTS="--debug  --mtu=1472 --log driver=none"\n',
  );
});

test("docker-opts reads a file as a shell would, but runs nothing", async () => {
  const file =
    "# comment\n\nexport FLANNEL_SUBNET=\"10.1.74.1/24\"\n FLANNEL_MTU='1472'\nFLANNEL_IPMASQ=false\ntouch /x; rm -r /y\n";
  assert.equal((await run(["-f", "@from", "-d", "@to", "-i"], { file })).written, EACH);
});

test("docker-opts writes no options where there is no file", async () => {
  const { code, written } = await run(["-f", "@from", "-d", "@to"], { file: null });
  assert.deepEqual([code, written], [0, 'DOCKER_OPTS=""\n']);
});

test("docker-opts complains of a route over a gateway to its subnet, after it has written", async () => {
  const routes = "default via 192.168.0.1 dev eth0\n10.1.74.0/24 via 192.168.0.9 dev eth0\n";
  const { code, stderr, written } = await run(["-f", "@from", "-d", "@to", "-c"], { routes });
  assert.deepEqual([code, written], [1, `DOCKER_OPTS=${ALL}`]);
  assert.match(stderr, /already contains the subnet: 10\.1\.74\.0\/24 via 192\.168\.0\.9/);
  const own = "10.1.74.0/24 dev docker0 proto kernel scope link src 10.1.74.1\n10.1.7.0/24 via 192.168.0.9 dev eth0\n";
  assert.equal((await run(["-f", "@from", "-d", "@to", "-c"], { routes: own })).code, 0);
});

for (
  const [args, file] of [
    [["-x"], SAMPLE],
    [["-h"], SAMPLE],
    [["-?"], SAMPLE],
    [["-k", "A B"], SAMPLE],
    [["-f"], SAMPLE],
    [[], SAMPLE.replace("false", "maybe")],
    [[], SAMPLE.replace("10.1.74.1/24", "10.1.74.1")],
  ] as const
) {
  test(`docker-opts ${args.join(" ")} with ${file === SAMPLE ? "a good file" : "a bad value"} says why and writes nothing`, async () => {
    const { code, stdout, stderr, written } = await run(["-f", "@from", "-d", "@to", ...args], { file });
    assert.deepEqual([code, stdout, written], [1, "", "from before\n"]);
    assert.match(
      stderr,
      args.length > 0 ? /^Usage: / : /^(Invalid value of FLANNEL_IPMASQ: "maybe"|"10\.1\.74\.1" is not an address prefix)/,
    );
  });
}

test("docker-opts --help prints its usage", async () => {
  const { code, stdout } = await run(["--help"]);
  assert.equal(code, 0);
  assert.match(stdout, /^Usage: docker-opts/);
});
