// BERT's WordPiece tokenizer: splits a text into normalized words, and each word into the longest tokens of the vocabulary.

import { JsonReader } from "../bundle/json_reader.js";
import { describe } from "../bundle/strict_json.js";
import { BundleContentError } from "../errors.js";
import { BertNormalizer, type NormalizerSteps, readNormalizer } from "./bert_normalizer.js";
import { propertiesOf, PUNCTUATION, WHITESPACE } from "./characters.js";

/** A word and the ids of its tokens. */
export interface TokenizedWord {
  readonly ids: readonly number[];
  /** Start and end of the word in the text, as JavaScript string indices. */
  readonly start: number;
  readonly end: number;
}

export class WordPiece {
  private readonly steps: NormalizerSteps;
  private readonly firstPieces = new Map<string, number>();
  private readonly laterPieces = new Map<string, number>();
  private readonly longestPiece: number; // in UTF-16 units
  private readonly maxWordCharacters: number;
  private readonly unknownId: number;
  /** The largest id in the vocabulary, special tokens included. */
  readonly largestId: number;

  /** Takes the `model` and the `normalizer` of a `tokenizer.json` and the ids of its special tokens. Throws BundleContentError. */
  constructor(model: JsonReader, normalizer: JsonReader, addedIds: readonly number[]) {
    this.steps = readNormalizer(normalizer);
    this.maxWordCharacters = model.integer("max_input_chars_per_word", 0, 1000);
    const prefix = model.string("continuing_subword_prefix");
    let longest = 0;
    let largestId = addedIds.reduce((largest, id) => Math.max(largest, id), 0);
    for (const [token, id] of model.object("vocab")) {
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= 2 ** 31) {
        throw model.fieldError("vocab", `${describe(token)}: ${describe(id)}`, "an id for every token");
      }
      if (token !== "") this.firstPieces.set(token, id as number);
      if (token.length > prefix.length && token.startsWith(prefix)) {
        this.laterPieces.set(token.slice(prefix.length), id as number);
      }
      longest = Math.max(longest, token.length);
      largestId = Math.max(largestId, id as number);
    }
    this.longestPiece = longest;
    this.largestId = largestId;
    const unknown = model.string("unk_token");
    const unknownId = model.object("vocab").get(unknown);
    if (unknownId === undefined) throw model.fieldError("unk_token", describe(unknown), "a token of the vocabulary");
    this.unknownId = unknownId as number;
  }

  /** The words of a text, which must not have unpaired surrogates. Special tokens are not added. */
  words(text: string): TokenizedWord[] {
    const words: TokenizedWord[] = [];
    let word = "";
    let characters = 0;
    let start = 0;
    let end = 0;
    const endWord = (): void => {
      if (characters > 0) words.push({ ids: this.idsOf(word, characters), start, end });
      word = "";
      characters = 0;
    };
    const normalizer = new BertNormalizer(this.steps, (code, from) => {
      const properties = propertiesOf(code);
      if (properties & (WHITESPACE | PUNCTUATION)) endWord();
      if (properties & WHITESPACE) return;
      if (characters === 0) start = from;
      end = from + (text.codePointAt(from)! > 0xffff ? 2 : 1);
      word += String.fromCodePoint(code);
      characters += 1;
      if (properties & PUNCTUATION) endWord();
    });
    let from = 0;
    for (const character of text) {
      normalizer.add(character.codePointAt(0)!, from);
      from += character.length;
    }
    normalizer.flushMarks();
    endWord();
    return words;
  }

  private idsOf(word: string, characters: number): number[] {
    if (characters > this.maxWordCharacters) return [this.unknownId];
    const ids: number[] = [];
    let pieces = this.firstPieces;
    let start = 0;
    while (start < word.length) {
      let end = Math.min(word.length, start + this.longestPiece);
      let id: number | undefined;
      while (end > start && (id = pieces.get(word.slice(start, end))) === undefined) end -= 1;
      if (id === undefined) return [this.unknownId];
      ids.push(id);
      pieces = this.laterPieces;
      start = end;
    }
    return ids;
  }
}

const ONLY_BERT = "this package has the WordPiece tokenizer of BERT and no other. Use the Python runtime for this bundle.";

/** Reads a `tokenizer.json`. Throws BundleContentError when it is not BERT's tokenizer. */
export function readTokenizer(bytes: Uint8Array, where: string): WordPiece {
  const file = JsonReader.parse(bytes, where);
  const expected = { model: "WordPiece", normalizer: "BertNormalizer", pre_tokenizer: "BertPreTokenizer" };
  for (const [part, type] of Object.entries(expected)) {
    const actual = file.optional(part) === undefined ? "null" : file.child(part).string("type");
    if (actual !== type) throw new BundleContentError(`${where}: its ${part} is ${actual}, expected ${type}: ${ONLY_BERT}`);
  }
  // Added tokens that are not special would have to be matched before the text is split into words.
  const added = file.optional("added_tokens") === undefined ? [] : file.items("added_tokens");
  for (const token of added) {
    if (token.boolean("special")) continue;
    throw new BundleContentError(
      `${where}: it adds the token ${describe(token.string("content"))}, which is not special, expected special ones only. ` +
        "Use the Python runtime for this bundle.",
    );
  }
  const addedIds = added.map((token) => token.integer("id", 0, 2 ** 31 - 1));
  return new WordPiece(file.child("model"), file.child("normalizer"), addedIds);
}
