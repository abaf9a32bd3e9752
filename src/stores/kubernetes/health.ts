/**
 * Whether the API server answered last time, and what is wrong if something is.
 *
 * @module
 */

/** What the store says of itself. */
export class Health {
  #connected = false;
  #lastError: string | null = null;
  #waitsFor: string | null = null;

  /** As a lease store's `health()` has it. */
  get state(): { readonly connected: boolean; readonly lastError: string | null } {
    return { connected: this.#connected, lastError: this.#lastError ?? this.#waitsFor };
  }

  /** The server answered as it should. */
  good(): void {
    this.#connected = true;
    this.#lastError = null;
  }

  /** It did not. */
  bad(error: unknown): void {
    this.#connected = false;
    this.#lastError = error instanceof Error ? error.message : String(error);
  }

  /** It answers, but what we need is not there yet; `null` once it is. */
  waitFor(what: string | null): void {
    this.#waitsFor = what;
  }
}
