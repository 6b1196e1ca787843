// The normalizer of a tokenizer.json: steps that each rewrite a whole text.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe } from "../bundle/strict_json.js";
import { BertNormalizer, type NormalizerSteps, readNormalizer } from "./bert_normalizer.js";
import * as characters from "./characters.js";
import { Charsmap } from "./charsmap.js";
import { type CodedText, CodedTextBuilder, codesOf, part as partOf } from "./coded_text.js";
import { partsOf } from "./parts.js";
import { normalizeTo } from "./unicode_forms.js";
import { unsupported } from "./unsupported.js";

const MOST_GROWTH = 16;
const SPACE = 0x20;

type Step = (text: CodedText) => CodedText;

export class Normalizer {
  private readonly steps: Step[] = [];
  private growth = 1; // how much longer replacements together may make a text

  /** Takes the whole `tokenizer.json`. Throws BundleContentError. */
  constructor(file: JsonReader) {
    for (const part of partsOf(file, "normalizer", "normalizers")) this.steps.push(this.step(part));
    if (this.growth > MOST_GROWTH) throw unsupported(file, "its normalizers make texts much longer");
  }

  apply(text: CodedText): CodedText {
    return this.steps.reduce((normalized, step) => step(normalized), text);
  }

  private step(part: JsonReader): Step {
    const type = part.string("type");
    switch (type) {
      case "NFC":
      case "NFD":
      case "NFKC":
      case "NFKD":
        return (text) => normalizeTo(type, text);
      case "Lowercase":
        return toLowerCase;
      case "StripAccents":
        return stripAccents;
      case "Replace":
        return this.replacement(part);
      case "Strip": {
        const left = part.boolean("strip_left");
        const right = part.boolean("strip_right");
        return (text) => stripSpaces(left, right, text);
      }
      case "Precompiled": {
        if (!part.optional("precompiled_charsmap")) throw unsupported(part, "its normalizer has a Precompiled without a table");
        const charsmap = new Charsmap(part);
        return (text) => charsmap.apply(text);
      }
      case "BertNormalizer": {
        const steps = readNormalizer(part);
        return (text) => normalizeAsBert(steps, text);
      }
      default:
        throw unsupported(part, `its normalizer has the part ${describe(type)}`);
    }
  }

  private replacement(part: JsonReader): Step {
    const content = codesOf(part.string("content"));
    const pattern = part.child("pattern");
    const isString = pattern.has("String");
    const found = pattern.string(isString ? "String" : "Regex");
    if (found === "") throw pattern.fieldError("String", '""', "a text");
    const codes = codesOf(found);
    this.growth *= Math.max(1, content.length / (isString ? codes.length : 1));
    if (isString) return (text) => replaceAll(codes, content, text);
    if (found === " {2,}") return (text) => replaceRuns(content, (code) => code === SPACE, () => false, text);
    if (found === "\\s{2,}|[\\n\\r\\t]") return (text) => replaceRuns(content, isSpace, (code) => code === 0x0a || code === 0x0d || code === 0x09, text);
    throw unsupported(part, `its normalizer has the expression ${describe(found)}`);
  }
}

function has(code: number, properties: number): boolean {
  return (characters.propertiesOf(code) & properties) !== 0;
}

function isSpace(code: number): boolean {
  return has(code, characters.WHITESPACE);
}

function toLowerCase(text: CodedText): CodedText {
  if (!text.codes.some((code) => has(code, characters.LOWERS))) return text;
  const result = new CodedTextBuilder();
  text.codes.forEach((code, i) => {
    if (has(code, characters.LOWERS)) result.addAll(characters.lowerOf(code), text.from[i]!);
    else result.add(code, text.from[i]!);
  });
  return result;
}

function stripAccents(text: CodedText): CodedText {
  if (!text.codes.some((code) => has(code, characters.COMBINES))) return text;
  const result = new CodedTextBuilder();
  text.codes.forEach((code, i) => {
    if (!has(code, characters.COMBINES)) result.add(code, text.from[i]!);
  });
  return result;
}

function stripSpaces(left: boolean, right: boolean, text: CodedText): CodedText {
  let start = 0;
  let end = text.codes.length;
  while (right && end > 0 && isSpace(text.codes[end - 1]!)) end -= 1;
  while (left && start < end && isSpace(text.codes[start]!)) start += 1;
  return partOf(text, start, end);
}

function replaceAll(pattern: readonly number[], content: readonly number[], { codes, from }: CodedText): CodedText {
  const result = new CodedTextBuilder();
  for (let i = 0; i < codes.length; ) {
    if (codes[i] === pattern[0] && pattern.every((code, offset) => codes[i + offset] === code)) {
      result.addAll(content, from[i]!);
      i += pattern.length;
    } else {
      result.add(codes[i]!, from[i]!);
      i += 1;
    }
  }
  return result;
}

// Replaces each run of at least two characters for which `matches` holds by `content`, and a single one if `matchesAlone` holds.
function replaceRuns(
  content: readonly number[],
  matches: (code: number) => boolean,
  matchesAlone: (code: number) => boolean,
  { codes, from }: CodedText,
): CodedText {
  const result = new CodedTextBuilder();
  for (let i = 0; i < codes.length; ) {
    let end = i;
    while (end < codes.length && matches(codes[end]!)) end += 1;
    if (end - i > 1 || (end - i === 1 && matchesAlone(codes[i]!))) {
      result.addAll(content, from[i]!);
      i = end;
    } else {
      result.add(codes[i]!, from[i]!);
      i += 1;
    }
  }
  return result;
}

function normalizeAsBert(steps: NormalizerSteps, { codes, from }: CodedText): CodedText {
  const result = new CodedTextBuilder();
  const normalizer = new BertNormalizer(steps, (code, origin) => result.add(code, origin));
  codes.forEach((code, i) => normalizer.add(code, from[i]!));
  normalizer.flushMarks();
  return result;
}
