/**
 * The rules in the language of iptables-save and iptables-restore.
 *
 * Owns how a rule is written and read, and which lines of one restore bring a table to its rules; runs nothing. Chains, comments and
 * order are those of flannel's `pkg/trafficmngr/iptables`. A line `:CHAIN` of a restore flushes the chain and what follows refills
 * it: the kernel takes the whole table at once, so no packet meets the chain empty.
 *
 * @module
 */

import { type Cidr, parseCidr } from "../model/ip.ts";
import { KUBE_MARK, plainRules, type PodRange, type Purpose, type Rule, sameRules, type Side, targetRules } from "./rules.ts";

/** One of our chains, and the built-in chain that jumps to it. */
export interface ChainForm {
  readonly purpose: Purpose;
  readonly table: string;
  readonly hook: string;
  readonly chain: string;
  readonly comment: string;
}

/** Our chains. */
export const CHAINS: readonly ChainForm[] = [
  { purpose: "masquerade", table: "nat", hook: "POSTROUTING", chain: "FLANNEL-POSTRTG", comment: "flanneld masq" },
  { purpose: "forward", table: "filter", hook: "FORWARD", chain: "FLANNEL-FWD", comment: "flanneld forward" },
];

/** What a table holds of ours. */
export interface SeenChain {
  /** The rules of our chain as printed, without `-A CHAIN`; `null` if there is no such chain. */
  readonly rules: readonly string[] | null;
  /** Whether the built-in chain jumps to it as it should. */
  readonly jump: boolean;
}

const VERDICTS: Readonly<Record<string, Rule["verdict"]>> = { RETURN: "return", ACCEPT: "accept", MASQUERADE: "masquerade" };

/** The rule that leads from the built-in chain to ours, without `-A HOOK`. */
export function jumpSpec(form: ChainForm): string {
  return `-m comment --comment "${form.comment}" -j ${form.chain}`;
}

/** A rule as iptables-save prints it, without `-A CHAIN`. */
export function renderSpec(rule: Rule, form: ChainForm): string {
  const side = (flag: string, side: Side | null) => side === null ? [] : [`${side.not ? "! " : ""}${flag} ${side.cidr}`];
  const mark = `0x${KUBE_MARK.toString(16)}`;
  return [
    ...side("-s", rule.source),
    ...side("-d", rule.destination),
    ...(rule.marked ? [`-m mark --mark ${mark}/${mark}`] : []),
    `-m comment --comment "${form.comment}"`,
    `-j ${rule.verdict.startsWith("masquerade") ? "MASQUERADE" : rule.verdict.toUpperCase()}`,
    ...(rule.verdict === "masquerade fully-random" ? ["--random-fully"] : []),
  ].join(" ");
}

/** What a printed rule says, in whichever order its version of iptables prints that. */
export interface ParsedSpec {
  /** `null` if it says anything that our rules do not say. */
  readonly rule: Rule | null;
  readonly comment: string | null;
  /** The chain or verdict behind `-j`. */
  readonly target: string | null;
}

/** Reads a rule as iptables-save prints it, without `-A CHAIN`. */
export function parseSpec(spec: string): ParsedSpec {
  const seen = { marked: false, source: null as Side | null, destination: null as Side | null };
  let [comment, target, random, not, known] = [null as string | null, null as string | null, false, false, true];
  const words = wordsOf(spec);
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    const negated = not;
    not = word === "!";
    if (not) continue;
    if (word === "--random-fully") random = true;
    else {
      const value = words[++i] ?? "";
      if (word === "-s") seen.source = sideOf(value, negated);
      else if (word === "-d") seen.destination = sideOf(value, negated);
      else if (word === "--mark") seen.marked = !negated && isMarkTest(value);
      else if (word === "--comment") comment = value;
      else if (word === "-j") target = value;
      else if (word !== "-m" || (value !== "mark" && value !== "comment")) known = false;
      if (word === "-s" && seen.source === null || word === "-d" && seen.destination === null) known = false;
      if (word === "--mark" && !seen.marked) known = false;
    }
  }
  const plain = VERDICTS[target ?? ""];
  const verdict = random && plain === "masquerade" ? "masquerade fully-random" : random ? undefined : plain;
  return { rule: known && verdict !== undefined ? { ...seen, verdict } : null, comment, target };
}

function isMarkTest(value: string): boolean {
  const [mark, mask] = value.split("/").map(Number);
  return mark === KUBE_MARK && mask === KUBE_MARK;
}

function sideOf(value: string, not: boolean): Side | null {
  try {
    return { cidr: parseCidr(value), not };
  } catch {
    return null; // such as a mask with gaps
  }
}

/** The words of a line; a quoted one may hold spaces, and quotes behind backslashes. */
function wordsOf(line: string): string[] {
  return Array.from(line.matchAll(/"((?:\\.|[^"\\])*)"|\S+/g), ([word, quoted]) => quoted?.replace(/\\(.)/g, "$1") ?? word);
}

/** The rules of a chain in the output of iptables-save or `iptables -S` about one table, without `-A CHAIN`. */
export function specsOf(lines: readonly string[], chain: string): string[] {
  const head = `-A ${chain} `;
  return lines.filter((line) => line.startsWith(head)).map((line) => line.slice(head.length));
}

/** Whether the output of iptables-save or `iptables -S` about one table names a chain. */
export function hasChain(lines: readonly string[], chain: string): boolean {
  return lines.some((line) => line === `-N ${chain}` || line.startsWith(`:${chain} `));
}

/** What the output of iptables-save about one table holds of ours. */
export function seenIn(lines: readonly string[], form: ChainForm): SeenChain {
  return {
    rules: hasChain(lines, form.chain) ? specsOf(lines, form.chain) : null,
    jump: specsOf(lines, form.hook).includes(jumpSpec(form)),
  };
}

/**
 * The lines between `*TABLE` and `COMMIT` that give our chain its rules; none if it has them.
 *
 * @param wanted Our rules; empty if there shall be none.
 * @param own Our networks, now and formerly.
 * @param jumps The rules of the built-in chain that jump to our chain, for when it shall go.
 */
export function chainChange(
  form: ChainForm,
  seen: SeenChain,
  wanted: readonly Rule[],
  own: readonly Cidr[],
  jumps: readonly string[] = [],
): string[] {
  const { hook, chain, comment } = form;
  const observed = (seen.rules ?? []).map((spec) => {
    const parsed = parseSpec(spec);
    return parsed.comment === comment ? parsed.rule : null;
  });
  const target = targetRules(form.purpose, observed, wanted, own);
  if (target.length === 0) {
    const remove = jumps.map((spec) => `-D ${hook} ${spec}`);
    return seen.rules === null ? remove : [...remove, `-F ${chain}`, `-X ${chain}`];
  }
  const refill = [`:${chain} - [0:0]`, ...target.map((rule) => `-A ${chain} ${renderSpec(rule, form)}`)];
  return [
    ...(seen.rules !== null && sameRules(observed, target) ? [] : refill),
    ...(seen.jump ? [] : [`-A ${hook} ${jumpSpec(form)}`]),
  ];
}

/** The lines between `*TABLE` and `COMMIT` that delete what flannel up to v0.19 put into a built-in chain. */
export function plainRemoval(form: ChainForm, lines: readonly string[], ranges: readonly PodRange[]): string[] {
  const specs = specsOf(lines, form.hook);
  const rules = specs.map(parseSpec).map(({ rule, comment }) => comment === null || comment === form.comment ? rule : null);
  return plainRules(form.purpose, rules, ranges).map((i) => `-D ${form.hook} ${specs[i]}`);
}
