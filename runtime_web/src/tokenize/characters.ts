// What the reference tokenizer does with each code point. Unpacks the generated tables.

import { DECOMPOSITIONS, LOWER, PROPERTY_RUNS, RANKS } from "./character_tables.js";

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

const HANGUL_FIRST = 0xac00;
const HANGUL_LAST = 0xd7a3;

const properties = unpackRuns(PROPERTY_RUNS);
const decompositions = unpackMapping(DECOMPOSITIONS);
const lowered = unpackMapping(LOWER);
const ranks = unpackMapping(RANKS);

/** The property bits of a code point. */
export function propertiesOf(code: number): number {
  return properties[code]!;
}

/** The full canonical decomposition of a code point with DECOMPOSES. */
export function decompositionOf(code: number): readonly number[] {
  if (code < HANGUL_FIRST || code > HANGUL_LAST) return decompositions.get(code)!;
  const syllable = code - HANGUL_FIRST;
  const parts = [0x1100 + Math.floor(syllable / 588), 0x1161 + Math.floor((syllable % 588) / 28)];
  if (syllable % 28 !== 0) parts.push(0x11a7 + (syllable % 28));
  return parts;
}

/** The lower case of a code point with LOWERS. */
export function lowerOf(code: number): readonly number[] {
  return lowered.get(code)!;
}

/** The rank of a mark that is not stripped: marks are sorted by rank, and equal ranks keep their order. */
export function rankOf(mark: number): number {
  return ranks.get(mark)![0]!;
}

// Run-length encoded flags of all code points: pairs of length and flags, in base 36.
function unpackRuns(packed: string): Uint16Array {
  const unpacked = new Uint16Array(0x110000);
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
