/**
 * A map from text for tables of tens of thousands of entries that stay.
 *
 * JavaScriptCore's own `Map` takes 130 to 190 bytes an entry, beside key and value; with 5,000 peers, each with several items, that alone
 * would be a third of the agent's memory. This one takes about 40: keys and values in the order of insertion, their hashes,
 * and an index of those with open addressing.
 *
 * @module
 */

const SMALLEST = 16;
/** No more of the index than this is used. */
const FILL = 0.7;

/** A `Map` with texts for keys; it may not be changed while it is gone through, but for deleting what was just met. */
export class CompactMap<K extends string, V> implements ReadonlyMap<K, V> {
  /** `undefined` where an entry was deleted. */
  #keys: (K | undefined)[] = [];
  #values: (V | undefined)[] = [];
  /** The hash of each key. */
  #hashes = new Int32Array(SMALLEST);
  /** Numbers of entries, from 1; 0 where there is none. */
  #index = new Uint32Array(SMALLEST);
  #size = 0;

  constructor(entries: Iterable<readonly [K, V]> = []) {
    for (const [key, value] of entries) this.set(key, value);
  }

  get size(): number {
    return this.#size;
  }

  has(key: K): boolean {
    return this.#find(key) !== 0;
  }

  get(key: K): V | undefined {
    const entry = this.#find(key);
    return entry === 0 ? undefined : this.#values[entry - 1];
  }

  /** The very text under which an entry is held, so that tables with the same keys can share them; `undefined` if there is none. */
  heldAs(key: K): K | undefined {
    const entry = this.#find(key);
    return entry === 0 ? undefined : this.#keys[entry - 1];
  }

  set(key: K, value: V): this {
    const entry = this.#find(key);
    if (entry !== 0) {
      this.#values[entry - 1] = value;
      return this;
    }
    this.#append(key, value);
    return this;
  }

  /** Sets what is not there yet; `false`, and nothing has changed, if it is. */
  add(key: K, value: V): boolean {
    if (this.#find(key) !== 0) return false;
    this.#append(key, value);
    return true;
  }

  #append(key: K, value: V): void {
    if (this.#keys.length + 1 > this.#index.length * FILL) this.#rebuild();
    this.#keys.push(key);
    this.#values.push(value);
    this.#size++;
    this.#enter(hash(key), this.#keys.length);
  }

  delete(key: K): boolean {
    const entry = this.#find(key);
    if (entry === 0) return false;
    this.#keys[entry - 1] = this.#values[entry - 1] = undefined; // its place in the index leads on to those behind it
    this.#size--;
    return true;
  }

  clear(): void {
    [this.#keys, this.#values, this.#size] = [[], [], 0];
    [this.#hashes, this.#index] = [new Int32Array(SMALLEST), new Uint32Array(SMALLEST)];
  }

  forEach(call: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this) call(value, key, this);
  }

  *keys(): Generator<K, undefined, unknown> {
    for (let i = 0; i < this.#keys.length; i++) if (this.#keys[i] !== undefined) yield this.#keys[i]!;
  }

  *values(): Generator<V, undefined, unknown> {
    for (let i = 0; i < this.#keys.length; i++) if (this.#keys[i] !== undefined) yield this.#values[i]!;
  }

  /** The values in a new array, which is quicker than to go through them. */
  list(): V[] {
    if (this.#size === this.#keys.length) return this.#values.slice() as V[];
    return this.#values.filter((_, i) => this.#keys[i] !== undefined) as V[];
  }

  *entries(): Generator<[K, V], undefined, unknown> {
    for (let i = 0; i < this.#keys.length; i++) if (this.#keys[i] !== undefined) yield [this.#keys[i]!, this.#values[i]!];
  }

  [Symbol.iterator](): Generator<[K, V], undefined, unknown> {
    return this.entries();
  }

  /** The number of an entry, from 1; 0 if there is none. */
  #find(key: K): number {
    const index = this.#index;
    const mask = index.length - 1;
    const wanted = hash(key);
    for (let at = wanted & mask; index[at] !== 0; at = (at + 1) & mask) {
      const entry = index[at]!;
      if (this.#hashes[entry - 1] === wanted && this.#keys[entry - 1] === key) return entry;
    }
    return 0;
  }

  #enter(hash: number, entry: number): void {
    const mask = this.#index.length - 1;
    let at = hash & mask;
    while (this.#index[at] !== 0) at = (at + 1) & mask;
    this.#index[at] = entry;
    this.#hashes[entry - 1] = hash;
  }

  /** Forgets what was deleted, and makes the index as large as what is there needs. */
  #rebuild(): void {
    const [keys, values, hashes] = [this.#keys, this.#values, this.#hashes];
    let length = SMALLEST;
    while ((this.#size + 1) * 1.5 > length * FILL) length *= 2;
    [this.#keys, this.#values] = [[], []];
    [this.#hashes, this.#index] = [new Int32Array(length), new Uint32Array(length)];
    for (let i = 0; i < keys.length; i++) {
      if (keys[i] === undefined) continue;
      this.#values.push(values[i]);
      this.#enter(hashes[i]!, this.#keys.push(keys[i]));
    }
  }
}

let lastKey: string | null = null;
let lastHash = 0;

/**
 * FNV-1a over the code units, with a last stirring of the lower bits, which choose the place. One key is looked up in several tables, one
 * after the other, so the last answer is remembered.
 */
function hash(key: string): number {
  if (key === lastKey) return lastHash;
  let sum = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) sum = Math.imul(sum ^ key.charCodeAt(i), 0x01000193);
  lastKey = key;
  return lastHash = sum ^ (sum >>> 15);
}
