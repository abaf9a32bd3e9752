/**
 * The rules as nftables: tables `ip flannel-ipv4` and `ip6 flannel-ipv6`.
 *
 * Owns the text of nft transactions and the reading of `nft -j list`; never decides what the rules are. A chain is flushed and
 * refilled in one transaction, in which the kernel shows packets either all old or all new rules. Follows flannel's
 * `pkg/trafficmngr/nftables`, but tests the mark by bit and masquerades what nodes send to pods as its iptables mode does.
 *
 * @module
 */

import { bitsOf, type Cidr, cidrOf, type Family, tryParseIp } from "../model/ip.ts";
import { type Run, type Step, succeeded } from "./command.ts";
import { type FamilyRules, KUBE_MARK, type Purpose, type Rule, sameRules, type Side, targetRules } from "./rules.ts";

/** The names of our tables. */
export const NFT_TABLES: Readonly<Record<Family, { readonly family: "ip" | "ip6"; readonly name: string }>> = {
  4: { family: "ip", name: "flannel-ipv4" },
  6: { family: "ip6", name: "flannel-ipv6" },
};

interface ChainForm {
  readonly purpose: Purpose;
  readonly name: string;
  readonly comment: string;
  readonly type: string;
  readonly hook: string;
  readonly priority: string;
  /** The number behind the name of the priority. */
  readonly prio: number;
}

const CHAINS: readonly ChainForm[] = [
  {
    purpose: "masquerade",
    name: "postrtg",
    comment: "chain to manage traffic masquerading by flannel",
    type: "nat",
    hook: "postrouting",
    priority: "srcnat",
    prio: 100,
  },
  {
    purpose: "forward",
    name: "forward",
    comment: "chain to accept flannel traffic",
    type: "filter",
    hook: "forward",
    priority: "filter",
    prio: 0,
  },
];

/** A chain of ours as the kernel holds it. */
interface SeenChain {
  /** It hangs where it must, with the policy it must have. */
  readonly right: boolean;
  readonly rules: readonly (Rule | null)[];
}

interface SeenTable {
  /** The table has flags: a dormant one does nothing. */
  readonly flagged: boolean;
  readonly chains: ReadonlyMap<string, SeenChain>;
}

/**
 * What must be done in one family so that the rules are in place, by what the kernel holds now.
 *
 * @param wanted Empty lists where no rules shall be.
 * @param own Our networks, now and formerly.
 * @returns Nothing if all is right, else one transaction.
 * @throws {Error} If the tables can not be read.
 */
export async function nftSteps(run: Run, wanted: FamilyRules, own: readonly Cidr[]): Promise<Step[]> {
  const { family, name } = NFT_TABLES[wanted.family];
  const seen = await readTable(run, wanted.family);
  const lines: string[] = [];
  let kept = 0;
  for (const form of CHAINS) {
    const chain = seen?.chains.get(form.name);
    const target = targetRules(form.purpose, chain?.rules ?? [], wanted[form.purpose], own);
    kept += target.length;
    lines.push(...chainChange(form, wanted.family, chain, target));
  }
  const what = `the rules in table ${family} ${name}`;
  if (kept === 0) return seen === null ? [] : [nftStep(`remove ${what}`, [`delete table ${family} ${name}`])];
  if (lines.length === 0 && seen !== null && !seen.flagged) return [];
  return [nftStep(`put ${what} in place`, [`add table ${family} ${name} { comment "rules for ${name}"; }`, ...lines])];
}

function nftStep(what: string, lines: readonly string[]): Step {
  return { what, argv: ["nft", "-f", "-"], stdin: `${lines.join("\n")}\n` };
}

/** The lines of a transaction that give a chain its rules; none if it has them. */
function chainChange(form: ChainForm, family: Family, seen: SeenChain | undefined, target: readonly Rule[]): string[] {
  const table = NFT_TABLES[family];
  const chain = `${table.family} ${table.name} ${form.name}`;
  // A base chain can not be moved to another hook: it is made anew.
  const remove = seen === undefined ? [] : [`flush chain ${chain}`, `delete chain ${chain}`];
  if (target.length === 0) return remove;
  if (seen?.right && sameRules(seen.rules, target)) return [];
  const { type, hook, priority, comment } = form;
  return [
    ...(seen?.right ? [`flush chain ${chain}`] : remove),
    `add chain ${chain} { type ${type} hook ${hook} priority ${priority}; policy accept; comment "${comment}"; }`,
    ...target.map((rule) => `add rule ${chain} ${renderRule(rule, table.family)}`),
  ];
}

