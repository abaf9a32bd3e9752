/**
 * Templates: requests of one shape by the thousand, such as a route for each peer.
 *
 * A message is encoded once; for each use its bytes are copied and a few values written over. An encoder that goes through its table
 * for every message takes as long as the kernel does, until the runtime has compiled it.
 *
 * @module
 */

import type { Request } from "./frame.ts";
import { type Attributes, type Fields, findAttribute, type Message, type Of } from "./schema.ts";
import { type Wire, Writer } from "./wire.ts";

/** Where a varying attribute's value stands, and how it is written over. */
interface Place {
  readonly offset: number;
  readonly put: NonNullable<Wire<never>["put"]>;
}

/** A message of which two attributes vary. Make one with {@linkcode template}. */
export class Template {
  readonly type: number;
  readonly flags: number;
  readonly #words: Uint32Array;
  readonly #places: readonly [Place, Place];

  constructor(type: number, flags: number, words: Uint32Array, places: readonly [Place, Place]) {
    this.type = type;
    this.flags = flags;
    this.#words = words;
    this.#places = places;
  }

  /** A request with these values for the varying attributes, in their order. */
  with(first: unknown, second: unknown): Request {
    return new Filled(this, first, second);
  }

  /** Writes the message with these values. */
  write(writer: Writer, first: unknown, second: unknown): void {
    const words = this.#words;
    const start = writer.reserve(words.length * 4);
    const to = writer.words;
    for (let i = 0, at = start >> 2; i < words.length; i++) to[at + i] = words[i]!; // quicker than set() for so few
    const [a, b] = this.#places;
    a.put(writer, start + a.offset, first as never);
    b.put(writer, start + b.offset, second as never);
  }
}

/** A request of a template: an object and not a closure, since there are thousands at a time. */
class Filled implements Request {
  readonly type: number;
  readonly flags: number;
  readonly #template: Template;
  readonly #first: unknown;
  readonly #second: unknown;

  constructor(template: Template, first: unknown, second: unknown) {
    this.type = template.type;
    this.flags = template.flags;
    this.#template = template;
    this.#first = first;
    this.#second = second;
  }

  write(writer: Writer): void {
    this.#template.write(writer, this.#first, this.#second);
  }
}

/**
 * Makes a template.
 *
 * @param sample A whole message; values that are put over others later must have their length.
 * @param varying The two attributes that differ from use to use.
 */
export function template<F extends Fields, A extends Attributes>(
  type: number,
  flags: number,
  message: Message<F, A>,
  sample: Of<Message<F, A>>,
  varying: readonly [keyof A & string, keyof A & string],
): Template {
  const writer = new Writer(256);
  message.write(writer, sample);
  const place = (name: keyof A & string): Place => {
    const [number, wire] = message.attributes[name]!;
    const { put } = wire;
    if (put === undefined) throw new TypeError(`The length of ${name} varies too`);
    return { offset: findAttribute(writer.view, message.headerSize, writer.at - message.headerSize, number), put };
  };
  const [first, second] = varying;
  return new Template(type, flags, writer.words.slice(0, writer.at >> 2), [place(first), place(second)]);
}
