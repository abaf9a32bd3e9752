/**
 * The members of a cluster of etcd, and which of them is asked.
 *
 * @module
 */

/** A list of servers of which one is asked until it is left for the next. */
export class Endpoints {
  readonly #origins: readonly string[];
  #at: number;

  /**
   * @param origins At least one, such as `https://10.0.0.1:2379`.
   * @param random A number in [0, 1), so that many agents do not all begin with the same.
   */
  constructor(origins: readonly string[], random: number) {
    this.#origins = origins;
    this.#at = Math.floor(random * origins.length);
  }

  /** How many there are. */
  get size(): number {
    return this.#origins.length;
  }

  /** Whom to ask now. */
  get current(): string {
    return this.#origins[this.#at]!;
  }

  /** Leaves a server for the next, unless somebody else has left it already. */
  leave(origin: string): void {
    if (origin === this.current) this.#at = (this.#at + 1) % this.#origins.length;
  }
}
