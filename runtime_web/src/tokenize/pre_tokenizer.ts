// The pre-tokenizer of a tokenizer.json: steps that each split a text into smaller pieces.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe } from "../bundle/strict_json.js";
import { propertiesOf, PUNCTUATION, WHITESPACE } from "./characters.js";
import { type CodedText, CodedTextBuilder } from "./coded_text.js";
import { partsOf } from "./parts.js";
import { gpt2Match, type SplitExpression, splitExpression } from "./split_expressions.js";
import { unsupported } from "./unsupported.js";

const SPACE = 0x20;
const METASPACE = 0x2581;

// Splits the part of a text from `start` to `end`.
type Step = (text: CodedText, start: number, end: number, pieces: Pieces) => void;

/** Pieces of a text, one after the other. No piece is empty. */
export class Pieces {
  readonly text = new CodedTextBuilder();
  readonly ends: number[] = [];

  endPiece(): void {
    const size = this.text.codes.length;
    if (size > (this.ends.at(-1) ?? 0)) this.ends.push(size);
  }

  /** Calls `sink` with where each piece is in `text`. */
  forEach(sink: (start: number, end: number) => void): void {
    let start = 0;
    for (const end of this.ends) {
      sink(start, end);
      start = end;
    }
  }
}

export class PreTokenizer {
  private readonly steps: Step[] = [];

  /** Takes the whole `tokenizer.json`, and whether its model needs pieces of bytes. Throws BundleContentError. */
  constructor(file: JsonReader, byteLevel: boolean) {
    const parts = partsOf(file, "pre_tokenizer", "pretokenizers");
    const isByteLevel = (part: JsonReader | undefined): boolean => part?.string("type") === "ByteLevel";
    if (parts.slice(0, -1).some(isByteLevel) || isByteLevel(parts.at(-1)) !== byteLevel) {
      throw unsupported(file, "its pre_tokenizer needs a ByteLevel as the last part for BPE, and nowhere else");
    }
    this.steps.push(...parts.map(stepOf));
  }

  split(text: CodedText): Pieces {
    let pieces = new Pieces();
    addPiece(pieces, text, 0, text.codes.length);
    for (const step of this.steps) {
      const smaller = new Pieces();
      const { text: whole } = pieces;
      pieces.forEach((start, end) => step(whole, start, end, smaller));
      pieces = smaller;
    }
    return pieces;
  }
}

function stepOf(part: JsonReader): Step {
  const type = part.string("type");
  if (type === "WhitespaceSplit") return splitAtSpaces;
  if (type === "Punctuation" && part.string("behavior") === "Isolated") return isolatePunctuation;
  if (type === "Metaspace" && part.string("replacement") === String.fromCodePoint(METASPACE)) {
    const scheme = part.string("prepend_scheme");
    if (scheme !== "always" && scheme !== "never") throw unsupported(part, `its Metaspace has the prepend_scheme ${describe(scheme)}`);
    const splits = part.boolean("split");
    return (text, start, end, pieces) => markSpaces(scheme === "always", splits, text, start, end, pieces);
  }
  if (type === "ByteLevel") {
    const addsSpace = part.boolean("add_prefix_space");
    const usesExpression = part.optional("use_regex") === undefined || part.boolean("use_regex");
    return (text, start, end, pieces) => splitBytes(addsSpace, usesExpression, text, start, end, pieces);
  }
  if (type === "Split" && part.string("behavior") === "Isolated" && !part.boolean("invert") && part.child("pattern").has("Regex")) {
    const match = splitExpression(part.child("pattern").string("Regex"));
    if (match !== undefined) return (text, start, end, pieces) => splitBy(match, text, start, end, pieces);
    throw unsupported(part, `its pre_tokenizer has the expression ${describe(part.child("pattern").string("Regex"))}`);
  }
  throw unsupported(part, `its pre_tokenizer has the part ${describe(type)}`);
}

function addPiece(pieces: Pieces, { codes, from }: CodedText, start: number, end: number): void {
  for (let i = start; i < end; i += 1) pieces.text.add(codes[i]!, from[i]!);
  pieces.endPiece();
}

function splitAtSpaces({ codes, from }: CodedText, start: number, end: number, pieces: Pieces): void {
  for (let i = start; i < end; i += 1) {
    if (propertiesOf(codes[i]!) & WHITESPACE) pieces.endPiece();
    else pieces.text.add(codes[i]!, from[i]!);
  }
  pieces.endPiece();
}

function isolatePunctuation({ codes, from }: CodedText, start: number, end: number, pieces: Pieces): void {
  for (let i = start; i < end; i += 1) {
    const isPunctuation = propertiesOf(codes[i]!) & PUNCTUATION;
    if (isPunctuation) pieces.endPiece();
    pieces.text.add(codes[i]!, from[i]!);
    if (isPunctuation) pieces.endPiece();
  }
  pieces.endPiece();
}

// Writes spaces as a visible character, and begins a piece at each.
function markSpaces(prepends: boolean, splits: boolean, { codes, from }: CodedText, start: number, end: number, pieces: Pieces): void {
  if (prepends && codes[start] !== SPACE && codes[start] !== METASPACE) pieces.text.add(METASPACE, from[start]!);
  for (let i = start; i < end; i += 1) {
    const isSpace = codes[i] === SPACE || codes[i] === METASPACE;
    if (isSpace && splits && i > start) pieces.endPiece();
    pieces.text.add(isSpace ? METASPACE : codes[i]!, from[i]!);
  }
  pieces.endPiece();
}

function splitBy(match: SplitExpression, text: CodedText, start: number, end: number, pieces: Pieces): void {
  for (let at = start; at < end; ) {
    const next = match(text.codes, at, end);
    addPiece(pieces, text, at, next);
    at = next;
  }
}

function splitBytes(addsSpace: boolean, usesExpression: boolean, text: CodedText, start: number, end: number, pieces: Pieces): void {
  if (addsSpace && text.codes[start] !== SPACE) {
    const codes = [SPACE, ...text.codes.slice(start, end)];
    const from = [text.from[start]!, ...text.from.slice(start, end)];
    return splitBytes(false, usesExpression, { codes, from }, 0, codes.length, pieces);
  }
  if (usesExpression) splitBy(gpt2Match, text, start, end, pieces);
  else addPiece(pieces, text, start, end);
}
