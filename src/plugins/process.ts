/**
 * The Worker in which a plugin runs: asked by messages, ended when it takes too long.
 *
 * @module
 */

import type { Level } from "../model/effects.ts";
import { oneLine } from "./text.ts";
import type { Calls, FromWorker, ToWorker } from "./protocol.ts";

const LEVELS: readonly Level[] = ["error", "warning", "info", "debug"];

/** What the agent does with a Worker that has ended or been ended. */
export class WorkerLostError extends Error {
  override readonly name = "WorkerLostError";
}

/** What a call is made with, besides its request. */
export interface CallOptions {
  /** Milliseconds, after which the Worker is ended; without it, whoever calls ends the call by the signal. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
  readonly log?: (level: Level, message: string) => void;
}

interface Pending {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly log: CallOptions["log"];
}

/** A plugin's Worker. */
export class PluginProcess {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #lost: (reason: string) => void;
  #last = 0;
  #ended = false;

  /**
   * @param module The Worker's first module. Its place is known to a module at the top of the source, which stands there in the compiled
   *   agent too.
   * @param lost Called once, if the Worker ends without being asked to.
   */
  constructor(module: URL, lost: (reason: string) => void) {
    this.#lost = lost;
    this.#worker = new Worker(module.href, { type: "module" });
    this.#worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.#take(data);
    this.#worker.onerror = (event: ErrorEvent) => {
      event.preventDefault?.(); // in Deno it would end the agent
      this.#lose(`it can not run: ${oneLine(event.message)}`);
    };
    this.#worker.onmessageerror = () => this.#lose("it sent what can not be read");
    // It must not keep a process alive that has nothing else to do.
    (this.#worker as unknown as { unref?(): void }).unref?.();
  }

  /**
   * Makes a call.
   *
   * @throws {WorkerLostError} If the Worker has ended, or is ended since the time is over.
   * @throws {Error} What the plugin threw.
   */
  async call<C extends keyof Calls>(
    op: C,
    request: Parameters<Calls[C]>[0],
    options: CallOptions = {},
  ): Promise<ReturnType<Calls[C]>> {
    if (this.#ended) throw new WorkerLostError("it has ended");
    const { limit, signal, log } = options;
    const id = ++this.#last;
    const timer = limit === undefined
      ? undefined
      : setTimeout(() => this.#lose(`it did not answer within ${Number((limit / 1000).toFixed(1))} s`), limit);
    const abort = () => this.#post({ id, op: "abort", reason: (signal!.reason as Error).message });
    signal?.addEventListener("abort", abort);
    try {
      return await new Promise<unknown>((resolve, reject) => {
        this.#pending.set(id, { resolve, reject, log });
        this.#post({ id, op, request } as ToWorker);
      }) as ReturnType<Calls[C]>;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
      this.#pending.delete(id);
    }
  }

  /** Ends it, whatever it is doing. */
  end(reason = "it has been ended"): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#worker.terminate();
    for (const { reject } of this.#pending.values()) reject(new WorkerLostError(reason));
  }

  #post(message: ToWorker): void {
    if (!this.#ended) this.#worker.postMessage(message);
  }

  /** Whatever runs in the Worker can send messages, so nothing is believed of one. */
  #take(message: FromWorker): void {
    if (typeof message !== "object" || message === null) return this.#lose("it sent what is no answer");
    if ("crash" in message) return this.#lose(`it threw where nobody could catch it: ${oneLine(message.crash)}`);
    const pending = this.#pending.get(message.id);
    if ("level" in message) pending?.log?.(LEVELS.includes(message.level) ? message.level : "info", oneLine(message.message));
    else if ("error" in message) pending?.reject(new Error(oneLine(message.error)));
    else pending?.resolve(message.value);
  }

  #lose(reason: string): void {
    if (this.#ended) return;
    this.end(reason);
    this.#lost(reason);
  }
}
