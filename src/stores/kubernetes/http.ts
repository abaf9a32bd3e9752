/**
 * Requests to an API server with the credentials that hold at the moment. Never retries.
 *
 * @module
 */

import { type Request, Transport, type TransportOptions } from "../transport.ts";
import type { Credentials } from "./access.ts";
import { refusal } from "./api_error.ts";

/** What a client is made of. */
export interface HttpOptions extends Omit<TransportOptions, "server"> {
  readonly credentials: Credentials;
}

/** An HTTP client of one API server. */
export class HttpClient {
  readonly #credentials: Credentials;
  readonly #transport: Transport;

  constructor({ credentials, ...options }: HttpOptions) {
    this.#credentials = credentials;
    this.#transport = new Transport({ ...options, server: "the API server" });
  }

  /** Bytes of all bodies so far, for measuring. */
  get bytesRead(): number {
    return this.#transport.bytesRead;
  }

  /**
   * Sends a request.
   *
   * @returns The body, to be read to its end or left; either way the connection is taken care of.
   * @throws {ApiError} If the status is not 200.
   * @throws {Error} If the server cannot be reached, or a file with credentials cannot be read.
   */
  async request(request: Request, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>> {
    const answer = await this.#transport.request(request, await this.#credentials.access(signal), signal);
    if (answer.status === 200) return answer.body;
    if (answer.status === 401) this.#credentials.refused();
    throw await refusal(`${request.method} ${request.path.replace(/\?.*/, "")}`, answer);
  }

  /** Closes all connections. */
  close(): void {
    this.#transport.close();
  }
}
