// Text to ids as BERT's WordPiece does it: normalized words, each the longest pieces that the vocabulary has.

import { BertNormalizer, type NormalizerSteps, readNormalizer } from "./bert_normalizer.js";
import { propertiesOf, PUNCTUATION, WHITESPACE } from "./characters.js";
import { BundleContentError } from "./errors.js";
import { Fields } from "./fields.js";
import { describe } from "./strict_json.js";

export class WordPiece {
  private readonly steps: NormalizerSteps;
  private readonly firstPieces = new Map<string, number>();
  private readonly laterPieces = new Map<string, number>();
  private readonly longestPiece: number; // in UTF-16 units
  private readonly maxWordCharacters: number;
  private readonly unknownId: number;

  /** Reads the `model` and the `normalizer` of a `tokenizer.json`. Throws BundleContentError. */
  constructor(model: Fields, normalizer: Fields) {
    this.steps = readNormalizer(normalizer);
    this.maxWordCharacters = model.integer("max_input_chars_per_word", 0, 2 ** 30);
    const prefix = model.text("continuing_subword_prefix");
    let longest = 0;
    for (const [token, id] of model.table("vocab")) {
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= 2 ** 31) {
        throw model.bad("vocab", `${describe(token)}: ${describe(id)}`, "an id for every token");
      }
      if (token !== "") this.firstPieces.set(token, id as number);
      if (token.length > prefix.length && token.startsWith(prefix)) {
        this.laterPieces.set(token.slice(prefix.length), id as number);
      }
      longest = Math.max(longest, token.length);
    }
    this.longestPiece = longest;
    const unknown = model.text("unk_token");
    const unknownId = model.table("vocab").get(unknown);
    if (unknownId === undefined) throw model.bad("unk_token", describe(unknown), "a token of the vocabulary");
    this.unknownId = unknownId as number;
  }

  /** The ids of a text that has no unpaired surrogates, without special ids. */
  ids(text: string): number[] {
    const ids: number[] = [];
    let word = "";
    let characters = 0;
    const endWord = (): void => {
      if (characters > 0) this.appendWord(word, characters, ids);
      word = "";
      characters = 0;
    };
    const normalizer = new BertNormalizer(this.steps, (code) => {
      const properties = propertiesOf(code);
      if (properties & (WHITESPACE | PUNCTUATION)) endWord();
      if (properties & WHITESPACE) return;
      word += String.fromCodePoint(code);
      characters += 1;
      if (properties & PUNCTUATION) endWord();
    });
    for (const character of text) normalizer.put(character.codePointAt(0)!);
    normalizer.finish();
    endWord();
    return ids;
  }

  private appendWord(word: string, characters: number, ids: number[]): void {
    const before = ids.length;
    let pieces = this.firstPieces;
    let start = 0;
    while (characters <= this.maxWordCharacters && start < word.length) {
      let end = Math.min(word.length, start + this.longestPiece);
      let id: number | undefined;
      while (end > start && (id = pieces.get(word.slice(start, end))) === undefined) end -= 1;
      if (id === undefined) break;
      ids.push(id);
      pieces = this.laterPieces;
      start = end;
    }
    if (start === word.length) return;
    ids.length = before;
    ids.push(this.unknownId);
  }
}

const WHICH = "this package has the WordPiece tokenizer of BERT and no other. Use the Python runtime for this bundle.";

/** Reads a `tokenizer.json`. Throws BundleContentError where it is another tokenizer than BERT's. */
export function readTokenizer(bytes: Uint8Array, where: string): WordPiece {
  const file = Fields.parse(bytes, where);
  const expected = { model: "WordPiece", normalizer: "BertNormalizer", pre_tokenizer: "BertPreTokenizer" };
  for (const [part, type] of Object.entries(expected)) {
    const found = file.optional(part) === undefined ? "null" : file.inner(part).text("type");
    if (found !== type) throw new BundleContentError(`${where}: its ${part} is ${found}, expected ${type}: ${WHICH}`);
  }
  // Added tokens that are not special are found in texts before anything else; special ones are ordinary text.
  for (const token of file.optional("added_tokens") === undefined ? [] : file.items("added_tokens")) {
    if (token.boolean("special")) continue;
    throw new BundleContentError(
      `${where}: it adds the token ${describe(token.text("content"))}, which is not special, expected special ones only. ` +
        "Use the Python runtime for this bundle.",
    );
  }
  return new WordPiece(file.inner("model"), file.inner("normalizer"));
}
