/**
 * Control groups with the limits of the walk-through's DaemonSet.
 *
 * @module
 */

import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";

const ROOT = "/sys/fs/cgroup";
/** 50Mi and 100m, as the DaemonSet has them. */
const MEMORY = 50 * 1024 * 1024;
const CPU = { quota: 10_000, period: 100_000 };

/** What the image sets in the environment. */
export const LIMITED_ENV = { BUN_JSC_forceRAMSize: "52428800" };

/** A group of processes that share the limits. */
export class LimitedGroup implements Disposable {
  /** Command line that enters the group and becomes what follows it. */
  readonly enter: readonly string[];
  readonly #unified = existsSync(`${ROOT}/cgroup.controllers`);
  readonly #folders: readonly string[];

  /** @throws {Error} If this user may not make groups, or the machine has none. */
  constructor() {
    const name = `weft-bench-${Date.now()}`; // process ids are the lab's own
    this.#folders = this.#unified ? [`${ROOT}/${name}`] : [`${ROOT}/memory/${name}`, `${ROOT}/cpu/${name}`];
    const [memory, cpu] = [this.#folders[0]!, this.#folders.at(-1)!];
    this.#folders.forEach((folder) => mkdirSync(folder));
    if (this.#unified) {
      writeFileSync(`${memory}/memory.max`, String(MEMORY));
      writeFileSync(`${cpu}/cpu.max`, `${CPU.quota} ${CPU.period}`);
    } else {
      writeFileSync(`${memory}/memory.limit_in_bytes`, String(MEMORY));
      writeFileSync(`${cpu}/cpu.cfs_period_us`, String(CPU.period));
      writeFileSync(`${cpu}/cpu.cfs_quota_us`, String(CPU.quota));
    }
    const moves = this.#folders.map((folder) => `echo $$ > ${folder}/cgroup.procs`).join(" && ");
    this.enter = ["sh", "-c", `${moves} && exec "$@"`, "sh"];
  }

  /** The most memory that the group ever held, files and the kernel's own included, in MiB; and what it holds now without files. */
  memory(): { readonly peakMiB: number; readonly withoutFilesMiB: number } {
    const [folder] = this.#folders as [string];
    const read = (file: string) => readFileSync(`${folder}/${file}`, "utf8");
    const files = Number(/^(?:total_cache|file) (\d+)$/m.exec(read("memory.stat"))?.[1] ?? 0);
    const now = Number(read(this.#unified ? "memory.current" : "memory.usage_in_bytes"));
    const peak = Number(read(this.#unified ? "memory.peak" : "memory.max_usage_in_bytes"));
    return { peakMiB: peak / 2 ** 20, withoutFilesMiB: (now - files) / 2 ** 20 };
  }

  /** Removes the group, once nothing runs in it. */
  [Symbol.dispose](): void {
    this.#folders.forEach((folder) => rmdirSync(folder));
  }
}
