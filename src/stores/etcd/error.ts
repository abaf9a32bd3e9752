/**
 * What etcd says when it refuses, and whose fault that is.
 *
 * @module
 */

import { oneLine } from "../../config/errors.ts";
import { type Answer, readAtMost } from "../transport.ts";

/** Status codes of gRPC, as far as somebody decides by them. */
export const CODES = {
  invalidArgument: 3,
  permissionDenied: 7,
  failedPrecondition: 9,
  outOfRange: 11,
  unavailable: 14,
  unauthenticated: 16,
} as const;

/** Codes of refusals that every member would give. */
const OF_ALL_MEMBERS: readonly number[] = [3, 5, 6, 7, 8, 9, 11, 16];

/** The server answered, but not with what was asked for. */
export class EtcdError extends Error {
  override readonly name = "EtcdError";
  /** A status code of gRPC; `unavailable` for what does not speak as etcd does. */
  readonly code: number;
  /** What etcd itself said. */
  readonly said: string;

  constructor(message: string, code: number, said: string) {
    super(message);
    this.code = code;
    this.said = said;
  }

  /** Whether another member of the cluster may well answer better. */
  get isOfMember(): boolean {
    return !OF_ALL_MEMBERS.includes(this.code);
  }
}

/** What to say where a server may want TLS. */
export const SPEAKS_TLS = "; it speaks TLS: give --etcd-cafile, or https:// in --etcd-endpoints";
/** What to say to who is a user by certificate. */
export const CERTIFICATE_USERS =
  "etcd takes a user from a client certificate only over gRPC, not over its JSON gateway, and with " +
  "authentication on it refuses certificates with a common name there: give --etcd-username and --etcd-password, and a client " +
  "certificate without a common name";
const LONGEST_BODY = 64 * 1024;

/** The error for an answer whose status is not 200; reads its body. */
export async function refusal(what: string, origin: string, { status, body }: Answer): Promise<EtcdError> {
  const text = (await readAtMost(body, LONGEST_BODY)).toString();
  try {
    const { code, message } = JSON.parse(text) as { readonly code?: unknown; readonly message?: unknown };
    if (typeof code === "number" && status !== 404) return etcdError(what, origin, code, String(message ?? ""));
    if (code === 5 && message !== "Not Found") return etcdError(what, origin, code, String(message));
  } catch { // not etcd's own words
  }
  const said = oneLine(text.trim()) || "nothing more";
  if (/CommonName of client/.test(said)) {
    return new EtcdError(`etcd at ${origin} refused ${what}: ${said}; ${CERTIFICATE_USERS}`, CODES.invalidArgument, said);
  }
  const remedy = status === 404
    ? "; it must be etcd 3.4 or later, with its JSON gateway on (--enable-grpc-gateway)"
    : /HTTPS server/.test(said)
    ? SPEAKS_TLS
    : "";
  return new EtcdError(`What answers at ${origin} is not etcd's: status ${status}, ${said}${remedy}`, CODES.unavailable, said);
}

/** The error for a status of gRPC. */
export function etcdError(what: string, origin: string, code: number, message: string): EtcdError {
  const said = oneLine(message.trim()) || "no reason given";
  const remedy = code === CODES.permissionDenied
    ? "; give the user's role readwrite on the keys below --etcd-prefix"
    : /space exceeded/.test(said)
    ? "; compact and defragment it, and then: etcdctl alarm disarm"
    : "";
  return new EtcdError(`etcd at ${origin} refused ${what}: ${said}${remedy}`, code, said);
}
