// What BERT does to characters before it looks for words: cleaning, Chinese, accents, lower case.

import * as characters from "./characters.js";
import type { Fields } from "../bundle/fields.js";

const BLANK = 0x20;

/** The steps that are on, in the order in which they happen. */
export interface NormalizerSteps {
  readonly cleanText: boolean;
  readonly handleChineseChars: boolean;
  readonly stripAccents: boolean;
  readonly lowercase: boolean;
}

/** Reads the `normalizer` of a `tokenizer.json`. Throws BundleContentError. */
export function readNormalizer(fields: Fields): NormalizerSteps {
  const lowercase = fields.boolean("lowercase");
  return {
    cleanText: fields.boolean("clean_text"),
    handleChineseChars: fields.boolean("handle_chinese_chars"),
    stripAccents: fields.optional("strip_accents") === undefined ? lowercase : fields.boolean("strip_accents"), // as in BERT
    lowercase,
  };
}

/** Normalizes a text a code point at a time; `sink` is called with each code point that comes out, and with what it comes from. */
export class BertNormalizer {
  private waiting: { code: number; from: number; rank: number }[] = []; // marks whose order is not known yet

  constructor(
    private readonly steps: NormalizerSteps,
    private readonly sink: (code: number, from: number) => void,
  ) {}

  /** Takes the code point that stands at `from`. */
  put(given: number, from: number): void {
    let code = given;
    let properties = characters.propertiesOf(code);
    if (this.steps.cleanText) {
      if (properties & characters.REMOVED) return;
      if (properties & characters.SPACE) properties = characters.propertiesOf((code = BLANK));
    }
    const chinese = this.steps.handleChineseChars && properties & characters.CHINESE;
    if (chinese) this.strip(BLANK, from);
    if (this.steps.stripAccents && properties & characters.DECOMPOSES) {
      for (const part of characters.decompositionOf(code)) this.strip(part, from);
    } else {
      this.strip(code, from);
    }
    if (chinese) this.strip(BLANK, from);
  }

  /** To be called once, after the last code point. */
  finish(): void {
    if (this.waiting.length === 0) return;
    this.waiting.sort((a, b) => a.rank - b.rank); // stable
    for (const mark of this.waiting) this.lower(mark.code, mark.from);
    this.waiting = [];
  }

  private strip(code: number, from: number): void {
    if (!this.steps.stripAccents) return this.lower(code, from);
    const properties = characters.propertiesOf(code);
    const stripped = properties & characters.STRIPPED;
    if (properties & characters.MARK) {
      if (!stripped) this.waiting.push({ code, from, rank: characters.rankOf(code) });
      return;
    }
    this.finish();
    if (!stripped) this.lower(code, from);
  }

  private lower(code: number, from: number): void {
    if (this.steps.lowercase && characters.propertiesOf(code) & characters.LOWERS) {
      for (const part of characters.lowerOf(code)) this.sink(part, from);
    } else {
      this.sink(code, from);
    }
  }
}
