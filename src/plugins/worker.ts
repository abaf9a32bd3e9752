/**
 * Runs one plugin. This is the first module of its Worker.
 *
 * A Worker bounds the time that a plugin takes, and keeps its exceptions from the agent. It is no sandbox: a plugin runs with the rights of
 * the agent.
 *
 * @module
 */

import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import type { BareSide, NodeSide } from "../model/backend.ts";
import type { BackendPort } from "../model/backend_port.ts";
import type { EffectContext } from "../model/effects.ts";
import type { Family, Mac } from "../model/ip.ts";
import { checkOptions } from "../model/schema.ts";
import { inProcess } from "../reconcile/in_process.ts";
import type {
  Batch,
  BatchAnswer,
  EffectQuestion,
  ExampleRequest,
  FromWorker,
  Loaded,
  LoadRequest,
  PlainSide,
  Said,
  Tables,
  ToWorker,
} from "./protocol.ts";
import { asBackend } from "./shape.ts";

/** What the runtimes share of the scope of a Worker. */
interface Scope {
  onmessage: ((event: { readonly data: ToWorker }) => void) | null;
  postMessage(message: FromWorker): void;
  addEventListener(type: "error" | "unhandledrejection", listener: (event: Uncaught) => void): void;
}

/** Something that was thrown outside of any call. */
interface Uncaught {
  readonly error?: unknown;
  readonly reason?: unknown;
  preventDefault(): void;
}
const scope = globalThis as unknown as Scope;

let port: BackendPort | null = null;
let example: Example = {};
/** What planners run within. */
let within = <T>(planner: () => T): T => planner();
/** Effects under way, by the number of their question. */
const underWay = new Map<number, AbortController>();

/** What a module may export besides the backend, for those who check it. */
interface Example {
  /** A `Backend` object of net-conf.json. */
  readonly options?: Readonly<Record<string, unknown>>;
  /** What the n-th peer publishes in a family. */
  readonly data?: (n: number, family: Family) => unknown;
}

async function load({ path, name, given, strict }: LoadRequest): Promise<Loaded> {
  const module = await import(pathToFileURL(path).href).catch((error) => {
    throw new Error(describe(error));
  });
  const backend = asBackend(module.default, name);
  example = module.example ?? {};
  if (strict) within = (await import("./traps.ts")).withTraps;
  const checked = checkOptions(backend.options, given ?? example.options ?? { Type: name });
  if ("issue" in checked) throw new OptionsError(checked.issue);
  port = inProcess(backend, checked.value);
  const { type, links, devices, adopts, effects } = port;
  return { type, links, devices, adopts, effects: Object.keys(effects) as Loaded["effects"] };
}

/** What the example says of some peers; a schema's own output may hold anything, so it is read back as other nodes would. */
function exampleOf({ family, peers }: ExampleRequest): readonly unknown[] | null {
  const { data } = example;
  return data === undefined ? null : peers.map((n) => JSON.parse(JSON.stringify(data(n, family) ?? null)));
}

/** The options are wrong, not the plugin. */
class OptionsError extends Error {
  override readonly name = "OptionsError";
}

function ask({ tables, mtu, publish, node, sides, peers }: Batch): BatchAnswer {
  const chosen = new Map<string, Mac>();
  const whole = (side: PlainSide, onLink: string | null) => sideOf(side, tables, chosen, onLink) as NodeSide;
  const views = new Map<string, NodeSide>(); // planners are asked with few different sides
  const viewOf = (at: number, onLink: string | null) => {
    const key = `${at} ${onLink}`;
    const view = views.get(key) ?? whole(sides[at]!, onLink);
    views.set(key, view);
    return view;
  };
  return {
    mtu: mtu === null ? null : said(() => port!.mtu(mtu.external, mtu.families)!),
    publish: publish.map((side) => said(() => port!.publish(whole(side, null))!.data)),
    node: node.map((side) => said(() => port!.node(whole(side, null))!)),
    peers: peers.map(({ side, peer, onLink }) => said(() => port!.peer(peer, viewOf(side, onLink)))),
    chosen: [...chosen],
  };
}

/** What a planner says, as plain data. Promises, functions and the like can not be sent. */
function said<T>(planner: () => T): Said<T> {
  try {
    const value = within(planner);
    if (value instanceof Promise) throw new TypeError("a planner answers at once, this one answers with a promise");
    return { value: structuredClone(value) };
  } catch (error) {
    return { error: describe(error) };
  }
}

/** Gives a side its functions back. */
function sideOf(side: PlainSide, { macs, earlier }: Tables, chosen: Map<string, Mac>, onLink: string | null): BareSide {
  return {
    ...side,
    onLink: () => onLink,
    macFor(link, before) {
      const known = macs[link];
      if (known === undefined) throw new Error(`macFor("${link}"): links() does not name this device`);
      const mac = chosen.get(link) ?? known.chosen ?? before?.(earlier[side.family]) as Mac | undefined ?? known.drawn;
      chosen.set(link, mac);
      return mac;
    },
  };
}

async function effect(id: number, { call, node, tables, changes }: EffectQuestion): Promise<unknown> {
  const controller = new AbortController();
  underWay.set(id, controller);
  try {
    const context: EffectContext = {
      signal: controller.signal,
      log: (level, message) => scope.postMessage({ id, level, message: String(message) }),
    };
    const sides = node.sides.map((side) => sideOf(side, tables, new Map(), null)) as NodeSide[];
    const { effects } = port!;
    return call === "peers"
      ? await effects.peers!(context, changes!, { ...node, sides })
      : await effects[call]!(context, { ...node, sides });
  } finally {
    underWay.delete(id);
  }
}

async function answer(message: ToWorker): Promise<unknown> {
  switch (message.op) {
    case "load":
      return await load(message.request);
    case "example":
      return exampleOf(message.request);
    case "ask":
      return ask(message.request);
    case "effect":
      return await effect(message.id, message.request);
    case "abort":
      return underWay.get(message.id)?.abort(new Error(message.reason));
    default:
      return message satisfies never;
  }
}

/** What was thrown, in one line, with the place where a runtime tells it. */
function describe(error: unknown): string {
  if (!(error instanceof Error)) {
    const { message, position } = (error ?? {}) as { message?: unknown; position?: { line: number; column: number } | null };
    const place = position ? ` (line ${position.line}, column ${position.column})` : "";
    return `${typeof message === "string" ? message : String(error)}${place}`;
  }
  return stripVTControlCharacters(error.message).replace(/\s*\n\s*/g, " ");
}

for (const type of ["error", "unhandledrejection"] as const) {
  scope.addEventListener(type, (event) => {
    event.preventDefault();
    scope.postMessage({ id: 0, crash: describe(event.error ?? event.reason) });
  });
}

scope.onmessage = ({ data }) => {
  void answer(data).then(
    (value) => data.op === "abort" || scope.postMessage({ id: data.id, value }),
    (error) =>
      scope.postMessage({ id: data.id, error: error instanceof OptionsError ? `options: ${error.message}` : describe(error) }),
  );
};
