// A tokenizer in four steps, as the reference runs them: added tokens, normalizer, pre-tokenizer, model.

import type { AddedTokens } from "./added_tokens.js";
import { propertiesOf, WHITESPACE } from "./characters.js";
import { type CodedText, codedText } from "./coded_text.js";
import type { Normalizer } from "./normalizer.js";
import type { PreTokenizer } from "./pre_tokenizer.js";
import type { TokenizedWord, Tokenizer } from "./tokenizer.js";

/** Splits a piece of a text, which a pre-tokenizer cut out, into tokens. */
export interface SubwordModel {
  ids(codes: readonly number[]): number[];
  readonly largestId: number;
}

const MOST_KNOWN_PIECES = 10_000; // as in the reference
const LONGEST_KNOWN_PIECE = 32;

export class SubwordTokenizer implements Tokenizer {
  private readonly known = new Map<string, readonly number[]>(); // ids of pieces, because the same words come again and again

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
        pieces.forEach((start, end) => add(this.idsOf(pieces.text.codes.slice(start, end)), pieces.text, start, end));
      });
    });
    return words;
  }

  private idsOf(codes: readonly number[]): readonly number[] {
    if (codes.length > LONGEST_KNOWN_PIECE) return this.model.ids(codes);
    const piece = String.fromCodePoint(...codes);
    let ids = this.known.get(piece);
    if (ids === undefined) {
      ids = this.model.ids(codes);
      if (this.known.size < MOST_KNOWN_PIECES) this.known.set(piece, ids);
    }
    return ids;
  }
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