/** A rule in the words of nft, as `nft list` prints it but for the zeros of the mark. */
export function renderRule(rule: Rule, family: "ip" | "ip6"): string {
  const side = (name: string, side: Side | null) => side === null ? [] : [`${family} ${name} ${side.not ? "!= " : ""}${side.cidr}`];
  const mark = `0x${KUBE_MARK.toString(16)}`;
  return [
    ...(rule.marked ? [`meta mark & ${mark} == ${mark}`] : []),
    ...side("saddr", rule.source),
    ...side("daddr", rule.destination),
    rule.verdict,
  ].join(" ");
}

async function readTable(run: Run, family: Family): Promise<SeenTable | null> {
  const table = NFT_TABLES[family];
  const argv = ["nft", "-j", "list", "table", table.family, table.name];
  const result = await run(argv, "");
  if (result?.status === 1 && result.stderr.includes("No such file or directory")) return null;
  const problem = `Cannot read table ${table.family} ${table.name}`;
  return parseTable(succeeded(result, argv, problem).stdout, table.family);
}

/**
 * Reads what `nft -j list table` prints of one table.
 *
 * @throws {SyntaxError} If it is not nft's JSON.
 */
export function parseTable(text: string, family: "ip" | "ip6"): SeenTable {
  const objects = field(JSON.parse(text), "nftables");
  if (!Array.isArray(objects)) throw new SyntaxError(`"nft -j list table" printed no list of objects`);
  const chains = new Map<string, { right: boolean; rules: (Rule | null)[] }>();
  for (const object of objects) {
    const chain = field(object, "chain");
    const form = CHAINS.find((each) => each.name === field(chain, "name"));
    if (form !== undefined) chains.set(form.name, { right: hangsRight(chain, form), rules: [] });
  }
  for (const object of objects) {
    const rule = field(object, "rule");
    chains.get(String(field(rule, "chain")))?.rules.push(parseRule(rule, family));
  }
  return { flagged: objects.some((object) => field(field(object, "table"), "flags") !== undefined), chains };
}

function hangsRight(chain: unknown, form: ChainForm): boolean {
  return (["type", "hook", "prio"] as const).every((key) => field(chain, key) === form[key]) && field(chain, "policy") === "accept";
}

/** A rule of nft's JSON; `null` if it is of no form that we write, so also if it counts or has a comment. */
function parseRule(json: unknown, family: "ip" | "ip6"): Rule | null {
  const expressions = field(json, "expr");
  if (!Array.isArray(expressions) || field(json, "comment") !== undefined) return null;
  const rule = { marked: false, source: null as Side | null, destination: null as Side | null };
  for (const expression of expressions.slice(0, -1)) {
    const match = field(expression, "match");
    const left = field(match, "left");
    const address = field(field(left, "payload"), "protocol") === family ? field(field(left, "payload"), "field") : undefined;
    const side = parseSide(match, family);
    if (isMarkTest(match) && !rule.marked) rule.marked = true;
    else if (address === "saddr" && side !== null && rule.source === null) rule.source = side;
    else if (address === "daddr" && side !== null && rule.destination === null) rule.destination = side;
    else return null;
  }
  const verdict = parseVerdict(expressions.at(-1));
  return verdict === null ? null : { ...rule, verdict };
}

function isMarkTest(match: unknown): boolean {
  const masked = field(field(match, "left"), "&");
  return field(match, "op") === "==" && field(match, "right") === KUBE_MARK && Array.isArray(masked) && masked.length === 2 &&
    field(field(masked[0], "meta"), "key") === "mark" && masked[1] === KUBE_MARK;
}

function parseSide(match: unknown, family: "ip" | "ip6"): Side | null {
  const op = field(match, "op");
  const right = field(match, "right");
  const prefix = field(right, "prefix");
  const ip = tryParseIp(String(prefix === undefined ? right : field(prefix, "addr")));
  const length = prefix === undefined ? bitsOf(family === "ip" ? 4 : 6) : field(prefix, "len");
  if (ip === null || typeof length !== "number" || (op !== "==" && op !== "!=")) return null;
  return { cidr: cidrOf(ip, length), not: op === "!=" };
}

function parseVerdict(expression: unknown): Rule["verdict"] | null {
  if (field(expression, "return") === null) return "return";
  if (field(expression, "accept") === null) return "accept";
  const masquerade = field(expression, "masquerade");
  if (masquerade === null) return "masquerade";
  // Later versions of nft print a list of flags.
  const flags = [field(masquerade, "flags")].flat();
  return flags.length === 1 && flags[0] === "fully-random" ? "masquerade fully-random" : null;
}

function field(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null && Object.hasOwn(value, key)
    ? (value as Record<string, unknown>)[key]
    : undefined;
}
