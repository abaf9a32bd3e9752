/**
 * Renders the JSON of `/v1/status` and `/v1/peers` for people.
 *
 * The JSON may come from an older or newer agent, and carries texts that other nodes wrote: what is missing shows as `-`, and nothing
 * that could steer a terminal gets through.
 *
 * @module
 */

/**
 * Renders the body of `/v1/status`.
 *
 * @returns Lines, the last one ended too.
 */
export function renderStatus(body: unknown): string {
  const at = (...path: string[]) => show(dig(body, path));
  const ready = dig(body, ["ready"]) === true ? "is ready" : `is not ready: ${at("reason")}`;
  const connected = dig(body, ["store", "connected"]) === true ? "connected" : `not connected: ${at("store", "lastError")}`;
  const rows = [
    ["backend", at("backend")],
    ["network", both(body, ["network", "ipv4"], ["network", "ipv6"])],
    ["lease", both(body, ["lease", "subnet"], ["lease", "ipv6Subnet"])],
    ["expires", at("lease", "expiresAt")],
    ["public", both(body, ["lease", "publicIP"], ["lease", "publicIPv6"])],
    ["link", `${at("link", "name")}, ${at("link", "address")}, mtu ${at("link", "mtu")}`],
    ["pod mtu", at("mtu")],
    ["store", `${at("store", "kind")}, ${connected}`],
    ...notes(body),
    ["peers", `${at("peers", "total")}: ${[...ways(body), counts(body, "peers", ["pending", "rejected"])].join(", ")}`],
    ["kernel", counts(body, "kernel", ["items", "pending", "repairs"])],
    ["in sync", at("kernel", "lastSync")],
    ...filters(body),
  ];
  return `Node ${at("node")} (Weft ${at("version")}) ${ready}\n${renderTable(rows)}${problems(body)}`;
}

const LEGEND = [
  ["pending", "waits for its reason to end; it is looked at again by itself"],
  ["failed", "the kernel refused something; it is tried again, and agent status has more"],
  ["rejected", "the lease breaks a rule; correct it on the node that published it"],
] as const;

/**
 * Renders the body of `/v1/peers`.
 *
 * @returns Lines, the last one ended too.
 * @throws {SyntaxError} If the body is not a list.
 */
export function renderPeers(body: unknown): string {
  if (!Array.isArray(body)) throw new SyntaxError("Cannot show the peers: the agent's answer is not a list");
  if (body.length === 0) return "There are no peers.\n";
  const rows = body.map((peer) => [
    both(peer, ["subnet"], ["ipv6Subnet"]),
    both(peer, ["publicIP"], ["publicIPv6"]),
    ...["backendType", "path", "state", "reason"].map((name) => show(dig(peer, [name]))),
  ]);
  const legend = LEGEND.filter(([state]) => body.some((peer) => dig(peer, ["state"]) === state));
  const table = renderTable([["SUBNET", "PUBLIC IP", "TYPE", "PATH", "STATE", "REASON"], ...rows]);
  return table + (legend.length === 0 ? "" : `\n${renderTable(legend)}`);
}

function dig(value: unknown, path: readonly string[]): unknown {
  for (const name of path) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}

const WIDEST = 500; // one endless text must not widen the column of 5,000 rows

/** One line of text, without characters that control a terminal or reorder text. */
function show(value: unknown): string {
  if (value === null || value === undefined || value === "") return "-";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  const shown = text.slice(0, WIDEST).replace(/\s+/g, " ").replace(/\p{C}/gu, "?");
  return text.length > WIDEST ? `${shown}…` : shown;
}

function both(value: unknown, v4: readonly string[], v6: readonly string[]): string {
  const known = [dig(value, v4), dig(value, v6)].filter((each) => each !== null && each !== undefined);
  return known.length === 0 ? "-" : known.map(show).join(", ");
}

/** How many peers are reached by each way; an older agent tells only two. */
function ways(body: unknown): string[] {
  const paths = dig(body, ["peers", "paths"]);
  if (typeof paths !== "object" || paths === null) return [counts(body, "peers", ["direct", "vxlan"])];
  return Object.entries(paths).map(([path, count]) => `${show(count)} ${show(path)}`);
}

function counts(body: unknown, group: string, names: readonly string[]): string {
  return names.map((name) => `${show(dig(body, [group, name]))} ${name}`).join(", ");
}

function notes(body: unknown): string[][] {
  const note = dig(body, ["store", "note"]);
  return note === null || note === undefined ? [] : [["", show(note)]];
}

function filters(body: unknown): string[][] {
  const links = listOf(body, "reversePath").map((each) => `${show(dig(each, ["link"]))} ${show(dig(each, ["mode"]))}`);
  return links.length === 0 ? [] : [["rp_filter", links.join(", ")]];
}

function problems(body: unknown): string {
  return listOf(body, "problems").map((problem) => {
    const remedy = dig(problem, ["remedy"]);
    const rows = [["problem", show(dig(problem, ["what"]))], ["because", show(dig(problem, ["why"]))]];
    if (remedy !== null && remedy !== undefined) rows.push(["remedy", show(remedy)]);
    return `\n${renderTable(rows)}`;
  }).join("");
}

function listOf(body: unknown, name: string): readonly unknown[] {
  const list = dig(body, [name]);
  return Array.isArray(list) ? list : [];
}

function renderTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, i) => widths[i] = Math.max(widths[i] ?? 0, cell.length));
  return rows.map((row) => `${row.map((cell, i) => cell.padEnd(widths[i]!)).join("  ").trimEnd()}\n`).join("");
}
