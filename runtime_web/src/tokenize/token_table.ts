// Tokens, looked up by what a text begins with.

/** A hash table with open addressing. The hash of a text is that of the text without its last code point, and one more step. */
export class TokenTable {
  private readonly starts: Int32Array; // of the token in `texts`
  private readonly sizes: Int32Array; // 0 marks a free slot
  private readonly hashes: Int32Array; // compared before the token
  private readonly ids: Int32Array;
  private readonly mask: number; // of as many slots as a power of two, at most half of them used
  private texts = new Int32Array(1024);
  private textsSize = 0;
  private longestSize = 0;
  private readonly beginnings: Uint8Array; // by hash, whether a token may begin like that

  constructor(mostTokens: number) {
    let size = 16;
    while (size < 2 * mostTokens) size *= 2;
    this.mask = size - 1;
    this.starts = new Int32Array(size);
    this.sizes = new Int32Array(size);
    this.hashes = new Int32Array(size);
    this.ids = new Int32Array(size).fill(-1);
    this.beginnings = new Uint8Array(8 * size);
  }

  /** Adds a token that is not empty; at most as many as the constructor was told. One that is there already gets the new id. */
  add(codes: readonly number[], id: number): void {
    const hash = hashOf(codes);
    const slot = this.slotOf(codes, 0, codes.length, hash);
    if (this.sizes[slot] === 0) {
      this.starts[slot] = this.textsSize;
      this.sizes[slot] = codes.length;
      this.hashes[slot] = hash;
      this.appendText(codes);
      this.longestSize = Math.max(this.longestSize, codes.length);
      this.markBeginnings(codes);
    }
    this.ids[slot] = id;
  }

  /** The id of a token; -1 if there is no such token. */
  idOf(codes: readonly number[]): number {
    return this.ids[this.slotOf(codes, 0, codes.length, hashOf(codes))]!;
  }

  /** The size of the longest token. */
  get longest(): number {
    return this.longestSize;
  }

  /** The id of the token that a text has from `start` to `end`, or -1; `hash` is its hash by `extendedHash`. */
  idAt(codes: readonly number[], start: number, end: number, hash: number): number {
    return this.ids[this.slotOf(codes, start, end, hash)]!;
  }

  /** Whether a token may begin with a text, by its hash. Sometimes true where none does, never false where one does. */
  mayBegin(hash: number): boolean {
    return this.beginnings[this.beginningOf(hash)] === 1;
  }

  private markBeginnings(codes: readonly number[]): void {
    let hash = 0;
    for (const code of codes) {
      hash = extendedHash(hash, code);
      this.beginnings[this.beginningOf(hash)] = 1;
    }
  }

  private beginningOf(hash: number): number {
    return (hash ^ (hash >>> 15)) & (this.beginnings.length - 1);
  }

  private appendText(codes: readonly number[]): void {
    const size = this.textsSize + codes.length;
    if (size > this.texts.length) {
      const larger = new Int32Array(2 * size);
      larger.set(this.texts);
      this.texts = larger;
    }
    for (const code of codes) {
      this.texts[this.textsSize] = code;
      this.textsSize += 1;
    }
  }

  // The slot of a token, or the free one where it would be.
  private slotOf(codes: readonly number[], start: number, end: number, hash: number): number {
    const { sizes, hashes, starts, texts, mask } = this;
    const size = end - start;
    for (let slot = (hash ^ (hash >>> 15)) & mask; ; slot = (slot + 1) & mask) {
      if (sizes[slot] === 0) return slot;
      if (hashes[slot] !== hash || sizes[slot] !== size) continue;
      let same = 0;
      while (same < size && texts[starts[slot]! + same] === codes[start + same]) same += 1;
      if (same === size) return slot;
    }
  }
}

/** The hash of a text with one more code point at its end; that of no text is 0. */
export function extendedHash(hash: number, code: number): number {
  return Math.imul(hash + code + 1, 0x9e3779b1);
}

function hashOf(codes: readonly number[]): number {
  let hash = 0;
  for (const code of codes) hash = extendedHash(hash, code);
  return hash;
}
