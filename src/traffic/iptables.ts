/**
 * The rules in iptables: reading and writing.
 *
 * Owns the calls of the programs; the language is iptables_text.ts's affair, and which variant to use is iptables_variants.ts's.
 * Every change is one `iptables-restore --noflush` per table.
 *
 * @module
 */

import type { Cidr, Family } from "../model/ip.ts";
import { missing, type Run, type Step, succeeded } from "./command.ts";
import { chainChange, type ChainForm, CHAINS, parseSpec, plainRemoval, type SeenChain, seenIn, specsOf } from "./iptables_text.ts";
import { type Installed, program, type Variant } from "./iptables_variants.ts";
import type { FamilyRules, PodRange } from "./rules.ts";

/** Seconds to wait for the lock of the old interface. */
const LOCK_WAIT = "10";

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
