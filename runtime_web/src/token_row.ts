// The ids of one input, laid out as docs/bundle_format.md says.

import { InputError } from "./errors.js";
import type { TokenLayout } from "./manifest.js";
import type { WordPiece } from "./wordpiece.js";

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

/** Makes rows for one bundle. */
export class RowMaker {
  constructor(
    private readonly tokenizer: WordPiece,
    private readonly layout: TokenLayout,
    private readonly textPair: boolean,
  ) {}

  /** The row of `texts[index]`. Throws InputError where it is not what the bundle takes. */
  row(text: unknown, index: number): TokenRow {
    if (this.textPair) {
      if (Array.isArray(text) && text.length === 2 && typeof text[0] === "string" && typeof text[1] === "string") {
        return this.pair(text[0], text[1]);
      }
      throw new InputError(`texts[${index}]: found ${kind(text)}, expected two strings: this bundle classifies pairs.`);
    }
    if (typeof text === "string") return this.single(text);
    throw new InputError(`texts[${index}]: found ${kind(text)}, expected a string.`);
  }

  private single(text: string): TokenRow {
    const { prefixIds, suffixIds, maxLengthTokens } = this.layout;
    const [whole, cut] = limited(text, this.layout.maxTextBytes);
    const found = this.tokenizer.ids(whole);
    const special = prefixIds.length + suffixIds.length;
    const ids = [...prefixIds, ...found.slice(0, maxLengthTokens - special), ...suffixIds];
    const wholeLength = special + found.length;
    return { ids, typeIds: new Array<number>(ids.length).fill(0), truncated: cut || wholeLength > ids.length, wholeLength };
  }

  private pair(first: string, second: string): TokenRow {
    const { prefixIds, infixIds, suffixIds, maxLengthTokens, maxTextBytes, secondTypeId } = this.layout;
    const [wholeFirst, firstCut] = limited(first, maxTextBytes);
    const [wholeSecond, secondCut] = limited(second, maxTextBytes);
    const a = this.tokenizer.ids(wholeFirst);
    const b = this.tokenizer.ids(wholeSecond);
    const special = prefixIds.length + infixIds.length + suffixIds.length;
    const [keepA, keepB] = longestFirst(a.length, b.length, maxLengthTokens - special);
    const head = [...prefixIds, ...a.slice(0, keepA), ...infixIds];
    const tail = [...b.slice(0, keepB), ...suffixIds];
    return {
      ids: [...head, ...tail],
      typeIds: [...head.map(() => 0), ...tail.map(() => secondTypeId)],
      truncated: firstCut || secondCut || keepA < a.length || keepB < b.length,
      wholeLength: special + a.length + b.length,
    };
  }
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
