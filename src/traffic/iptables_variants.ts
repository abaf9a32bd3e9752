/**
 * The two sets of iptables rules of a kernel, and which of them to use.
 *
 * A kernel may hold rules of the old interface (legacy) and rules of nf_tables; packets meet both. Ours belong where kube-proxy's
 * are. Owns finding the programs and judging what they print; writes nothing.
 *
 * @module
 */

import type { Family } from "../model/ip.ts";
import type { Run } from "./command.ts";
import { CHAINS, hasChain } from "./iptables_text.ts";

/** One of the two sets of rules, and how the programs for it are called. */
export interface Variant {
  readonly name: "nft" | "legacy";
  /** What follows `iptables` in the names of its programs. */
  readonly suffix: string;
}

/** A variant whose programs are there, and what it holds. */
export interface Installed {
  readonly variant: Variant;
  /** The kernel answered its programs. */
  readonly usable: boolean;
  /** How many chains of kube-proxy and kubelet it holds. */
  readonly kubeChains: number;
  /** How many rules it holds. */
  readonly rules: number;
  /**
   * What iptables-save prints of our chains and of the built-in chains that lead there, by family and table. A table that is not
   * there was never used.
   */
  readonly tables: ReadonlyMap<Family, ReadonlyMap<string, readonly string[]>>;
}

const FAMILIES: readonly Family[] = [4, 6];

/** The name of a variant's program: `ip6tables-legacy-save`. */
export function program(variant: Variant, family: Family, what: "" | "-save" | "-restore"): string {
  return `${family === 4 ? "iptables" : "ip6tables"}${variant.suffix}${what}`;
}

/**
 * The variants whose programs are on this machine, with what they hold. Changes nothing: it does not ask the old interface for a
 * table by name, since the kernel would make it then.
 */
export async function installedVariants(run: Run): Promise<Installed[]> {
  const found: Installed[] = [];
  for (const name of ["nft", "legacy"] as const) {
    const installed = await inspect(run, { name, suffix: `-${name}` });
    if (installed !== null) found.push(installed);
  }
  if (found.length > 0) return found;
  const plain = await run(["iptables", "--version"], "");
  if (plain === null) return [];
  const installed = await inspect(run, { name: plain.stdout.includes("nf_tables") ? "nft" : "legacy", suffix: "" });
  return installed === null ? [] : [installed];
}

async function inspect(run: Run, variant: Variant): Promise<Installed | null> {
  const tables = new Map<Family, ReadonlyMap<string, readonly string[]>>();
  let [usable, kubeChains, rules] = [false, 0, 0];
  for (const family of FAMILIES) {
    const result = await run([program(variant, family, "-save")], "");
    if (result === null) continue;
    usable ||= result.status === 0;
    const lines = result.status === 0 ? result.stdout.split("\n") : [];
    kubeChains += lines.filter((line) => line.startsWith(":KUBE-")).length;
    rules += lines.filter((line) => line.startsWith("-A ")).length;
    tables.set(family, tablesOf(lines));
  }
  return tables.size === 0 ? null : { variant, usable, kubeChains, rules, tables };
}

/** The lines about our chains and the built-in ones, by table. There may be a hundred thousand others. */
function tablesOf(lines: readonly string[]): Map<string, string[]> {
  const heads = CHAINS.flatMap(({ chain, hook }) => [`:${chain} `, `-A ${chain} `, `-A ${hook} `]);
  const tables = new Map<string, string[]>();
  let table: string[] = [];
  for (const line of lines) {
    if (line.startsWith("*")) tables.set(line.slice(1), table = []);
    else if (heads.some((head) => line.startsWith(head))) table.push(line);
  }
  return tables;
}

/**
 * The variant to use: among those that the kernel knows the one that holds the chains of kube-proxy and kubelet, else the one with
 * our chains or a flanneld's, else the one that is used more, else the one that `iptables` stands for.
 *
 * @returns `null` if there is none.
 */
export async function chooseVariant(run: Run, installed: readonly Installed[]): Promise<Variant | null> {
  const version = installed.length < 2 ? null : await run(["iptables", "--version"], "");
  const standard = version?.stdout.includes("legacy") ? "legacy" : "nft";
  const weighed = installed.map(({ variant, usable, kubeChains, rules, tables }) => {
    const lines = [...tables.values()].flatMap((byName) => [...byName.values()].flat());
    const chains = CHAINS.filter(({ chain }) => hasChain(lines, chain)).length;
    return { variant, weight: [Number(usable), kubeChains, chains, rules, Number(variant.name === standard)] };
  });
  weighed.sort((a, b) => a.weight.map((value, i) => b.weight[i]! - value).find((difference) => difference !== 0) ?? 0);
  return weighed[0]?.variant ?? null;
}
