/**
 * Splits the text of a JSON object into its members.
 *
 * Owns what `JSON.parse` does not tell: where an error is, how a number was written (`24` or `24.0`) and in which order members stand.
 * It checks the grammar of RFC 8259 and builds no values. Both runtimes name different places for errors, or none; here they agree.
 *
 * @module
 */

import { oneLine } from "./errors.ts";

/** A member of an object. */
export interface Member {
  readonly key: string;
  /** The value as JSON text, without space around it. */
  readonly text: string;
}

/** How deep arrays and objects may be in each other; nobody needs a tenth of it. */
const DEEPEST = 100;

/**
 * The members of an object, in the order of the text; keys may repeat.
 *
 * @throws {SyntaxError} If the text is not one JSON object and nothing else. The message begins with line and column.
 *
 * @example Usage
 * ```ts
 * import { splitObject } from "./json_object.ts";
 * import assert from "node:assert/strict";
 *
 * assert.deepEqual(splitObject('{"a": [1, 2.0]}'), [{ key: "a", text: "[1, 2.0]" }]);
 * assert.throws(() => splitObject('{"a":\n 01}'), /^SyntaxError: line 2, column 2: /);
 * ```
 */
export function splitObject(text: string): readonly Member[] {
  const scanner = new Scanner(text);
  scanner.skipSpace();
  const members: Member[] = [];
  scanner.skipObject(1, (key, value) => members.push({ key: JSON.parse(key), text: value }));
  scanner.skipSpace();
  if (!scanner.atEnd()) scanner.fail("nothing more");
  return members;
}

class Scanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  atEnd(): boolean {
    return this.#at === this.#text.length;
  }

  fail(expected: string): never {
    const before = this.#text.slice(0, this.#at);
    const found = this.atEnd() ? "the end of the text" : oneLine(String.fromCodePoint(this.#text.codePointAt(this.#at)!));
    const line = before.split("\n").length;
    throw new SyntaxError(`line ${line}, column ${this.#at - before.lastIndexOf("\n")}: expected ${expected}, found ${found}`);
  }

  skipSpace(): void {
    this.#take(/[ \t\n\r]*/y);
  }

  skipObject(depth: number, onMember?: (key: string, value: string) => void): void {
    if (this.#text[this.#at] !== "{") this.fail("an object in braces");
    this.#skipList("}", depth, () => {
      const key = this.#from(() => this.#skipString("a key in quotes"));
      this.skipSpace();
      if (!this.#take(/:/y)) this.fail('":"');
      this.skipSpace();
      const value = this.#from(() => this.#skipValue(depth));
      onMember?.(key, value);
    });
  }

  #skipValue(depth: number): void {
    switch (this.#text[this.#at]) {
      case "{":
        return this.skipObject(depth + 1);
      case "[":
        return this.#skipList("]", depth + 1, () => this.#skipValue(depth + 1));
      case '"':
        return this.#skipString("a string");
      default:
        if (!this.#take(/(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.])/y)) this.fail("a value");
    }
  }

  /** Skips from the opening bracket behind the closing one. */
  #skipList(close: string, depth: number, skipElement: () => void): void {
    if (depth > DEEPEST) this.fail(`no more than ${DEEPEST} values inside each other`);
    this.#at++;
    this.skipSpace();
    let next = this.#text[this.#at];
    while (next !== close) {
      skipElement();
      this.skipSpace();
      next = this.#text[this.#at];
      if (next !== "," && next !== close) this.fail(`"," or "${close}"`);
      if (next === ",") {
        this.#at++;
        this.skipSpace();
      }
    }
    this.#at++;
  }

  #skipString(expected: string): void {
    if (this.#text[this.#at] !== '"') this.fail(expected);
    this.#at++;
    while (this.#text[this.#at] !== '"') {
      const plain = this.#take(/[ !#-[\]-\uffff]+/y);
      if (!plain && !this.#take(/\\(?:["\\/bfnrt]|u[\dA-Fa-f]{4})/y)) this.fail('the rest of a string and its closing "');
    }
    this.#at++;
  }

  #from(skip: () => void): string {
    const start = this.#at;
    skip();
    return this.#text.slice(start, this.#at);
  }

  #take(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at;
    const found = pattern.test(this.#text);
    if (found) this.#at = pattern.lastIndex;
    return found;
  }
}
