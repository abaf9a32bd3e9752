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

/** A message of which some attributes vary. Make one with {@linkcode template}. */
export class Template {
  readonly #type: number;
  readonly #flags: number;
  readonly #bytes: Uint8Array;
  readonly #places: readonly Place[];

  constructor(type: number, flags: number, bytes: Uint8Array, places: readonly Place[]) {
    this.#type = type;
    this.#flags = flags;
    this.#bytes = bytes;
    this.#places = places;
  }

  /** A request with these values for the varying attributes, in their order. */
  with(...values: readonly unknown[]): Request {
    return { type: this.#type, flags: this.#flags, write: (writer) => this.#write(writer, values) };
  }

  #write(writer: Writer, values: readonly unknown[]): void {
    const start = writer.reserve(this.#bytes.length);
    writer.bytes.set(this.#bytes, start);
    for (let i = 0; i < values.length; i++) {
      const { offset, put } = this.#places[i]!;
      put(writer, start + offset, values[i] as never);
    }
  }
}

/**
 * Makes a template.
 *
 * @param sample A whole message; values that are put over others later must have their length.
 * @param varying The attributes that differ from use to use.
 */
export function template<F extends Fields, A extends Attributes>(
  type: number,
  flags: number,
  message: Message<F, A>,
  sample: Of<Message<F, A>>,
  varying: readonly (keyof A & string)[],
): Template {
  const writer = new Writer(256);
  message.write(writer, sample);
  const places = varying.map((name) => {
    const [number, wire] = message.attributes[name]!;
    const { put } = wire;
    if (put === undefined) throw new TypeError(`The length of ${name} varies too`);
    return { offset: findAttribute(writer.view, message.headerSize, writer.at - message.headerSize, number), put };
  });
  return new Template(type, flags, writer.bytes.slice(0, writer.at), places);
}
