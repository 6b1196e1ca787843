// BERT's text normalization, before the text is split into words: cleaning, Chinese characters, accents, lower case.

import type { JsonReader } from "../bundle/json_reader.js";
import * as characters from "./characters.js";

const SPACE_CODE = 0x20;

/** Which steps are enabled, in the order in which they run. */
export interface NormalizerSteps {
  readonly cleanText: boolean;
  readonly handleChineseChars: boolean;
  readonly stripAccents: boolean;
  readonly lowercase: boolean;
}

/** Reads the `normalizer` of a `tokenizer.json`. Throws BundleContentError. */
export function readNormalizer(reader: JsonReader): NormalizerSteps {
  const lowercase = reader.boolean("lowercase");
  return {
    cleanText: reader.boolean("clean_text"),
    handleChineseChars: reader.boolean("handle_chinese_chars"),
    stripAccents: reader.optional("strip_accents") === undefined ? lowercase : reader.boolean("strip_accents"), // BERT's default
    lowercase,
  };
}

/** Normalizes a text one code point at a time. Calls `sink` for each code point of the result, with the index that it comes from. */
export class BertNormalizer {
  private marks: { code: number; from: number; rank: number }[] = []; // to be sorted before the next character that is no mark

  constructor(
    private readonly steps: NormalizerSteps,
    private readonly sink: (code: number, from: number) => void,
  ) {}

  /** Adds the code point that begins at index `from` of the text. */
  add(codePoint: number, from: number): void {
    let code = codePoint;
    let properties = characters.propertiesOf(code);
    if (this.steps.cleanText) {
      if (properties & characters.REMOVED) return;
      if (properties & characters.SPACE) properties = characters.propertiesOf((code = SPACE_CODE));
    }
    const isChinese = this.steps.handleChineseChars && properties & characters.CHINESE;
    if (isChinese) this.stripAccent(SPACE_CODE, from);
    if (this.steps.stripAccents && properties & characters.DECOMPOSES) {
      for (const part of characters.decompositionOf(code)) this.stripAccent(part, from);
    } else {
      this.stripAccent(code, from);
    }
    if (isChinese) this.stripAccent(SPACE_CODE, from);
  }

  /** Emits the marks whose order was still open. Call it after the last code point. */
  flushMarks(): void {
    if (this.marks.length === 0) return;
    this.marks.sort((a, b) => a.rank - b.rank);
    for (const mark of this.marks) this.toLowerCase(mark.code, mark.from);
    this.marks = [];
  }

  private stripAccent(code: number, from: number): void {
    if (!this.steps.stripAccents) return this.toLowerCase(code, from);
    const properties = characters.propertiesOf(code);
    const stripped = properties & characters.STRIPPED;
    if (properties & characters.MARK) {
      if (!stripped) this.marks.push({ code, from, rank: characters.rankOf(code) });
      return;
    }
    this.flushMarks();
    if (!stripped) this.toLowerCase(code, from);
  }

  private toLowerCase(code: number, from: number): void {
    if (this.steps.lowercase && characters.propertiesOf(code) & characters.LOWERS) {
      for (const part of characters.lowerOf(code)) this.sink(part, from);
    } else {
      this.sink(code, from);
    }
  }
}
