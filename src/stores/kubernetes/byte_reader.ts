/**
 * Takes a body that arrives in pieces apart into runs of known length.
 *
 * Holds no more than the run that was asked for and the piece it came with, whatever the sender does, and asks for the next piece
 * only when it is needed, so that a slow reader slows the sender.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { LONGEST_VARINT, ProtobufError, readVarint, varintLength } from "./protobuf.ts";

/** The API server's own limit for an object is 3 MB; one run is one object. */
const LONGEST_RUN = 8 * 1024 * 1024;

/** Reads from the pieces of a body. What it hands out is valid until the next call. */
export class ByteReader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #buffer = Buffer.alloc(64 * 1024);
  #from = 0;
  #to = 0;
  /** Bytes handed out so far. */
  consumed = 0;

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** Whether the body ends here. Waits for its next piece. */
  async atEnd(): Promise<boolean> {
    return !await this.#fill(1);
  }

  /**
   * The next bytes.
   *
   * @throws {ProtobufError} If the body ends before, or the run is longer than any object.
   */
  async take(length: number): Promise<Buffer> {
    if (length > LONGEST_RUN) throw new ProtobufError(`one object claims ${length} bytes`);
    if (!await this.#fill(length)) throw new ProtobufError(`the body ended ${length - (this.#to - this.#from)} bytes too early`);
    const run = this.#buffer.subarray(this.#from, this.#from + length);
    this.#advance(length);
    return run;
  }

  /** The next varint. */
  async varint(): Promise<number> {
    await this.#fill(LONGEST_VARINT);
    const length = varintLength(this.#buffer, this.#from, this.#to);
    if (length === 0) throw new ProtobufError("the body ended inside a number");
    const value = readVarint(this.#buffer, this.#from, length);
    this.#advance(length);
    return value;
  }

  #advance(length: number): void {
    this.#from += length;
    this.consumed += length;
  }

  /** Gets at least this many bytes into the buffer; false if the body has no more. */
  async #fill(length: number): Promise<boolean> {
    while (this.#to - this.#from < length) {
      const next = await this.#pieces.next();
      if (next.done) return false;
      this.#append(next.value);
    }
    return true;
  }

  #append(piece: Uint8Array): void {
    const kept = this.#to - this.#from;
    if (this.#to + piece.length > this.#buffer.length) {
      const size = kept + piece.length;
      const target = size > this.#buffer.length ? Buffer.alloc(size * 2) : this.#buffer;
      target.set(this.#buffer.subarray(this.#from, this.#to));
      this.#buffer = target;
      this.#from = 0;
      this.#to = kept;
    }
    this.#buffer.set(piece, this.#to);
    this.#to += piece.length;
  }
}
