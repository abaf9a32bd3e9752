/**
 * A map from text for tables of tens of thousands of entries that stay.
 *
 * JavaScriptCore's own `Map` takes 130 to 190 bytes an entry, beside key and value; with 5,000 peers, each with several items, that alone
 * would be a third of the agent's memory. This one takes about 30: keys and values in the order of insertion, and an index of
 * their hashes with open addressing.
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
    if (this.#keys.length + 1 > this.#index.length * FILL) this.#rebuild();
    this.#keys.push(key);
    this.#values.push(value);
    this.#size++;
    this.#enter(key, this.#keys.length);
    return this;
  }

  delete(key: K): boolean {
    const entry = this.#find(key);
    if (entry === 0) return false;
    this.#keys[entry - 1] = this.#values[entry - 1] = undefined; // its place in the index leads on to those behind it
    this.#size--;
    return true;
  }

  clear(): void {
    [this.#keys, this.#values, this.#index, this.#size] = [[], [], new Uint32Array(SMALLEST), 0];
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

  *entries(): Generator<[K, V], undefined, unknown> {
    for (let i = 0; i < this.#keys.length; i++) if (this.#keys[i] !== undefined) yield [this.#keys[i]!, this.#values[i]!];
  }

  [Symbol.iterator](): Generator<[K, V], undefined, unknown> {
    return this.entries();
  }

  /** The number of an entry, from 1; 0 if there is none. */
  #find(key: K): number {
    const [index, keys] = [this.#index, this.#keys];
    const mask = index.length - 1;
    for (let at = hash(key) & mask; index[at] !== 0; at = (at + 1) & mask) if (keys[index[at]! - 1] === key) return index[at]!;
    return 0;
  }

  #enter(key: K, entry: number): void {
    const mask = this.#index.length - 1;
    let at = hash(key) & mask;
    while (this.#index[at] !== 0) at = (at + 1) & mask;
    this.#index[at] = entry;
  }

  /** Forgets what was deleted, and makes the index as large as what is there needs. */
  #rebuild(): void {
    const [keys, values] = [[...this.keys()], [...this.values()]];
    let length = SMALLEST;
    while ((keys.length + 1) * 1.5 > length * FILL) length *= 2;
    [this.#keys, this.#values, this.#index] = [keys, values, new Uint32Array(length)];
    keys.forEach((key, i) => this.#enter(key, i + 1));
  }
}

/** FNV-1a over the code units, with a last stirring of the lower bits, which choose the place. */
function hash(key: string): number {
  let sum = 0x811c9dc5;
  for (let i = 0; i < key.length; i++) sum = Math.imul(sum ^ key.charCodeAt(i), 0x01000193);
  return sum ^ (sum >>> 15);
}
