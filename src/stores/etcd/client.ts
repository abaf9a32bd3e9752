/**
 * Calls to a cluster of etcd over the JSON gateway of its v3 API.
 *
 * Knows members and users: a member that does not answer, or answers without having a leader, is left for another in the middle of a
 * call; a token that is not valid any more is replaced. Never retries beyond that. Passwords and tokens appear in no error. Source:
 * etcd, `api/etcdserverpb/rpc.proto` and `Documentation/dev-guide/api_grpc_gateway.md`.
 *
 * @module
 */

import { quote } from "../../config/errors.ts";
import type { Secret } from "../../config/secret.ts";
import { type Access, readAtMost, Transport } from "../transport.ts";
import { Endpoints } from "./endpoints.ts";
import { CERTIFICATE_USERS, CODES, EtcdError, etcdError, refusal, SPEAKS_TLS } from "./error.ts";
import { TlsFiles, type TlsPaths } from "./tls_files.ts";

/** Where a cluster is and who asks. */
export interface ClientOptions {
  /** Origins, at least one. */
  readonly endpoints: readonly string[];
  readonly tls: TlsPaths;
  readonly user: { readonly name: string; readonly password: Secret } | null;
  readonly userAgent: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Called after about every 2 MB read and after a large answer, so that a runtime can give memory back. */
  readonly collect?: () => void;
}

/** Limits of one call. */
export interface Limits {
  /** Milliseconds for which a member may be silent. */
  readonly silence?: number;
  /** Bytes of the answer. */
  readonly bytes?: number;
}

/** A body of an answer; what stands in it is for others to look at. */
export type Reply = Readonly<Record<string, unknown>>;

/** An answer was longer than the caller wanted. */
export class TooLongError extends Error {
  override readonly name = "TooLongError";
}

/** A call to a member that can not reach the others takes seven seconds to fail. */
const SILENCE = 10_000;
const LARGEST = 64 * 1024 * 1024;
/** Members answer at once when they have no leader, instead of waiting for one. */
const REQUIRE_LEADER = { "grpc-metadata-hasleader": "true" };
const AUTHENTICATE = "/v3/auth/authenticate";

/** A client of one cluster. */
export class EtcdClient {
  readonly #o: ClientOptions;
  readonly #endpoints: Endpoints;
  readonly #files: TlsFiles;
  readonly #transport: Transport;
  /** `null` while nobody asked for one; an empty text where the cluster wants none. */
  #token: Promise<string> | null = null;

  constructor(options: ClientOptions) {
    this.#o = options;
    this.#endpoints = new Endpoints(options.endpoints, options.random());
    this.#files = new TlsFiles(options.tls, options.now);
    this.#transport = new Transport({ ...options, server: "etcd" });
  }

  /** The member that is asked first. */
  get origin(): string {
    return this.#endpoints.current;
  }

  /** Bytes read so far, for measuring. */
  get bytesRead(): number {
    return this.#transport.bytesRead;
  }

  /** Asks another member from now on. */
  leave(origin: string): void {
    this.#endpoints.leave(origin);
  }

