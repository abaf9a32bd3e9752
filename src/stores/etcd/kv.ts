/**
 * Keys, values and leases of etcd: what the lease store asks of a cluster, in its words.
 *
 * Texts travel in base64 and 64-bit numbers as text. Revisions are numbers here; the numbers of leases and clusters, which need all 64
 * bits, stay text. A key that is not UTF-8 is shown with its bytes in hexadecimal, and a long one with its digest, so that no two keys
 * look alike.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { type EtcdClient, isOfToken, type Reply, TooLongError } from "./client.ts";
import { CODES, EtcdError, etcdError } from "./error.ts";

/** Keys from `from` up to but without `to`; one key where `to` is `null`. */
export interface KeyRange {
  readonly from: string;
  readonly to: string | null;
}

/** A key and what stands under it. */
export interface KeyValue {
  readonly key: string;
  readonly value: string;
  readonly createRevision: number;
  readonly modRevision: number;
  /** The etcd lease that ends it; {@linkcode NO_LEASE} if none does. */
  readonly lease: string;
}

/** Which state of which cluster an answer is of. */
export interface Header {
  readonly cluster: string;
  readonly revision: number;
}

/** A condition of a transaction. */
export type Condition =
  | { readonly key: string; readonly is: "absent" }
  | { readonly key: string; readonly is: "unchanged"; readonly modRevision: number };

/** A step of a transaction. */
export type Step =
  | { readonly put: string; readonly value: string; readonly lease: string }
  | { readonly remove: string }
  /** Keys that were created since a revision. */
  | { readonly list: KeyRange; readonly createdSince: number };

/** What came of a transaction. */
export interface Committed extends Header {
  readonly succeeded: boolean;
  /** What the steps that list have found; without values. */
  readonly listed: readonly KeyValue[];
}

/** Changes in a range are asked for from a revision on. */
export interface WatchedRange {
  readonly range: KeyRange;
  readonly from: number;
}

/** News of a watch: of one key, what has the higher revision holds. */
export interface WatchMessage extends Header {
  /** The index of the range. */
  readonly of: number;
  readonly puts: readonly KeyValue[];
  readonly removed: readonly { readonly key: string; readonly modRevision: number }[];
  /** From which revision on a later watch of the range can go on; `null` if this message does not say. */
  readonly next: number | null;
}

/** The history that a watch was to go on from is not there any more. */
export class CompactedError extends Error {
  override readonly name = "CompactedError";
}

/** The number of no lease. */
export const NO_LEASE = "0";
/** A value on its own page may be as large as the largest request that a cluster takes. */
const PAGE = { keys: 2500, bytes: 8 * 1024 * 1024 };
/** Longer keys, in bytes, are cut: no lease has one. */
const LONGEST_KEY = 300;
/** A small read that proves that a member answers, in milliseconds. */
const QUICK = 2500;
/** Without news a watch hears of progress every ten to eleven minutes, in milliseconds. */
const PROGRESS = 12 * 60_000;

/** The range of all keys that begin with a text. */
export function below(prefix: string): KeyRange {
  const last = prefix.charCodeAt(prefix.length - 1);
  return { from: prefix, to: prefix.slice(0, -1) + String.fromCharCode(last + 1) };
}

/** The keys and values of a cluster. */
export class Kv {
  readonly #client: EtcdClient;

  constructor(client: EtcdClient) {
    this.#client = client;
  }

  /** What stands under a key, or `null`. */
  async get(key: string, signal: AbortSignal): Promise<Header & { readonly found: KeyValue | null }> {
    const reply = await this.#client.call("/v3/kv/range", rangeOf({ from: key, to: null }), signal);
    return { ...headerOf(reply), found: keyValuesOf(reply)[0] ?? null };
  }

  /** As {@linkcode get}, but without its value, and soon or never. @param origin The only member to be asked, if one is. */
  async look(
    key: string,
    signal: AbortSignal,
    origin: string | null = null,
  ): Promise<Header & { readonly found: KeyValue | null }> {
    const body = { ...rangeOf({ from: key, to: null }), keys_only: true };
    const limits = { silence: QUICK };
    const reply = origin === null
      ? await this.#client.call("/v3/kv/range", body, signal, limits)
      : await this.#client.callAt(origin, "/v3/kv/range", body, signal, limits);
    return { ...headerOf(reply), found: keyValuesOf(reply)[0] ?? null };
  }

