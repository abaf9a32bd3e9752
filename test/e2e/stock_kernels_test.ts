/**
 * Tests of devices that many machines' kernels lack, on a stock kernel of Debian's in an emulated machine.
 *
 * The emulated machine sees this one's files, so it runs the same tests with the same agent; what they change there is lost at its end.
 *
 * @module
 */

import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ROOT } from "../../scripts/needs.mjs";
import { EMULATOR, lackOfStockKernel } from "../../scripts/stock_kernel.mjs";
import { lacks } from "../lab/case.ts";
import { attempt } from "../lab/command.ts";
import { insideLab } from "../lab/enter.ts";

const TESTS = ["kernel_tunnels", "tunnels"].map((name) => `test/lab/${name}_test.ts`);
const MODULES = ["vxlan", "bridge", "veth", "ipip", "wireguard"];
/** The test that only a kernel without the devices can make. */
const POINTLESS = "a kernel without the devices leaves the agent alive, and status says what to load";
/** For the whole run, in seconds; it took three minutes on two processors that were busy with more. */
const LIMIT = 600;

async function reasonToSkip(): Promise<string | false> {
  if (!insideLab()) return "needs the lab: bun test/lab/run.ts FILE";
  const here = await lacks(["ip", "link", "add", "type", "wireguard"], [
    "ip",
    "link",
    "add",
    "x",
    "type",
    "ipip",
    "local",
    "127.0.0.1",
  ]);
  return here === null ? "this machine's own kernel has ipip and wireguard" : lackOfStockKernel() ?? false;
}

test("ipip and wireguard on a stock kernel", { skip: await reasonToSkip(), timeout: LIMIT * 1000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "stock-kernel-"));
  const script = join(folder, "script");
  writeFileSync(
    script,
    [
      `modprobe -a ${MODULES.join(" ")}`,
      `cd ${JSON.stringify(ROOT)}`,
      "export WEFT_LAB_PATIENCE=10 NO_COLOR=1",
      `exec node_modules/.bin/bun test/lab/run.ts ${TESTS.join(" ")}`,
    ].join("\n"),
  );
  try {
    const { code, stdout, stderr } = await attempt(["bash", EMULATOR, "-t", String(LIMIT), script], { timeout: LIMIT * 1000 });
    assert.equal(code, 0, `${stdout}${stderr}`.slice(-8000));
    assert.equal(stdout.match(/^ *0 fail$/gm)?.length, TESTS.length, stdout);
    assert.deepEqual(stdout.match(/^\(skip\).*$/gm), [`(skip) ${POINTLESS}`]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
