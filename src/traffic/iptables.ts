/**
 * The rules in iptables: which of its variants to use, reading and writing.
 *
 * A kernel may hold two sets of iptables rules, those of the old interface (legacy) and those of nf_tables; packets meet both. Ours
 * belong where kube-proxy's are. Owns the calls of the programs; the language is iptables_text.ts's affair. Every change is one
 * `iptables-restore --noflush` per table.
 *
 * @module
 */

import type { Cidr, Family } from "../model/ip.ts";
import { missing, type Run, type Step, succeeded } from "./command.ts";
import {
  chainChange,
  type ChainForm,
  CHAINS,
  hasChain,
  parseSpec,
  plainRemoval,
  type SeenChain,
  seenIn,
  specsOf,
} from "./iptables_text.ts";
import type { FamilyRules, PodRange } from "./rules.ts";

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
  /** The lines of iptables-save by family and table. A table that is not there was never used. */
  readonly tables: ReadonlyMap<Family, ReadonlyMap<string, readonly string[]>>;
}

const FAMILIES: readonly Family[] = [4, 6];
/** Seconds to wait for the lock of the old interface. */
const LOCK_WAIT = "10";

function program(variant: Variant, family: Family, what: "" | "-save" | "-restore"): string {
  return `${family === 4 ? "iptables" : "ip6tables"}${variant.suffix}${what}`;
}

/**
 * The variants whose programs are on this machine, with what they hold. Changes nothing: it does not ask the old interface for a
 * table by name, since the kernel would make it then.
 */
export async function installedVariants(run: Run): Promise<Installed[]> {
  const named: Variant[] = [{ name: "nft", suffix: "-nft" }, { name: "legacy", suffix: "-legacy" }];
  const found = await inspect(run, named);
  if (found.length > 0) return found;
  const plain = await run(["iptables", "--version"], "");
  if (plain === null) return [];
  return await inspect(run, [{ name: plain.stdout.includes("nf_tables") ? "nft" : "legacy", suffix: "" }]);
}

async function inspect(run: Run, variants: readonly Variant[]): Promise<Installed[]> {
  const found: Installed[] = [];
  for (const variant of variants) {
    const tables = new Map<Family, ReadonlyMap<string, readonly string[]>>();
    let usable = false;
    for (const family of FAMILIES) {
      const result = await run([program(variant, family, "-save")], "");
      if (result === null) continue;
      usable ||= result.status === 0;
      tables.set(family, tablesOf(result.status === 0 ? result.stdout : ""));
    }
    if (tables.size > 0) found.push({ variant, usable, tables });
  }
  return found;
}

/** The lines of iptables-save by table. */
function tablesOf(text: string): Map<string, string[]> {
  const tables = new Map<string, string[]>();
  let lines: string[] = [];
  for (const line of text.split("\n")) {
    if (line.startsWith("*")) tables.set(line.slice(1), lines = []);
    else if (line.startsWith(":") || line.startsWith("-")) lines.push(line);
  }
  return tables;
}

/**
 * The variant to use: one that the kernel knows, and of these the one that holds the chains of kube-proxy and kubelet, else ours or a flanneld's, else the one that is used
 * more, else the one that `iptables` stands for.
 *
 * @returns `null` if there is none.
 */
export async function chooseVariant(run: Run, installed: readonly Installed[]): Promise<Variant | null> {
  const standard = installed.length < 2 || (await run(["iptables", "--version"], ""))?.stdout.includes("legacy") !== true
    ? "nft"
    : "legacy";
  const weights = installed.map(({ variant, usable, tables }) => {
    const lines = [...tables.values()].flatMap((byName) => [...byName.values()].flat());
    const count = (test: (line: string) => boolean) => lines.filter(test).length;
    return {
      variant,
      weight: [
        Number(usable),
        count((line) => line.startsWith(":KUBE-")),
        CHAINS.filter(({ chain }) => hasChain(lines, chain)).length,
        count((line) => line.startsWith("-A ")),
        Number(variant.name === standard),
      ],
    };
  });
  weights.sort((a, b) => a.weight.map((value, i) => b.weight[i]! - value).find((difference) => difference !== 0) ?? 0);
  return weights[0]?.variant ?? null;
}

