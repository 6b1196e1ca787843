// The regular expressions by which byte-level tokenizers split a text, written out by hand: no expression of a bundle ever runs.

import * as characters from "./characters.js";

/** Where the match ends that begins at `start` in a text that ends at `end`, behind it. Each expression matches at every position. */
export type SplitExpression = (codes: readonly number[], start: number, end: number) => number;

const { LETTER, NUMBER, WHITESPACE } = characters;
const OTHER = 0;
const APOSTROPHE = 0x27;
const SPACE = 0x20;
const CONTRACTIONS = new Set(["s", "t", "re", "ve", "m", "ll", "d"]);

/** GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
export function gpt2Match(codes: readonly number[], start: number, end: number): number {
  const contracted = contraction(codes, start, end, false);
  if (contracted > 0) return contracted;
  const first = codes[start] === SPACE ? start + 1 : start;
  if (first < end) {
    const kind = kindOf(codes[first]!);
    if (kind !== WHITESPACE) return endOf(codes, first, end, kind);
  }
  return spaces(codes, start, end);
}

/** The expression of a Split with this text; undefined if it is not supported. */
export function splitExpression(expression: string): SplitExpression | undefined {
  for (const mostDigits of [1, 3]) {
    const digits = mostDigits === 1 ? "" : `{1,${mostDigits}}`; // Qwen, and Llama 3
    const known = `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}${digits}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`;
    if (expression === known) return (codes, start, end) => cl100kMatch(codes, start, end, mostDigits);
  }
  return undefined;
}

function cl100kMatch(codes: readonly number[], start: number, end: number, mostDigits: number): number {
  const contracted = contraction(codes, start, end, true);
  if (contracted > 0) return contracted;
  const code = codes[start]!;
  const kind = kindOf(code);
  if (kind === LETTER) return endOf(codes, start, end, LETTER);
  if (kind === NUMBER) return endOf(codes, start, Math.min(end, start + mostDigits), NUMBER);
  if (!isLineEnd(code) && start + 1 < end && kindOf(codes[start + 1]!) === LETTER) return endOf(codes, start + 1, end, LETTER);
  const first = code === SPACE ? start + 1 : start;
  if (first < end && kindOf(codes[first]!) === OTHER) {
    let last = endOf(codes, first, end, OTHER);
    while (last < end && isLineEnd(codes[last]!)) last += 1;
    return last;
  }
  let last = endOf(codes, start, end, WHITESPACE);
  while (last > start && !isLineEnd(codes[last - 1]!)) last -= 1;
  return last > start ? last : spaces(codes, start, end);
}

// LETTER, NUMBER, WHITESPACE or OTHER.
function kindOf(code: number): number {
  return characters.propertiesOf(code) & (LETTER | NUMBER | WHITESPACE);
}

function isLineEnd(code: number): boolean {
  return code === 0x0d || code === 0x0a;
}

// Where the characters of a kind end that begin at `start`.
function endOf(codes: readonly number[], start: number, end: number, kind: number): number {
  let last = start;
  while (last < end && kindOf(codes[last]!) === kind) last += 1;
  return last;
}

// 's|'t|'re|'ve|'m|'ll|'d; 0 if it does not match. In any case, the long s is an s.
function contraction(codes: readonly number[], start: number, end: number, anyCase: boolean): number {
  if (codes[start] !== APOSTROPHE) return 0;
  const letter = (index: number): string => {
    const code = index < end ? codes[index]! : 0;
    if (anyCase && code === 0x17f) return "s";
    return String.fromCodePoint(anyCase && code >= 0x41 && code <= 0x5a ? code + 32 : code);
  };
  const first = letter(start + 1);
  if (CONTRACTIONS.has(first)) return start + 2;
  return CONTRACTIONS.has(first + letter(start + 2)) ? start + 3 : 0;
}

// \s+(?!\S)|\s+: all spaces but the last one, which belongs to the next word.
function spaces(codes: readonly number[], start: number, end: number): number {
  const last = endOf(codes, start, end, WHITESPACE);
  return last === end || last === start + 1 ? last : last - 1;
}