  /**
   * Reads a range as it is at one revision, in pages; while one is looked at, the next is on its way.
   *
   * @param put Gets each key.
   * @throws {CompactedError} If that revision is gone before the last page was read.
   */
  async list(range: KeyRange, put: (it: KeyValue) => void, signal: AbortSignal): Promise<Header> {
    let limit = PAGE.keys;
    const page = async (from: string, revision: number): Promise<Reply> => {
      for (;;) {
        const body = { ...rangeOf(range), key: from, limit, revision };
        try {
          return await this.#client.call("/v3/kv/range", body, signal, limit === 1 ? {} : { bytes: PAGE.bytes });
        } catch (error) {
          if (error instanceof EtcdError && error.code === CODES.outOfRange) throw new CompactedError(error.message);
          if (!(error instanceof TooLongError) || limit === 1) throw error;
          limit = Math.max(1, Math.floor(limit / 16));
        }
      }
    };
    let coming: Promise<Reply> | null = page(base64(range.from), 0);
    let header: Header | null = null;
    while (coming !== null) {
      const reply: Reply = await coming;
      header ??= headerOf(reply);
      const raw = rawKeyValuesOf(reply);
      coming = reply["more"] === true ? page(after(raw.at(-1)!.key), header.revision) : null;
      coming?.catch(() => {}); // it is awaited next
      for (const it of raw) put(keyValueOf(it));
    }
    return header!;
  }

  /** Carries out steps in one, if all conditions hold. */
  async commit(conditions: readonly Condition[], steps: readonly Step[], signal: AbortSignal): Promise<Committed> {
    const reply = await this.#client.call(
      "/v3/kv/txn",
      { compare: conditions.map(compareOf), success: steps.map(operationOf) },
      signal,
    );
    const responses = (reply["responses"] ?? []) as readonly { readonly response_range?: Reply }[];
    const listed = responses.flatMap(({ response_range: range }) => range === undefined ? [] : keyValuesOf(range));
    return { ...headerOf(reply), succeeded: reply["succeeded"] === true, listed };
  }

  /** Makes a lease. @param seconds How long it lives. @returns Its number, and how long it lives indeed. */
  async grant(seconds: number, signal: AbortSignal): Promise<{ readonly id: string; readonly seconds: number }> {
    const reply = await this.#client.call("/v3/lease/grant", { TTL: String(seconds), ID: NO_LEASE }, signal);
    return { id: String(reply["ID"]), seconds: Number(reply["TTL"] ?? seconds) };
  }

  /** Ends a lease that no key has. */
  async revoke(id: string, signal: AbortSignal): Promise<void> {
    await this.#client.call("/v3/lease/revoke", { ID: id }, signal);
  }

  /**
   * Changes in some ranges, on one connection.
   *
   * @param origin The member to be asked.
   * @throws {CompactedError} If there is no history from there on.
   */
  async *watch(origin: string, ranges: readonly WatchedRange[], signal: AbortSignal): AsyncGenerator<WatchMessage> {
    const requests = ranges.map(({ range, from }) => ({
      create_request: { ...rangeOf(range), start_revision: String(from), progress_notify: true, fragment: true },
    }));
    const text = requests.map((it) => JSON.stringify(it)).join("\n");
    for await (const reply of this.#client.stream(origin, "/v3/watch", text, signal, PROGRESS)) {
      if (reply["canceled"] === true) throw this.#cancelled(origin, reply);
      yield messageOf(reply);
    }
    throw new Error(`etcd at ${origin} ended the watch`);
  }

  #cancelled(origin: string, reply: Reply): Error {
    if (reply["compact_revision"] !== undefined) return new CompactedError("the history was compacted");
    const reason = String(reply["cancel_reason"] ?? "");
    const code = /PermissionDenied/.test(reason) ? CODES.permissionDenied : CODES.unavailable;
    const error = etcdError("the watch", origin, code, reason.replace(/^rpc error: code = \w+ desc = /, ""));
    if (isOfToken(error)) this.#client.renewToken();
    return error;
  }
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

