// The ids of one input, laid out as docs/bundle_format.md says.

import { DataError } from "../errors.js";
import type { TokenLayout } from "../bundle/manifest.js";
import type { PiecedWord, WordPiece } from "./wordpiece.js";

/** One text, or the two texts of a pair. */
export type Text = string | readonly [string, string];

/** The ids of one input, special ids included. */
export interface TokenRow {
  readonly ids: readonly number[];
  readonly typeIds: readonly number[];
  /** Whether the input was longer than the backbone reads. */
  readonly truncated: boolean;
  /** How many ids the whole input has, also where it was cut. */
  readonly wholeLength: number;
}

/** A word of the input that its row holds; what is left of it, where it is cut in two. */
export interface Word {
  readonly text: string;
  /** Where it begins in its text, as JavaScript counts. */
  readonly start: number;
  readonly end: number;
  /** 0, or 1 for a word of the second text of a pair. */
  readonly part: 0 | 1;
  /** Its first position in the row of ids, and the one after its last. */
  readonly tokens: readonly [number, number];
}

/** Makes rows for one bundle. */
export class RowMaker {
  constructor(
    private readonly tokenizer: WordPiece,
    private readonly layout: TokenLayout,
    private readonly textPair: boolean,
  ) {}

  /** The largest id that a row can hold. */
  get largestId(): number {
    const { prefixIds, infixIds, suffixIds, padId } = this.layout;
    return [...prefixIds, ...infixIds, ...suffixIds, padId].reduce((largest, id) => Math.max(largest, id), this.tokenizer.largestId);
  }

  /** The row of `texts[index]`. Throws DataError where it is not what the bundle takes. */
  row(text: unknown, index: number): TokenRow {
    const { prefixIds, infixIds, suffixIds, secondTypeId } = this.layout;
    const parts = this.parts(text, index);
    const [first, second] = parts.map((part) => part.words.flatMap((word) => word.ids).slice(0, part.kept));
    const head = [...prefixIds, ...first!, ...(second === undefined ? [] : infixIds)];
    const tail = [...(second ?? []), ...suffixIds];
    const special = head.length + tail.length - first!.length - (second?.length ?? 0);
    return {
      ids: [...head, ...tail],
      typeIds: [...head.map(() => 0), ...tail.map(() => (second === undefined ? 0 : secondTypeId))],
      truncated: parts.some((part) => part.cut || part.kept < part.count),
      wholeLength: parts.reduce((sum, part) => sum + part.count, special),
    };
  }

  /** The words that the row of a text holds, in its order. Throws DataError. */
  words(text: unknown): Word[] {
    const words: Word[] = [];
    let at = this.layout.prefixIds.length;
    for (const [number, part] of this.parts(text, 0).entries()) {
      const stop = at + part.kept;
      for (const { ids, start, end } of part.words) {
        if (at === stop) break;
        const tokens = [at, Math.min(stop, at + ids.length)] as const;
        words.push({ text: part.text.slice(start, end), start, end, part: number as 0 | 1, tokens });
        at = tokens[1];
      }
      at += this.layout.infixIds.length;
    }
    return words;
  }

  private parts(text: unknown, index: number): Part[] {
    const { prefixIds, infixIds, suffixIds, maxLengthTokens } = this.layout;
    const budget = maxLengthTokens - prefixIds.length - suffixIds.length;
    if (!this.textPair) {
      if (typeof text !== "string") throw new DataError(`texts[${index}]: found ${kind(text)}, expected a string.`);
      const part = this.part(text);
      return [{ ...part, kept: Math.min(part.count, budget) }];
    }
    if (!Array.isArray(text) || text.length !== 2 || !text.every((part) => typeof part === "string")) {
      throw new DataError(`texts[${index}]: found ${kind(text)}, expected two strings: this bundle classifies pairs.`);
    }
    const [first, second] = [this.part(text[0]!), this.part(text[1]!)];
    const kept = longestFirst(first.count, second.count, budget - infixIds.length);
    return [{ ...first, kept: kept[0] }, { ...second, kept: kept[1] }];
  }

  private part(given: string): Omit<Part, "kept"> {
    const [text, cut] = limited(given, this.layout.maxTextBytes);
    const words = this.tokenizer.words(text);
    return { text, cut, words, count: words.reduce((sum, word) => sum + word.ids.length, 0) };
  }
}

// One text of an input: its words, how many ids they have, and how many of these are kept.
interface Part {
  readonly text: string;
  readonly cut: boolean;
  readonly words: readonly PiecedWord[];
  readonly count: number;
  readonly kept: number;
}

/** How many tokens of each text of a pair are kept, the longer one giving way first, as the `tokenizers` library does it. */
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

/** A text without unpaired surrogates, cut to a number of UTF-8 bytes; true where something was cut. */
export function limited(text: string, maxTextBytes: number): [string, boolean] {
  const repaired = text.toWellFormed();
  if (repaired.length * 3 <= maxTextBytes) return [repaired, false]; // a UTF-16 unit has at most three bytes of UTF-8
  const room = new Uint8Array(maxTextBytes);
  const { read } = new TextEncoder().encodeInto(repaired, room); // stops before a code point that does not fit
  return [repaired.slice(0, read), read < repaired.length];
}

function kind(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "an array" : typeof value === "string" ? "a string" : typeof value;
}
