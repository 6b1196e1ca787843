// SentencePiece's Unigram model: of all ways to split a piece into tokens, the one with the highest sum of scores.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe, type Json } from "../bundle/strict_json.js";
import { codesOf } from "./coded_text.js";
import { extendedHash, TokenTable } from "./token_table.js";
import { unsupported } from "./unsupported.js";
import { utf8Of } from "./utf8.js";
import { isTooLong, MOST_TOKEN_BYTES, MOST_TOKENS } from "./vocabulary.js";

const MOST_SCORE = 1e6;
const UNKNOWN_PENALTY = 10; // how far the score of an unknown character is below the lowest one

export class Unigram {
  private readonly tokens: TokenTable;
  private readonly scores: Float64Array;
  private readonly unknownId: number;
  private readonly unknownScore: number;
  private readonly byteIds: readonly number[] | undefined; // of each byte of an unknown text, or -1
  readonly largestId: number;

  /** Takes the `model` of a `tokenizer.json`. Throws BundleContentError. */
  constructor(model: JsonReader) {
    const vocabulary = model.array("vocab");
    if (vocabulary.length > MOST_TOKENS) throw model.fieldError("vocab", `${vocabulary.length} tokens`, `at most ${MOST_TOKENS}`);
    if (model.optional("unk_id") === undefined) throw unsupported(model, "its Unigram has no unknown token");
    this.unknownId = model.integer("unk_id", 0, vocabulary.length - 1);
    this.tokens = new TokenTable(vocabulary.length);
    this.scores = new Float64Array(vocabulary.length);
    let lowest = Infinity;
    for (const [id, pair] of vocabulary.entries()) {
      const [token, score] = pieceOf(model, pair);
      if (token !== "") this.tokens.add(codesOf(token), id);
      this.scores[id] = score;
      lowest = Math.min(lowest, score);
    }
    this.unknownScore = lowest - UNKNOWN_PENALTY;
    this.largestId = vocabulary.length - 1;
    const hasBytes = model.optional("byte_fallback") !== undefined && model.boolean("byte_fallback");
    const name = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`;
    this.byteIds = hasBytes ? Array.from({ length: 256 }, (_, byte) => this.idOf(name(byte))) : undefined;
  }

  /** The id of a token; -1 if there is no such token. */
  idOf(token: string): number {
    return this.tokens.idOf(codesOf(token));
  }

  /** The ids of a piece, which is not empty. */
  ids(codes: readonly number[]): number[] {
    const size = codes.length;
    const { tokens: table, scores: tokenScores } = this;
    const scores = new Float64Array(size + 1); // of the best way to split everything before a position
    const lastIds = new Int32Array(size + 1); // and of its last token: the id
    const starts = new Int32Array(size + 1).fill(-1); // and where it begins
    for (let start = 0; start < size; start += 1) {
      const before = scores[start]!;
      const last = Math.min(size, start + Math.max(table.longest, 1));
      let hash = 0;
      for (let end = start + 1; end <= last; end += 1) {
        hash = extendedHash(hash, codes[end - 1]!);
        if (end > start + 1 && !table.mayBegin(hash)) break;
        let id = table.idAt(codes, start, end, hash);
        if (id < 0 && end > start + 1) continue;
        const score = before + (id < 0 ? this.unknownScore : tokenScores[id]!);
        if (id < 0) id = this.unknownId;
        if (starts[end]! >= 0 && !(score > scores[end]!)) continue;
        scores[end] = score;
        lastIds[end] = id;
        starts[end] = start;
      }
    }
    // From the end to the start, and then turned around. Unknown tokens that follow each other are one.
    const tokens: { start: number; end: number }[] = [];
    let unknownBefore = false;
    for (let end = size; end > 0; end = starts[end]!) {
      const unknown = lastIds[end] === this.unknownId;
      if (unknown && unknownBefore) tokens.at(-1)!.start = starts[end]!;
      else tokens.push({ start: starts[end]!, end });
      unknownBefore = unknown;
    }
    return tokens.reverse().flatMap(({ start, end }) => {
      const id = lastIds[end]!;
      return id === this.unknownId ? this.unknown(codes.slice(start, end)) : id;
    });
  }

  private unknown(codes: readonly number[]): number[] {
    const id = this.tokens.idOf(codes); // unknown characters may together be a token whose score is lower still
    if (id >= 0) return [id];
    const ids = this.byteIds === undefined ? [-1] : utf8Of(codes, 0, codes.length).map((byte) => this.byteIds![byte]!);
    return ids.includes(-1) ? [this.unknownId] : ids;
  }
}

function pieceOf(model: JsonReader, pair: Json): [string, number] {
  const [token, score] = Array.isArray(pair) && pair.length === 2 ? (pair as readonly Json[]) : [];
  if (typeof token !== "string" || typeof score !== "number" || !(Math.abs(score) <= MOST_SCORE)) {
    throw model.fieldError("vocab", `an array with ${describe(pair)}`, "pairs of a token and its score");
  }
  if (isTooLong(token)) throw model.fieldError("vocab", "an array with a long token", `at most ${MOST_TOKEN_BYTES} bytes`);
  return [token, score];
}
