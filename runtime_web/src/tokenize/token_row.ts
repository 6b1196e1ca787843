// A text as the row of token ids that the graph takes. docs/bundle_format.md has the layout.

import type { TokenLayout } from "../bundle/manifest.js";
import { DataError } from "../errors.js";
import type { TokenizedWord, Tokenizer } from "./tokenizer.js";

/** The token ids of one input, special tokens included. */
export interface TokenRow {
  readonly ids: readonly number[];
  readonly typeIds: readonly number[];
  /** Whether the input was too long and was truncated. */
  readonly truncated: boolean;
  /** Number of token ids before truncation, special tokens included. */
  readonly wholeLength: number;
}

/** A word of the input. If the row was truncated within the word, `tokens` covers only the part in the row. */
export interface Word {
  readonly text: string;
  /** Start and end of the word in its text, as JavaScript string indices. */
  readonly start: number;
  readonly end: number;
  /** 1 for a word of the second text of a pair, otherwise 0. */
  readonly part: 0 | 1;
  /** Its range in the row of token ids: the first position, and the position after the last. */
  readonly tokens: readonly [number, number];
}

/** Turns texts into rows for one bundle. */
export class TextTokenizer {
  constructor(
    private readonly tokenizer: Tokenizer,
    private readonly layout: TokenLayout,
    private readonly textPair: boolean,
  ) {}

  /** The largest id that a row can contain. */
  get largestId(): number {
    const { prefixIds, infixIds, suffixIds, padId } = this.layout;
    return [...prefixIds, ...infixIds, ...suffixIds, padId].reduce((largest, id) => Math.max(largest, id), this.tokenizer.largestId);
  }

  /** The row of `text`, which is `texts[index]` in messages. Throws DataError when it is not a text, or not a pair if the bundle needs pairs. */
  row(text: unknown, index: number): TokenRow {
    const { prefixIds, infixIds, suffixIds, secondTypeId } = this.layout;
    const parts = this.parts(text, index);
    const [first, second] = parts.map((part) => part.words.flatMap((word) => word.ids).slice(0, part.kept));
    const firstIds = [...prefixIds, ...first!, ...(second === undefined ? [] : infixIds)];
    const secondIds = [...(second ?? []), ...suffixIds];
    const special = firstIds.length + secondIds.length - first!.length - (second?.length ?? 0);
    return {
      ids: [...firstIds, ...secondIds],
      typeIds: [...firstIds.map(() => 0), ...secondIds.map(() => (second === undefined ? 0 : secondTypeId))],
      truncated: parts.some((part) => part.tooManyBytes || part.kept < part.count),
      wholeLength: parts.reduce((sum, part) => sum + part.count, special),
    };
  }

  /** The words of a text whose tokens are in its row. Throws DataError. */
  words(text: unknown): Word[] {
    const words: Word[] = [];
    let position = this.layout.prefixIds.length;
    for (const [number, part] of this.parts(text, 0).entries()) {
      const stop = position + part.kept;
      for (const { ids, start, end } of part.words) {
        if (position === stop) break;
        const tokens = [position, Math.min(stop, position + ids.length)] as const;
        words.push({ text: part.text.slice(start, end), start, end, part: number as 0 | 1, tokens });
        position = tokens[1];
      }
      position += this.layout.infixIds.length;
    }
    return words;
  }

  private parts(text: unknown, index: number): Part[] {
    const { prefixIds, infixIds, suffixIds, maxLengthTokens } = this.layout;
    const budget = maxLengthTokens - prefixIds.length - suffixIds.length;
    if (!this.textPair) {
      if (typeof text !== "string") throw new DataError(`texts[${index}]: found ${typeOf(text)}, expected a string.`);
      const part = this.part(text);
      return [{ ...part, kept: Math.min(part.count, budget) }];
    }
    if (!Array.isArray(text) || text.length !== 2 || !text.every((part) => typeof part === "string")) {
      throw new DataError(`texts[${index}]: found ${typeOf(text)}, expected two strings: this bundle classifies pairs.`);
    }
    const [first, second] = [this.part(text[0]!), this.part(text[1]!)];
    const kept = longestFirst(first.count, second.count, budget - infixIds.length);
    return [{ ...first, kept: kept[0] }, { ...second, kept: kept[1] }];
  }

  private part(original: string): Omit<Part, "kept"> {
    const [text, tooManyBytes] = limitText(original, this.layout.maxTextBytes);
    const words = this.tokenizer.words(text);
    return { text, tooManyBytes, words, count: words.reduce((sum, word) => sum + word.ids.length, 0) };
  }
}

// One text of an input.
interface Part {
  readonly text: string;
  readonly tooManyBytes: boolean;
  readonly words: readonly TokenizedWord[];
  readonly count: number; // of the ids of all words
  readonly kept: number; // how many of these ids are in the row
}

/** How many tokens of each text of a pair fit into `budget` tokens, truncating the longer text first, as the `tokenizers` library does. */
export function longestFirst(first: number, second: number, budget: number): [number, number] {
  if (first + second <= budget) return [first, second];
  const short = Math.min(first, second);
  const long = Math.max(first, second);
  let keepShort = short;
  let keepLong = keepShort > budget ? keepShort : Math.max(keepShort, budget - keepShort);
  if (keepShort + keepLong > budget) {
    keepShort = Math.floor(budget / 2);
    keepLong = keepShort + (budget % 2);
  }
  keepShort = Math.min(keepShort, short);
  keepLong = Math.min(keepLong, long);
  return first <= second ? [keepShort, keepLong] : [keepLong, keepShort];
}

/** A text without unpaired surrogates, truncated to a number of UTF-8 bytes; also tells whether it was truncated. */
export function limitText(text: string, maxTextBytes: number): [string, boolean] {
  const repaired = text.toWellFormed();
  if (repaired.length * 3 <= maxTextBytes) return [repaired, false]; // a UTF-16 unit has at most three bytes of UTF-8
  const buffer = new Uint8Array(maxTextBytes);
  const { read } = new TextEncoder().encodeInto(repaired, buffer); // stops before a code point that does not fit
  return [repaired.slice(0, read), read < repaired.length];
}

function typeOf(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value === "string" ? "a string" : typeof value;
}
