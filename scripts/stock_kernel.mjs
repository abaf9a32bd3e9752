/**
 * A stock kernel for tests, in an emulated machine that sees this one's files: where the tool is, and what it lacks.
 *
 * The tool is no part of the project: it is looked for beside it, and what needs it is skipped where it is not.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { find, ROOT } from "./needs.mjs";

/** Boots a kernel and runs a script on it. */
export const EMULATOR = join(ROOT, "../shared/tools/vm/vm.sh");

/** What the tool needs. */
const ROWS = [
  { command: "qemu-system-x86_64", apt: "qemu-system-x86" },
  { command: "busybox", apt: "busybox-static" },
  { command: "cpio", apt: "cpio" },
  { command: "modprobe", apt: "kmod" },
];
/** Where the tool keeps kernels; it downloads one at the first use, which a test without network can not. */
const KERNELS = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "vm-kernels");

/** Why no stock kernel can be booted; `null` if one can. */
export function lackOfStockKernel() {
  if (!existsSync(EMULATOR)) return "needs a stock kernel, and the tool that boots one is not beside the checkout";
  if (process.getuid() !== 0) return "needs a stock kernel, which sees the files of root only if root boots it";
  const missing = ROWS.filter((row) => find(row) === null);
  if (missing.length > 0) {
    return `needs a stock kernel, and to boot one: apt-get install ${missing.map(({ apt }) => apt).join(" ")}`;
  }
  const kernels = existsSync(KERNELS) ? readdirSync(KERNELS).filter((name) => !name.endsWith(".part")) : [];
  return kernels.length === 0 ? `needs a stock kernel in "${KERNELS}": ${EMULATOR} brings it` : null;
}

/** Brings a kernel where all else is there. */
export function bringStockKernel(bring) {
  if (!existsSync(EMULATOR) || process.getuid() !== 0 || process.arch !== "x64") return;
  const missing = ROWS.filter((row) => find(row) === null);
  if (missing.length > 0) bring(missing);
  if (lackOfStockKernel() === null) return;
  console.log("setup: bringing a stock kernel for tests");
  const folder = mkdtempSync(join(tmpdir(), "stock-kernel-"));
  writeFileSync(join(folder, "script"), "true\n");
  spawnSync("bash", [EMULATOR, join(folder, "script")], { stdio: "ignore", timeout: 300_000 });
  rmSync(folder, { recursive: true });
}