/**
 * What must be done in one family so that the wanted rules are in place, by what the kernel holds now. Does not look for rules that
 * are not wanted; see {@linkcode leftInIptables}.
 *
 * @param own Our networks, now and formerly.
 * @returns Nothing if all is right, else one step per table.
 * @throws {Error} If the rules can not be read.
 */
export async function iptablesSteps(run: Run, variant: Variant, wanted: FamilyRules, own: readonly Cidr[]): Promise<Step[]> {
  const steps: Step[] = [];
  for (const form of CHAINS) {
    const rules = wanted[form.purpose];
    if (rules.length === 0) continue;
    const lines = chainChange(form, await readChain(run, variant, wanted.family, form), rules, own);
    if (lines.length > 0) steps.push(restoreStep(variant, wanted.family, form, lines, `put the rules of ${form.chain} in place`));
  }
  return steps;
}

function restoreStep(variant: Variant, family: Family, form: ChainForm, lines: readonly string[], what: string): Step {
  const name = program(variant, family, "-restore");
  return {
    what: `${what} (${program(variant, family, "")}, table ${form.table})`,
    argv: [name, "--noflush", "-w", LOCK_WAIT],
    stdin: [`*${form.table}`, ...lines, "COMMIT", ""].join("\n"),
  };
}

/**
 * Reads one chain in the cheapest way: iptables-nft fetches the chain alone (2 ms where a table of 50,000 rules takes 600 ms), while
 * for the old interface everything fetches the table, but only iptables-save leaves its lock alone.
 */
async function readChain(run: Run, variant: Variant, family: Family, form: ChainForm): Promise<SeenChain> {
  if (variant.name === "legacy") {
    const argv = [program(variant, family, "-save"), "-t", form.table];
    const result = succeeded(await run(argv, ""), argv, `Cannot read table ${form.table}`);
    return seenIn(result.stdout.split("\n"), form);
  }
  const iptables = [program(variant, family, ""), "-t", form.table];
  const problem = `Cannot read chain ${form.chain} of table ${form.table}`;
  // A chain that is missing and one that iptables can not print end alike; both are written anew, and that fails with a reason.
  const listed = await run([...iptables, "-S", form.chain], "");
  if (listed === null) throw missing(iptables, problem);
  const jump = await run([...iptables, "-C", form.hook, "-m", "comment", "--comment", form.comment, "-j", form.chain], "");
  const lines = listed.status === 0 ? listed.stdout.split("\n") : null;
  return { rules: lines === null ? null : specsOf(lines, form.chain), jump: jump?.status === 0 };
}

/**
 * What must be done to remove rules that are not wanted: those of the other variant, of families and purposes without rules, and
 * those that flannel up to v0.19 made without chains of its own.
 *
 * @param used The variant that holds the wanted rules, or `null`.
 * @param wanted The rules that are in place there.
 * @param ranges Our ranges, now and formerly.
 */
export function leftInIptables(
  installed: readonly Installed[],
  used: Variant | null,
  wanted: readonly FamilyRules[],
  ranges: readonly PodRange[],
): Step[] {
  const own = ranges.map(({ network }) => network);
  return installed.flatMap(({ variant, tables }) =>
    [...tables].flatMap(([family, byName]) =>
      CHAINS.flatMap((form) => {
        const lines = byName.get(form.table) ?? [];
        const inPlace = variant.name === used?.name &&
          wanted.some((each) => each.family === family && each[form.purpose].length > 0);
        const jumps = specsOf(lines, form.hook).filter((spec) => parseSpec(spec).target === form.chain);
        const change = [
          ...(inPlace ? [] : chainChange(form, seenIn(lines, form), [], own, jumps)),
          ...plainRemoval(form, lines, ranges),
        ];
        return change.length === 0 ? [] : [restoreStep(variant, family, form, change, `remove former rules of ${form.purpose}`)];
      })
    )
  );
}

/** The chains whose change concerns us, as `TABLE CHAIN`. */
export const IPTABLES_CHAINS: ReadonlySet<string> = new Set(
  CHAINS.flatMap(({ table, chain, hook }) => [`${table} ${chain}`, `${table} ${hook}`]),
);
