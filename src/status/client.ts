/**
 * Asks a running agent over its HTTP API, for the subcommands `status` and `peers`.
 *
 * Whatever answers is not trusted to be an agent: its answer is bounded in time and size, and must be JSON.
 *
 * @module
 */

import { get, type IncomingMessage } from "node:http";
import { type ListenAddress, renderListen } from "../model/listen.ts";

/** Why an agent gave no answer. */
export class AskError extends Error {
  override readonly name = "AskError";
}

/** What an agent answered. */
export interface Answer {
  /** As received. */
  readonly text: string;
  /** The same, parsed. */
  readonly value: unknown;
}

const MOST = 64 << 20; // bytes; 5,000 peers are 1 MB

/**
 * Gets JSON from an agent.
 *
 * @param address Where the agent listens. The unspecified address (`0.0.0.0`) leads to this machine.
 * @param path What to get, such as `/v1/status`.
 * @param patience Milliseconds until the whole answer must be here.
 * @throws {AskError} If there is no answer, or another one than JSON with status 200.
 */
export async function ask(address: ListenAddress, path: string, patience = 5000): Promise<Answer> {
  const fail = (why: string): never => {
    throw new AskError(`Cannot get ${path} from ${renderListen(address)}: ${why}`);
  };
  const { status, text } = await exchange(address, path, patience).catch((error) => fail(explain(error, patience)));
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return fail(
      "the answer is not JSON, so something else than an agent listens there; name the agent's address with --status-listen",
    );
  }
  if (status !== 200) return fail(`the agent answered ${status} (${errorOf(value) ?? "without a reason"})`);
  return { text, value };
}

function exchange(address: ListenAddress, path: string, patience: number): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const where = "path" in address ? { socketPath: address.path } : { host: address.ip, port: address.port };
    const read = (response: IncomingMessage) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (part: string) => {
        text += part;
        if (text.length > MOST) response.destroy(new Error(`the answer is longer than ${MOST} bytes`));
      });
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    };
    // An agent accepts the name localhost on whatever address it listens.
    get({ ...where, path, agent: false, headers: { host: "localhost" }, signal: AbortSignal.timeout(patience) }, read)
      .on("error", reject);
  });
}

function explain(error: Error & { code?: unknown }, patience: number): string {
  switch (error.code) {
    case "ECONNREFUSED":
    case "ENOENT":
      return `no agent listens there (${error.code}); start it, or name its address with --status-listen`;
    case "EACCES":
    case "EPERM":
      return "permission is denied; ask as the user that the agent runs as";
    case "ABORT_ERR":
      return `no answer within ${patience / 1000} s; the agent hangs, or something else listens there`;
    default:
      return `${error.message}; if this is not an agent, name the agent's address with --status-listen`;
  }
}

function errorOf(value: unknown): string | null {
  const known = typeof value === "object" && value !== null && "error" in value && typeof value.error === "string";
  return known ? (value.error as string).replace(/\p{C}/gu, "?") : null;
}