  /**
   * Calls a method; where a member can not answer, on the next.
   *
   * @throws {EtcdError} If the cluster refuses.
   * @throws {TooLongError} If the answer has more bytes than wanted.
   * @throws {Error} If no member answers; it says what each did.
   */
  async call(path: string, body: object, signal: AbortSignal, limits: Limits = {}): Promise<Reply> {
    const failures: Error[] = [];
    for (let tried = 0; tried < this.#endpoints.size; tried++) {
      const { origin } = this;
      try {
        return await this.callAt(origin, path, body, signal, limits);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof TooLongError || (error instanceof EtcdError && !error.isOfMember)) throw error;
        failures.push(error as Error);
        this.leave(origin);
      }
    }
    if (failures.length === 1) throw failures[0];
    throw new Error(failures.map(({ message }) => message).join("; "), { cause: failures[0] });
  }

  /** As {@linkcode call}, but asks only this member. */
  async callAt(origin: string, path: string, body: object, signal: AbortSignal, limits: Limits = {}): Promise<Reply> {
    const token = await this.#tokenFrom(origin, signal);
    try {
      return await this.#post(origin, path, body, token, signal, limits);
    } catch (error) {
      if (!this.#forget(token, error)) throw error;
    }
    return await this.#post(origin, path, body, await this.#tokenFrom(origin, signal), signal, limits);
  }

  /**
   * Calls a method whose answer goes on and on; only one member is asked.
   *
   * @param text The body: one message after the other.
   * @returns The messages.
   */
  async *stream(origin: string, path: string, text: string, signal: AbortSignal, silence: number): AsyncGenerator<Reply> {
    const token = await this.#tokenFrom(origin, signal);
    const body = await this.#send(origin, path, text, token, signal, { silence, stream: true });
    for await (const line of linesOf(body, LARGEST)) {
      const { result, error } = JSON.parse(line) as { readonly result?: Reply; readonly error?: Reply };
      if (result !== undefined) yield result;
      else {
        const code = Number(error?.["grpc_code"] ?? error?.["code"] ?? CODES.unavailable);
        throw etcdError(path, origin, code, String(error?.["message"] ?? ""));
      }
    }
  }

  /** Asks for a new token before the next call, after a stream was refused because of the one it had. */
  renewToken(): void {
    this.#token = null;
  }

  /** Closes all connections. */
  close(): void {
    this.#transport.close();
  }

  async #post(origin: string, path: string, body: object, token: string, signal: AbortSignal, limits: Limits): Promise<Reply> {
    const { silence = SILENCE, bytes = LARGEST } = limits;
    const answer = await this.#send(origin, path, JSON.stringify(body), token, signal, { silence, stream: false });
    const text = await readAtMost(answer, bytes);
    if (text.length > bytes) throw new TooLongError(`The answer of etcd at ${origin} is longer than ${bytes} bytes`);
    try {
      return JSON.parse(text.toString()) as Reply;
    } catch {
      throw new Error(`What answers at ${origin} is not etcd's: ${quote(text.toString())}`);
    }
  }

  async #send(
    origin: string,
    path: string,
    text: string,
    token: string,
    signal: AbortSignal,
    how: { readonly silence: number; readonly stream: boolean },
  ): Promise<AsyncIterable<Uint8Array>> {
    const url = new URL(origin);
    const headers = { ...REQUIRE_LEADER, ...token !== "" && { authorization: token } };
    const access: Access = { url, tls: url.protocol === "https:" ? await this.#files.read() : {}, headers };
    const request = { method: "POST", path, accept: "application/json", body: { type: "application/json", text }, ...how } as const;
    try {
      const answer = await this.#transport.request(request, access, signal);
      if (answer.status === 200) return answer.body;
      throw this.#explain(await refusal(path, origin, answer));
    } catch (error) {
      signal.throwIfAborted();
      if (error instanceof EtcdError) throw error;
      const { message } = error as Error;
      const cutOff = /socket hang up|ECONNRESET|closed/.test(message) ? SPEAKS_TLS.replace("it speaks", "if it speaks") : "";
      const hint = url.protocol === "http:" ? cutOff : this.#files.hint(access.tls, message);
      throw new Error(message + hint, { cause: error });
    }
  }

  /** The token that goes with a call; empty where there is no user. */
  async #tokenFrom(origin: string, signal: AbortSignal): Promise<string> {
    const { user } = this.#o;
    if (user === null) return "";
    const asked = this.#token ??= this.#authenticate(origin, user, signal);
    try {
      return await asked;
    } catch (error) {
      if (this.#token === asked) this.#token = null;
      throw error;
    }
  }

  async #authenticate(
    origin: string,
    { name, password }: NonNullable<ClientOptions["user"]>,
    signal: AbortSignal,
  ): Promise<string> {
    try {
      const reply = await this.#post(origin, AUTHENTICATE, { name, password: password.reveal() }, "", signal, {});
      return String(reply["token"] ?? "");
    } catch (error) {
      if (!(error instanceof EtcdError)) throw error;
      if (error.code === CODES.failedPrecondition) return ""; // the cluster has authentication off
      if (error.code !== CODES.invalidArgument) throw error;
      const message = `etcd at ${origin} does not let user ${quote(name)} in: ${error.said}; ` +
        "check --etcd-username and --etcd-password";
      throw new EtcdError(message, error.code, error.said);
    }
  }

  /** Forgets a token because of an error; says whether another may be better. */
  #forget(token: string, error: unknown): boolean {
    if (this.#o.user === null || !(error instanceof EtcdError) || !isOfToken(error)) return false;
    this.#token = null;
    return token !== "" || /user name is empty/.test(error.said);
  }

  #explain(error: EtcdError): EtcdError {
    if (this.#o.user !== null || !/user name is empty/.test(error.said)) return error;
    const remedy = this.#files.hasCertificate ? CERTIFICATE_USERS : "give --etcd-username and --etcd-password";
    return new EtcdError(`${error.message}; authentication is on: ${remedy}`, error.code, error.said);
  }
}

/** Whether a refusal is about the token and not about the call. */
export function isOfToken({ code, said }: EtcdError): boolean {
  return code === CODES.unauthenticated || /user name is empty|revision in header is old|invalid auth token/.test(said);
}

/** The lines of a stream of bytes. @throws {Error} If one is longer than `limit` bytes. */
async function* linesOf(bytes: AsyncIterable<Uint8Array>, limit: number): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let pieces: string[] = [];
  let length = 0;
  for await (const piece of bytes) {
    const [first, ...others] = decoder.decode(piece, { stream: true }).split("\n");
    pieces.push(first!);
    length += first!.length;
    for (const other of others) {
      const line = pieces.join("");
      if (line.trim() !== "") yield line;
      pieces = [other];
      length = other.length;
    }
    if (length > limit) throw new Error(`a message of etcd is longer than ${limit} bytes`);
  }
}
