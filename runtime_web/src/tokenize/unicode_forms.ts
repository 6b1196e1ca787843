// The normalization forms of Unicode, by the tables of the reference.

import * as characters from "./characters.js";
import { type CodedText, CodedTextBuilder } from "./coded_text.js";

export type UnicodeForm = "NFC" | "NFD" | "NFKC" | "NFKD";

export function normalizeTo(form: UnicodeForm, text: CodedText): CodedText {
  const composed = form.endsWith("C");
  const compatible = form.includes("K");
  const changing =
    (composed ? characters.COMPOSES : characters.DECOMPOSES | characters.MARK) | (compatible ? characters.COMPATIBLE : 0);
  if (!text.codes.some((code) => characters.propertiesOf(code) & changing)) return text;
  const decomposed = decompose(text, compatible);
  return composed ? compose(decomposed) : decomposed;
}

function decompose({ codes, from }: CodedText, compatible: boolean): CodedText {
  const result = new CodedTextBuilder();
  let marks: { code: number; from: number; rank: number }[] = []; // that follow each other, to be sorted by rank
  const flush = (): void => {
    if (marks.length > 1) marks.sort((a, b) => a.rank - b.rank);
    for (const mark of marks) result.add(mark.code, mark.from);
    marks = [];
  };
  const add = (code: number, origin: number): void => {
    if (characters.propertiesOf(code) & characters.MARK) {
      marks.push({ code, from: origin, rank: characters.rankOf(code) });
      return;
    }
    if (marks.length > 0) flush();
    result.add(code, origin);
  };
  codes.forEach((code, i) => {
    const properties = characters.propertiesOf(code);
    if (compatible && properties & characters.COMPATIBLE) for (const part of characters.compatibleOf(code)) add(part, from[i]!);
    else if (properties & characters.DECOMPOSES) for (const part of characters.decompositionOf(code)) add(part, from[i]!);
    else add(code, from[i]!);
  });
  flush();
  return result;
}

// Composes each starter with the marks and jamo behind it, unless something of the same rank or a higher one is between.
function compose({ codes, from }: CodedText): CodedText {
  const result = new CodedTextBuilder();
  let starter = -1;
  let lastRank = 0;
  codes.forEach((code, i) => {
    const rank = characters.propertiesOf(code) & characters.MARK ? characters.rankOf(code) : 0;
    if (starter >= 0 && (lastRank === 0 || lastRank < rank)) {
      const composite = characters.compositeOf(result.codes[starter]!, code);
      if (composite !== undefined) {
        result.codes[starter] = composite;
        return;
      }
    }
    if (rank === 0) starter = result.codes.length;
    lastRank = rank;
    result.add(code, from[i]!);
  });
  return result;
}
