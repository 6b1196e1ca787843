// Tokens that are found in a text before anything else happens to it.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe } from "../bundle/strict_json.js";
import { type CodedText, codedText, part as partOf } from "./coded_text.js";
import type { Normalizer } from "./normalizer.js";
import { extendedHash, TokenTable } from "./token_table.js";
import { unsupported } from "./unsupported.js";
import { isTooLong, MOST_TOKEN_BYTES } from "./vocabulary.js";

/** Gets the parts of a text, each with the id of the token that it is, or -1 if it has no token. */
export type Sink = (id: number, text: CodedText) => void;

/** Special tokens are ordinary text, but what they cover is not searched for other tokens, as in the reference. */
export class AddedTokens {
  private readonly tokens: { id: number; special: boolean }[] = [];
  private readonly raw: TokenTable; // of indices of `tokens`
  private readonly normalized: TokenTable;
  private readonly firsts = new Set<number>(); // code points with which tokens begin
  readonly largestId: number;

  /** Takes the whole `tokenizer.json`; `idOf` gives the id of a token of the model, or -1. Throws BundleContentError. */
  constructor(file: JsonReader, normalizer: Normalizer, vocabularySize: number, idOf: (token: string) => number) {
    const tokens = tokensOf(file);
    this.raw = new TokenTable(tokens.length);
    this.normalized = new TokenTable(tokens.length);
    this.largestId = tokens.reduce((largest, token) => Math.max(largest, idOfToken(token)), 0);
    if (tokens.every(isSpecial)) return;
    const contents = new Set<string>();
    let nextId = vocabularySize;
    for (const token of tokens) {
      const content = token.string("content");
      if (content === "" || isTooLong(content)) throw token.fieldError("content", describe(content), `1 to ${MOST_TOKEN_BYTES} bytes`);
      if (contents.has(content)) throw unsupported(file, `it adds the token ${describe(content)} twice`);
      contents.add(content);
      let id = idOf(content);
      if (id < 0) id = nextId++; // as the reference numbers them, whatever the file says
      if (!isSpecial(token)) expectPlain(file, token);
      if (!isSpecial(token) && id !== idOfToken(token)) throw unsupported(file, `it adds the token ${describe(content)} with an id of another token`);
      const isNormalized = token.boolean("normalized");
      const pattern = isNormalized ? normalizer.apply(codedText(content)) : codedText(content);
      const table = isNormalized ? this.normalized : this.raw;
      if (pattern.codes.length === 0 || table.idOf(pattern.codes) >= 0) {
        throw token.fieldError("content", describe(content), "a token that normalization leaves different from the others");
      }
      this.firsts.add(pattern.codes[0]!);
      table.add(pattern.codes, this.tokens.push({ id: idOfToken(token), special: isSpecial(token) }) - 1);
    }
  }

  /** Splits a text that is not normalized yet. */
  splitRaw(text: CodedText, sink: Sink): void {
    this.split(this.raw, text, sink);
  }

  /** Splits a text that is normalized. */
  splitNormalized(text: CodedText, sink: Sink): void {
    this.split(this.normalized, text, sink);
  }

  private split(table: TokenTable, text: CodedText, sink: Sink): void {
    const { codes } = text;
    let start = 0; // of the text before the next token
    let position = 0;
    const endText = (): void => {
      if (start < position) sink(-1, partOf(text, start, position));
    };
    while (this.tokens.length > 0 && position < codes.length) {
      if (!this.firsts.has(codes[position]!)) {
        position += 1;
        continue;
      }
      const [end, index] = longestToken(table, codes, position);
      if (index < 0) {
        position += 1;
        continue;
      }
      const token = this.tokens[index]!;
      if (!token.special) {
        endText();
        sink(token.id, partOf(text, position, end));
        start = end;
      }
      position = end;
    }
    position = codes.length;
    endText();
  }
}

// Where the longest token ends that begins at `start`, and its index, or -1 if there is none.
function longestToken(table: TokenTable, codes: readonly number[], start: number): [number, number] {
  const last = Math.min(codes.length, start + table.longest);
  let found: [number, number] = [start, -1];
  let hash = 0;
  for (let end = start + 1; end <= last; end += 1) {
    hash = extendedHash(hash, codes[end - 1]!);
    if (!table.mayBegin(hash)) break;
    const index = table.idAt(codes, start, end, hash);
    if (index >= 0) found = [end, index];
  }
  return found;
}

/** The ids of the added tokens. Throws BundleContentError unless all of them are special. */
export function addedIds(file: JsonReader): number[] {
  return tokensOf(file).map((token) => {
    if (isSpecial(token)) return idOfToken(token);
    throw unsupported(file, `it adds the token ${describe(token.string("content"))}, which is not special, expected special ones only`);
  });
}

function tokensOf(file: JsonReader): readonly JsonReader[] {
  return file.optional("added_tokens") === undefined ? [] : file.items("added_tokens");
}

function idOfToken(token: JsonReader): number {
  return token.integer("id", 0, 2 ** 31 - 1);
}

function isSpecial(token: JsonReader): boolean {
  return token.boolean("special");
}

function expectPlain(file: JsonReader, token: JsonReader): void {
  for (const key of ["lstrip", "rstrip", "single_word"]) {
    if (token.boolean(key)) throw unsupported(file, `it adds the token ${describe(token.string("content"))} with ${key}`);
  }
}
