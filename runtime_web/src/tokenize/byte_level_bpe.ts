// Byte-level BPE: a piece begins as the tokens of its bytes, and pairs of neighbors are merged, the earliest learned pair first.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe, type Json } from "../bundle/strict_json.js";
import { MinHeap } from "./min_heap.js";
import { unsupported } from "./unsupported.js";
import { utf8Of } from "./utf8.js";
import { idIn, MOST_TOKENS } from "./vocabulary.js";

const POSITIONS = 2 ** 30; // more than a piece has bytes; a rank times this is exact

// GPT-2's alphabet: printable characters of Latin-1 stand for themselves, the other bytes for code points from U+0100 on.
const ALPHABET = alphabet();

export class ByteLevelBpe {
  private readonly byteIds: readonly number[];
  private readonly merges: MergeTable;
  private readonly wholePieces: ReadonlyMap<string, Json> | undefined; // pieces that are tokens without any merge
  readonly largestId: number;

  /** Takes the `model` of a `tokenizer.json`. Throws BundleContentError. */
  constructor(model: JsonReader) {
    for (const key of ["continuing_subword_prefix", "end_of_word_suffix"]) {
      if (model.optional(key) !== undefined && model.string(key) !== "") throw unsupported(model, `its BPE has the ${key} ${describe(model.string(key))}`);
    }
    if (model.optional("dropout") !== undefined && model.optional("dropout") !== 0) throw unsupported(model, "its BPE has a dropout");
    const vocabulary = model.object("vocab");
    if (vocabulary.size > MOST_TOKENS) throw model.fieldError("vocab", `${vocabulary.size} tokens`, `at most ${MOST_TOKENS}`);
    let largest = 0;
    for (const [token, id] of vocabulary) largest = Math.max(largest, idIn(model, token, id));
    this.largestId = largest;
    this.byteIds = ALPHABET.map((character, byte) => {
      const id = vocabulary.get(character) as number | undefined;
      if (id === undefined && occurs(byte)) throw unsupported(model, `its BPE has no token for the byte ${byte}`);
      return id ?? 0;
    });
    this.merges = readMerges(model, vocabulary);
    const ignores = model.optional("ignore_merges") !== undefined && model.boolean("ignore_merges");
    this.wholePieces = ignores ? vocabulary : undefined;
  }

  /** The ids of a piece, which is not empty. */
  ids(codes: readonly number[]): number[] {
    const bytes = utf8Of(codes, 0, codes.length);
    const whole = this.wholePieces?.get(bytes.map((byte) => ALPHABET[byte]).join(""));
    if (whole !== undefined) return [whole as number];
    const ids = bytes.map((byte) => this.byteIds[byte]!); // -1 where a token was merged into the one before it
    const previous = ids.map((_, i) => i - 1);
    const next = ids.map((_, i) => (i + 1 < ids.length ? i + 1 : -1));
    const { merges } = this;
    const queue = new MinHeap();
    const offer = (left: number, right: number): void => {
      if (left < 0 || right < 0) return;
      const rank = merges.rankOf(ids[left]!, ids[right]!);
      if (rank >= 0) queue.push(rank * POSITIONS + left); // the lowest rank comes first, and then the first position
    };
    for (let i = 0; i + 1 < ids.length; i += 1) offer(i, i + 1);
    for (let best = queue.pop(); best !== undefined; best = queue.pop()) {
      const left = best % POSITIONS;
      const right = next[left]!;
      if (ids[left]! < 0 || right < 0) continue;
      const merged = merges.idOf(Math.floor(best / POSITIONS));
      const rank = merges.rankOf(ids[left]!, ids[right]!);
      if (rank < 0 || merges.idOf(rank) !== merged) continue; // its neighbor has changed since
      ids[left] = merged;
      ids[right] = -1;
      next[left] = next[right]!;
      if (next[left]! >= 0) previous[next[left]!] = left;
      offer(previous[left]!, left);
      offer(left, next[left]!);
    }
    return ids.filter((id) => id >= 0);
  }
}

// Pairs of ids in a hash table, each with its rank: pairs of lower rank are merged first.
class MergeTable {
  private readonly lefts: Int32Array;
  private readonly rights: Int32Array;
  private readonly ranks: Int32Array; // -1 marks a free slot
  private readonly mask: number;
  private readonly ids: Int32Array; // of the merged token, by rank

  constructor(count: number) {
    let size = 16;
    while (size < 2 * count) size *= 2;
    this.mask = size - 1;
    this.lefts = new Int32Array(size);
    this.rights = new Int32Array(size);
    this.ranks = new Int32Array(size).fill(-1);
    this.ids = new Int32Array(count);
  }

  /** Of a pair that is added twice, the last rank counts. */
  add(left: number, right: number, rank: number, id: number): void {
    const slot = this.slotOf(left, right);
    this.lefts[slot] = left;
    this.rights[slot] = right;
    this.ranks[slot] = rank;
    this.ids[rank] = id;
  }

  /** The rank of a pair; -1 if it is not merged. */
  rankOf(left: number, right: number): number {
    return this.ranks[this.slotOf(left, right)]!;
  }

  /** The token that the pair of a rank becomes. */
  idOf(rank: number): number {
    return this.ids[rank]!;
  }

  private slotOf(left: number, right: number): number {
    let hash = Math.imul(left, 0x9e3779b1) ^ Math.imul(right, 0x85ebca6b);
    hash ^= hash >>> 15;
    let slot = hash & this.mask;
    while (this.ranks[slot]! >= 0 && (this.lefts[slot] !== left || this.rights[slot] !== right)) slot = (slot + 1) & this.mask;
    return slot;
  }
}

function readMerges(model: JsonReader, vocabulary: ReadonlyMap<string, Json>): MergeTable {
  const merges = model.array("merges");
  if (merges.length > MOST_TOKENS) throw model.fieldError("merges", `${merges.length} merges`, `at most ${MOST_TOKENS}`);
  const table = new MergeTable(merges.length);
  for (const [rank, merge] of merges.entries()) {
    const sides = typeof merge === "string" ? merge.split(" ") : merge; // older files have one string
    const [left, right] = Array.isArray(sides) && sides.length === 2 ? (sides as readonly Json[]) : [];
    const ids = typeof left === "string" && typeof right === "string" ? [left, right, left + right].map((token) => vocabulary.get(token)) : [];
    if (ids.length === 0 || ids.includes(undefined)) throw model.fieldError("merges", `an array with ${describe(merge)}`, "pairs of tokens of the vocabulary");
    const [leftId, rightId, id] = ids as [number, number, number];
    table.add(leftId, rightId, rank, id);
  }
  return table;
}

// Bytes that occur in UTF-8.
function occurs(byte: number): boolean {
  return byte < 0xc0 || (byte > 0xc1 && byte < 0xf5);
}

function alphabet(): readonly string[] {
  let next = 0x100;
  const isPrintable = (byte: number): boolean => (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
}
