/**
 * Builds the servers that tests need and no package brings: `node scripts/programs.mjs`.
 *
 * Kubernetes and the etcd of today are built from their published Go modules by the shared tools beside the repository, once, into the
 * cache: five minutes on two cores. Needs Go, and the network, which there is none of in the lab.
 *
 * @module
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { CACHE, environment, ROOT } from "./needs.mjs";

const TOOLS = join(ROOT, "../shared/tools");
const MINUTE = 60_000;

/** By tool: what its build script is to build, and the files that come of it. */
const BUILDS = {
  kubernetes: ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"].map((name) => [name, name]),
  etcd: ["3.6", "3.7"].map((version) => [version, `etcd-${version}`]),
};

/** Where a built program is, whether it exists or not. */
export function programPath(tool, file) {
  return join(CACHE, "..", tool, file);
}

/**
 * Builds what is missing.
 *
 * @throws {Error} If it can not be built; the message says why.
 */
export function buildPrograms() {
  for (const [tool, list] of Object.entries(BUILDS)) {
    const missing = list.filter(([, file]) => !existsSync(programPath(tool, file)));
    if (missing.length > 0) build(tool, missing.map(([name]) => name));
  }
}

function build(tool, names) {
  const script = join(TOOLS, tool, "build.sh");
  const what = `Cannot build ${names.join(", ")}`;
  if (!existsSync(script)) throw new Error(`${what}: ${script} is missing`);
  if (spawnSync("go", ["version"]).status !== 0) throw new Error(`${what}: Go is missing`);
  const options = { env: environment(), encoding: "utf8", timeout: 15 * MINUTE, maxBuffer: 1 << 26 };
  const { status, stderr, error } = spawnSync("bash", [script, join(CACHE, "..", tool), ...names], options);
  if (status !== 0) throw new Error(`${what}: ${error?.message ?? stderr.slice(-1000)}`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    buildPrograms();
  } catch (error) {
    console.error(error.message);
    process.exit(1);
  }
}
