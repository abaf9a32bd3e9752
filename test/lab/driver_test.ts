/**
 * A machine without libnl: the executable brings its own, also where nothing can be written; from source the remedy is named.
 *
 * @module
 */

import assert from "node:assert/strict";
import { realpathSync, writeFileSync } from "node:fs";
import { findLibrary, LIBNL } from "../../scripts/needs.mjs";
import { labTest } from "./case.ts";
import { attempt, run } from "./command.ts";
import { agentCommand } from "./paths.ts";

const SUBNET_ENV = "/run/bare-subnet.env";

/** Runs a program where libnl is an empty file and the folder for temporary files can not be written. */
async function withoutLibnl(argv: readonly string[]) {
  const hide =
    'mount --bind /dev/null "$1" && mkdir -p /run/sealed && mount -t tmpfs -o ro,noexec tmpfs /run/sealed && shift && exec "$@"';
  return await attempt(["unshare", "--mount", "sh", "-c", hide, "sh", realpathSync(findLibrary(LIBNL)!), ...argv], {
    env: { TMPDIR: "/run/sealed", BUN_TMPDIR: "/run/sealed" },
  });
}

labTest("the executable speaks netlink without the machine's libnl, with a read-only folder for temporary files", async () => {
  writeFileSync(
    SUBNET_ENV,
    "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n",
  );
  await run(["ip", "-batch", "-"], {
    input: [
      "link add m0 type veth peer name m1",
      "addr add 192.0.2.1/24 dev m0",
      "link set m0 up",
      "route add 10.244.2.0/24 via 192.0.2.2 proto 87",
    ].join("\n"),
  });
  const argv = [...agentCommand("binary"), "cleanup", "--subnet-file", SUBNET_ENV];
  const { code, stdout, stderr } = await withoutLibnl(argv);
  assert.equal(code, 0, stderr + stdout);
  assert.match(stdout, /route 10\.244\.2\.0\/24/);
  assert.equal(await run(["ip", "route", "show", "proto", "87"]), "");
});

for (const runtime of ["bun", "deno"]) {
  labTest(`from source on ${runtime}, a missing libnl is one line with the remedy`, async () => {
    const { code, stdout, stderr } = await withoutLibnl([...agentCommand(runtime), "cleanup", "--subnet-file", SUBNET_ENV]);
    assert.notEqual(code, 0);
    const said = (stdout + stderr).trim();
    assert.match(said, /Cannot load libnl-3\.so\.200: install libnl 3 \(Debian, Ubuntu: apt-get install libnl-3-200;/);
    assert.doesNotMatch(said, /\n\s+at /, "a stack trace");
  });
}
