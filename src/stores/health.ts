/**
 * Whether the server answered last time, and what is wrong if something is.
 *
 * @module
 */

/** What the store says of itself. */
export class Health {
  #connected = false;
  #lastError: string | null = null;
  readonly #problems = new Map<string, string>();

  /** As a lease store's `health()` has it. */
  get state(): { readonly connected: boolean; readonly lastError: string | null } {
    return { connected: this.#connected, lastError: this.#lastError ?? [...this.#problems.values()][0] ?? null };
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

  /** What keeps something from going on although the server answers; `null` once nothing does. */
  problem(about: "lease" | "configuration", what: string | null): void {
    if (what === null) this.#problems.delete(about);
    else this.#problems.set(about, what);
  }
}
