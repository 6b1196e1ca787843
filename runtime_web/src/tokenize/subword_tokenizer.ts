// A tokenizer in four steps, as the reference runs them: added tokens, normalizer, pre-tokenizer, model.

import type { AddedTokens } from "./added_tokens.js";
import { propertiesOf, WHITESPACE } from "./characters.js";
import { type CodedText, codedText } from "./coded_text.js";
import type { Normalizer } from "./normalizer.js";
import type { PreTokenizer } from "./pre_tokenizer.js";
import { extendedHash } from "./token_table.js";
import type { TokenizedWord, Tokenizer } from "./tokenizer.js";

/** Splits a piece of a text, which a pre-tokenizer cut out, into tokens. */
export interface SubwordModel {
  ids(codes: readonly number[]): number[];
  readonly largestId: number;
}

const MOST_KNOWN_PIECES = 10_000; // as in the reference
const LONGEST_KNOWN_PIECE = 32;

export class SubwordTokenizer implements Tokenizer {
  private readonly known = new Map<number, KnownPiece>(); // by their hashes, because the same words come again and again

  constructor(
    private readonly normalizer: Normalizer,
    private readonly added: AddedTokens,
    private readonly preTokenizer: PreTokenizer,
    private readonly model: SubwordModel,
  ) {}

  get largestId(): number {
    return Math.max(this.model.largestId, this.added.largestId);
  }

  words(text: string): TokenizedWord[] {
    const words: TokenizedWord[] = [];
    const add = (ids: readonly number[], { from }: CodedText, start: number, end: number): void => {
      words.push({ ids, ...spanOf(text, from, start, end) });
    };
    this.added.splitRaw(codedText(text), (rawId, raw) => {
      if (rawId >= 0) return add([rawId], raw, 0, raw.codes.length);
      this.added.splitNormalized(this.normalizer.apply(raw), (id, part) => {
        if (id >= 0) return add([id], part, 0, part.codes.length);
        const pieces = this.preTokenizer.split(part);
        pieces.forEach((start, end) => add(this.idsOf(pieces.text.codes, start, end), pieces.text, start, end));
      });
    });
    return words;
  }

  private idsOf(codes: readonly number[], start: number, end: number): readonly number[] {
    if (end - start > LONGEST_KNOWN_PIECE) return this.model.ids(codes.slice(start, end));
    let hash = 0;
    for (let i = start; i < end; i += 1) hash = extendedHash(hash, codes[i]!);
    const known = this.known.get(hash);
    if (known !== undefined && isPiece(codes, start, end, known.codes)) return known.ids;
    const piece = codes.slice(start, end);
    const ids = this.model.ids(piece);
    if (known === undefined && this.known.size < MOST_KNOWN_PIECES) this.known.set(hash, { codes: piece, ids });
    return ids;
  }
}

interface KnownPiece {
  readonly codes: readonly number[];
  readonly ids: readonly number[];
}

function isPiece(codes: readonly number[], start: number, end: number, piece: readonly number[]): boolean {
  if (piece.length !== end - start) return false;
  for (let i = start; i < end; i += 1) if (codes[i] !== piece[i - start]) return false;
  return true;
}

// Where a piece is in the original text, without spaces around it unless it has nothing else.
function spanOf(text: string, from: readonly number[], first: number, last: number): { start: number; end: number } {
  let start = Infinity;
  let end = 0;
  for (const visible of [true, false]) {
    for (let i = first; i < last; i += 1) {
      const index = from[i]!;
      const code = text.codePointAt(index)!;
      if (visible && propertiesOf(code) & WHITESPACE) continue;
      start = Math.min(start, index);
      end = Math.max(end, index + (code > 0xffff ? 2 : 1));
    }
    if (end > 0) break;
  }
  return { start, end };
}
