// Explains an answer: how much the log-odds of each label drop without that word.

import type { TokenRow, Word } from "../tokenize/token_row.js";
import type { Prediction } from "./prediction.js";

/** A word and its evidence for each label. */
export interface WordEvidence extends Word {
  /**
   * By how much the log-odds `log(p / (1 - p))` of each label drop without the word, in the order of the labels. A positive value
   * is evidence for the label, a negative value evidence against it.
   */
  readonly evidence: Float32Array;
}

/** An answer and the evidence of each word. */
export interface Explanation {
  readonly prediction: Prediction;
  /** In the order of the text, without the words that were truncated. */
  readonly words: readonly WordEvidence[];
}

/** A row without the tokens of a word. */
export function without(row: TokenRow, [first, stop]: Word["tokens"]): TokenRow {
  const remaining = (values: readonly number[]): number[] => [...values.slice(0, first), ...values.slice(stop)];
  return { ...row, ids: remaining(row.ids), typeIds: remaining(row.typeIds) };
}

/** By how much the log-odds of each label drop from `probs` to `probsWithout`. */
export function evidence(probs: Float32Array, probsWithout: Float32Array): Float32Array {
  const after = logOdds(probsWithout);
  return Float32Array.from(logOdds(probs), (before, column) => before - after[column]!);
}

/** The log-odds of each label, as `log p - log(sum of the other probabilities)`, which is exact even when p is 1 in float32. */
export function logOdds(probs: Float32Array): number[] {
  const positive = Array.from(probs, (prob) => Math.max(prob, 1e-38));
  return positive.map((prob, column) => {
    const others = positive.reduce((sum, other, index) => (index === column ? sum : sum + other), 0);
    return Math.log(prob) - Math.log(others);
  });
}
