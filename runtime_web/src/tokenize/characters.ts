// What the reference tokenizer does with each code point. Unpacks the generated tables.

import { COMPATIBLE as COMPATIBLE_TEXTS, DECOMPOSITIONS, GRAPHEME_RUNS, LOWER, PAIRS, PROPERTY_RUNS, RANKS } from "./character_tables.js";

// Property bits of a code point. The generator, runtime_cpp/tools/make_character_tables.py, uses the same names.
export const REMOVED = 1 << 0; // clean_text removes it
export const SPACE = 1 << 1; // clean_text replaces it by a space
export const CHINESE = 1 << 2; // handle_chinese_chars puts spaces around it
export const STRIPPED = 1 << 3; // strip_accents removes it
export const MARK = 1 << 4; // a combining mark: adjacent marks are sorted
export const DECOMPOSES = 1 << 5; // decompositionOf changes it
export const LOWERS = 1 << 6; // lowerOf changes it
export const WHITESPACE = 1 << 7; // it ends a word
export const PUNCTUATION = 1 << 8; // it is a word of its own
export const LETTER = 1 << 9; // the expression \p{L} matches it
export const NUMBER = 1 << 10; // the expression \p{N} matches it
export const COMBINES = 1 << 11; // StripAccents removes it
export const COMPATIBLE = 1 << 12; // compatibleOf changes it
export const COMPOSES = 1 << 13; // NFC may change it, or what is before it

const HANGUL_FIRST = 0xac00;
const HANGUL_LAST = 0xd7a3;
const LEADING_JAMO = 0x1100;
const VOWEL_JAMO = 0x1161;
const TRAILING_JAMO = 0x11a7; // of none
const LEADINGS = 19;
const VOWELS = 21;
const TRAILINGS = 28;

const properties = unpackRuns(PROPERTY_RUNS, new Uint16Array(0x110000));
let graphemes: Uint8Array | undefined;
const decompositions = unpackMapping(DECOMPOSITIONS);
const lowered = unpackMapping(LOWER);
const ranks = unpackMapping(RANKS);
let compatible: ReadonlyMap<number, readonly number[]> | undefined;
let composites: ReadonlyMap<number, number> | undefined;

/** The property bits of a code point. */
export function propertiesOf(code: number): number {
  return properties[code]!;
}

/** The full canonical decomposition of a code point with DECOMPOSES. */
export function decompositionOf(code: number): readonly number[] {
  if (code < HANGUL_FIRST || code > HANGUL_LAST) return decompositions.get(code)!;
  const syllable = code - HANGUL_FIRST;
  const parts = [LEADING_JAMO + Math.floor(syllable / (VOWELS * TRAILINGS)), VOWEL_JAMO + (Math.floor(syllable / TRAILINGS) % VOWELS)];
  if (syllable % TRAILINGS !== 0) parts.push(TRAILING_JAMO + (syllable % TRAILINGS));
  return parts;
}

/** The full compatibility decomposition of a code point with COMPATIBLE. */
export function compatibleOf(code: number): readonly number[] {
  compatible ??= new Map(
    COMPATIBLE_TEXTS.split(", ").map((entry) => {
      const [from, ...to] = entry.split(" ").map((number) => parseInt(number, 36));
      return [from!, to];
    }),
  );
  return compatible.get(code)!;
}

/** What two code points become in NFC; undefined if they stay two. */
export function compositeOf(first: number, second: number): number | undefined {
  const leading = first - LEADING_JAMO;
  const vowel = second - VOWEL_JAMO;
  if (leading >= 0 && leading < LEADINGS && vowel >= 0 && vowel < VOWELS) return HANGUL_FIRST + (leading * VOWELS + vowel) * TRAILINGS;
  const syllable = first - HANGUL_FIRST;
  const trailing = second - TRAILING_JAMO;
  if (syllable >= 0 && first <= HANGUL_LAST && syllable % TRAILINGS === 0 && trailing > 0 && trailing < TRAILINGS) return first + trailing;
  composites ??= new Map(
    PAIRS.split(" ").map((word) => {
      const [composite, left, right] = Array.from(word, (character) => character.codePointAt(0)!);
      return [left! * 0x110000 + right!, composite!];
    }),
  );
  return composites.get(first * 0x110000 + second);
}

/** The class of a code point for grapheme clusters. */
export function graphemeClassOf(code: number): number {
  graphemes ??= unpackRuns(GRAPHEME_RUNS, new Uint8Array(0x110000));
  return graphemes[code]!;
}

/** The lower case of a code point with LOWERS. */
export function lowerOf(code: number): readonly number[] {
  return lowered.get(code)!;
}

/** The rank of a mark: marks are sorted by rank, and equal ranks keep their order. */
export function rankOf(mark: number): number {
  return ranks.get(mark)![0]!;
}

// Run-length encoded numbers for all code points: pairs of length and number, in base 36.
function unpackRuns<T extends Uint8Array | Uint16Array>(packed: string, unpacked: T): T {
  const numbers = packed.split(" ");
  for (let i = 0, code = 0; i < numbers.length; i += 2) {
    const end = code + parseInt(numbers[i]!, 36);
    unpacked.fill(parseInt(numbers[i + 1]!, 36), code, end);
    code = end;
  }
  return unpacked;
}

// Words of at least two code points: a code point and its replacement.
function unpackMapping(packed: string): ReadonlyMap<number, readonly number[]> {
  const codesOf = (word: string) => Array.from(word, (character) => character.codePointAt(0)!);
  return new Map(
    packed.split(" ").map((word) => {
      const [from, ...to] = codesOf(word);
      return [from!, to];
    }),
  );
}
