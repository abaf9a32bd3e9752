/**
 * A value that must not be printed, such as a password.
 *
 * Whoever needs it asks for it by name; logs, status and error messages that print a whole object show `***`.
 *
 * @module
 */

const HIDDEN = "***";

/**
 * A text that shows as `***` wherever it is printed, inspected or serialised.
 *
 * @example Usage
 * ```ts
 * import { Secret } from "./secret.ts";
 * import assert from "node:assert/strict";
 *
 * const password = new Secret("s3cret");
 * assert.equal(JSON.stringify({ password }), '{"password":"***"}');
 * assert.equal(password.reveal(), "s3cret");
 * ```
 */
export class Secret {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself. Hand it on to what needs it, and nowhere else. */
  reveal(): string {
    return this.#text;
  }

  /** `***`. */
  toString(): string {
    return HIDDEN;
  }

  /** `***`. */
  toJSON(): string {
    return HIDDEN;
  }

  /** `***`, for `util.inspect()` and `console.log()`. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return HIDDEN;
  }
}