function rangeOf({ from, to }: KeyRange) {
  return { key: base64(from), ...to !== null && { range_end: base64(to) } };
}

/** The key that comes right after another; both in base64. */
function after(key: string): string {
  return Buffer.concat([Buffer.from(key, "base64"), Buffer.of(0)]).toString("base64");
}

function compareOf(condition: Condition): object {
  const { key, is } = condition;
  return is === "absent"
    ? { key: base64(key), target: "VERSION", result: "EQUAL", version: "0" }
    : { key: base64(key), target: "MOD", result: "EQUAL", mod_revision: String(condition.modRevision) };
}

function operationOf(step: Step): object {
  if ("put" in step) return { request_put: { key: base64(step.put), value: base64(step.value), lease: step.lease } };
  if ("remove" in step) return { request_delete_range: { key: base64(step.remove) } };
  return { request_range: { ...rangeOf(step.list), keys_only: true, min_create_revision: String(step.createdSince + 1) } };
}

function headerOf(reply: Reply): Header {
  const { cluster_id: cluster = "", revision = 0 } = (reply["header"] ?? {}) as Reply;
  return { cluster: String(cluster), revision: Number(revision) };
}

/** A key as etcd tells it; what is 0 or empty it leaves out. */
interface RawKeyValue {
  readonly key: string;
  readonly value?: string;
  readonly create_revision?: string;
  readonly mod_revision?: string;
  readonly lease?: string;
}

function rawKeyValuesOf(reply: Reply): readonly RawKeyValue[] {
  return (reply["kvs"] ?? []) as readonly RawKeyValue[];
}

function keyValuesOf(reply: Reply): readonly KeyValue[] {
  return rawKeyValuesOf(reply).map(keyValueOf);
}

function keyValueOf({ key, value = "", create_revision = "0", mod_revision = "0", lease = NO_LEASE }: RawKeyValue): KeyValue {
  return {
    key: keyText(key),
    value: asciiOf(value) ?? Buffer.from(value, "base64").toString(),
    createRevision: Number(create_revision),
    modRevision: Number(mod_revision),
    lease,
  };
}

/** What was sent in base64, if it is ASCII, as nearly all of it is: several times as quick as a Buffer. */
function asciiOf(encoded: string): string | null {
  const bytes = atob(encoded);
  return /[\x80-\xff]/.test(bytes) ? null : bytes;
}

function keyText(encoded: string): string {
  const ascii = asciiOf(encoded);
  if (ascii !== null && ascii.length <= LONGEST_KEY) return ascii;
  const bytes = Buffer.from(encoded, "base64");
  if (bytes.length > LONGEST_KEY) {
    const digest = createHash("sha256").update(bytes).digest("hex");
    return `${bytes.toString("latin1", 0, LONGEST_KEY)}... (${bytes.length} bytes, SHA-256 ${digest})`;
  }
  const text = bytes.toString();
  return text.includes("\ufffd") && !Buffer.from(text).equals(bytes)
    ? `${bytes.toString("latin1")} (0x${bytes.toString("hex")})`
    : text;
}

function messageOf(reply: Reply): WatchMessage {
  const events = (reply["events"] ?? []) as readonly { readonly type?: string; readonly kv: RawKeyValue }[];
  const [puts, removed]: [KeyValue[], { key: string; modRevision: number }[]] = [[], []];
  for (const { type, kv } of events) {
    if (type === "DELETE") removed.push({ key: keyText(kv.key), modRevision: Number(kv.mod_revision) });
    else puts.push(keyValueOf(kv));
  }
  const header = headerOf(reply);
  const last = events.at(-1);
  // A watch that catches up tells the newest revision in its header, although it has not come so far: only events tell how far.
  const reached = last !== undefined ? Number(last.kv.mod_revision) : header.revision;
  const tells = reply["fragment"] !== true && reply["created"] !== true;
  return { ...header, of: Number(reply["watch_id"] ?? 0), puts, removed, next: tells ? reached + 1 : null };
}
