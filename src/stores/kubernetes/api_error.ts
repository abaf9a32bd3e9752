/**
 * What an API server says when it refuses.
 *
 * @module
 */

import type { Buffer } from "node:buffer";
import { oneLine } from "../../config/errors.ts";
import { type Answer, readAtMost } from "../transport.ts";
import { openEnvelope, readStatus, type Status } from "./wire.ts";

/** The server answered, but not with what was asked for. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status, also where the refusal came inside a watch. */
  readonly status: number;
  /** Seconds to wait before the next attempt, if the server said so. */
  readonly retryAfter: number | null;

  constructor(message: string, status: number, retryAfter: number | null = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const LONGEST_BODY = 64 * 1024;
/** A server that asks for more is asked again after this many seconds all the same. */
const LONGEST_WAIT = 60;

/** What to do about statuses that do not go away by themselves. */
const REMEDIES: Readonly<Record<number, string>> = {
  401: "check the token or client certificate, and that the server trusts it",
  403: "give this user the ClusterRole that the agent's manifest has",
};

/** The error for an answer whose status is not 200; reads its body. */
export async function refusal(what: string, { status: code, headers, body }: Answer): Promise<ApiError> {
  const status = statusIn(await readAtMost(body, LONGEST_BODY));
  return apiError(what, {
    ...status,
    code,
    retryAfterSeconds: Number(headers["retry-after"]) || status.retryAfterSeconds,
  });
}

/** The error for a `Status`. */
export function apiError(what: string, { code, message, retryAfterSeconds }: Status): ApiError {
  const remedy = REMEDIES[code] === undefined ? "" : `; ${REMEDIES[code]}`;
  const said = oneLine(message.trim()) || "no reason given";
  const retryAfter = retryAfterSeconds > 0 ? Math.min(retryAfterSeconds, LONGEST_WAIT) : null;
  return new ApiError(`The API server refused ${what} with ${code}: ${said}${remedy}`, code, retryAfter);
}

/** A `Status` in protobuf or JSON; anything else, as a proxy might send it, is the message itself. */
function statusIn(body: Buffer): Status {
  const none = { code: 0, message: "", retryAfterSeconds: 0 };
  try {
    const text = body.toString();
    if (text.startsWith("k8s\0")) return readStatus(openEnvelope(body).message);
    if (!text.startsWith("{")) return { ...none, message: text };
    const status = JSON.parse(text) as { message?: unknown; details?: { retryAfterSeconds?: unknown } };
    return {
      ...none,
      message: String(status.message ?? ""),
      retryAfterSeconds: Number(status.details?.retryAfterSeconds) || 0,
    };
  } catch {
    return none;
  }
}
