// Reads the tokenizer that a tokenizer.json describes.

import { JsonReader } from "../bundle/json_reader.js";
import { AddedTokens, addedIds } from "./added_tokens.js";
import { ByteLevelBpe } from "./byte_level_bpe.js";
import { Normalizer } from "./normalizer.js";
import { PreTokenizer } from "./pre_tokenizer.js";
import { SubwordTokenizer } from "./subword_tokenizer.js";
import type { Tokenizer } from "./tokenizer.js";
import { Unigram } from "./unigram.js";
import { unsupported } from "./unsupported.js";
import { idIn } from "./vocabulary.js";
import { WordPiece } from "./wordpiece.js";

/** Reads a `tokenizer.json`. Throws BundleContentError when it is invalid or not supported. */
export function readTokenizer(bytes: Uint8Array, where: string): Tokenizer {
  const file = JsonReader.parse(bytes, where);
  const model = typeOf(file, "model");
  if (model === "WordPiece") return readWordPiece(file);
  if (model === "Unigram") return readUnigram(file);
  if (model === "BPE") return readBpe(file);
  throw unsupported(file, `its model is ${model}, expected WordPiece, Unigram or byte-level BPE`);
}

function readWordPiece(file: JsonReader): Tokenizer {
  for (const [part, expected] of Object.entries({ normalizer: "BertNormalizer", pre_tokenizer: "BertPreTokenizer" })) {
    const type = typeOf(file, part);
    if (type !== expected) throw unsupported(file, `its ${part} is ${type}, expected ${expected}`);
  }
  return new WordPiece(file.child("model"), file.child("normalizer"), addedIds(file));
}

function readUnigram(file: JsonReader): Tokenizer {
  const model = new Unigram(file.child("model"));
  const normalizer = new Normalizer(file);
  const added = new AddedTokens(file, normalizer, file.child("model").array("vocab").length, (token) => model.idOf(token));
  return new SubwordTokenizer(normalizer, added, new PreTokenizer(file, false), model);
}

function readBpe(file: JsonReader): Tokenizer {
  const preTokenizer = new PreTokenizer(file, true);
  const model = file.child("model");
  const vocabulary = model.object("vocab");
  const normalizer = new Normalizer(file);
  const added = new AddedTokens(file, normalizer, vocabulary.size, (token) => {
    const id = vocabulary.get(token);
    return id === undefined ? -1 : idIn(model, token, id);
  });
  return new SubwordTokenizer(normalizer, added, preTokenizer, new ByteLevelBpe(model));
}

function typeOf(file: JsonReader, part: string): string {
  return file.optional(part) === undefined ? "missing" : file.child(part).string("type");
}
