// BERT's WordPiece tokenizer: splits a text into normalized words, and each word into the longest tokens of the vocabulary.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe } from "../bundle/strict_json.js";
import { BertNormalizer, type NormalizerSteps, readNormalizer } from "./bert_normalizer.js";
import { propertiesOf, PUNCTUATION, WHITESPACE } from "./characters.js";
import type { TokenizedWord, Tokenizer } from "./tokenizer.js";
import { idIn } from "./vocabulary.js";

export class WordPiece implements Tokenizer {
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
    for (const [token, json] of model.object("vocab")) {
      const id = idIn(model, token, json);
      if (token !== "") this.firstPieces.set(token, id);
      if (token.length > prefix.length && token.startsWith(prefix)) this.laterPieces.set(token.slice(prefix.length), id);
      longest = Math.max(longest, token.length);
      largestId = Math.max(largestId, id);
    }
    this.longestPiece = longest;
    this.largestId = largestId;
    const unknown = model.string("unk_token");
    const unknownId = model.object("vocab").get(unknown);
    if (unknownId === undefined) throw model.fieldError("unk_token", describe(unknown), "a token of the vocabulary");
    this.unknownId = unknownId as number;
  }

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
