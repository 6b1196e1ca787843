// Which words of a text speak for which label: what the log-odds of each label lose when a word is left out.

import type { Prediction } from "./prediction.js";
import type { TokenRow, Word } from "../tokenize/token_row.js";

/** What one word says. */
export interface WordEvidence extends Word {
  /**
   * What the log-odds `log(p / (1 - p))` of each label lose without the word, in the order of the labels: above 0 the word speaks
   * for the label, below 0 against it.
   */
  readonly evidence: Float32Array;
}

/** An answer and its reasons. */
export interface Explanation {
  readonly prediction: Prediction;
  /** In the order of the text; words that were cut off are not among them. */
  readonly words: readonly WordEvidence[];
}

/** A row with the tokens of a word left out. */
export function without(row: TokenRow, [first, stop]: Word["tokens"]): TokenRow {
  const rest = (values: readonly number[]): number[] => [...values.slice(0, first), ...values.slice(stop)];
  return { ...row, ids: rest(row.ids), typeIds: rest(row.typeIds) };
}

/** What each label's log-odds lose from one row of probabilities to another. */
export function evidence(whole: Float32Array, left: Float32Array): Float32Array {
  const [before, after] = [logOdds(whole), logOdds(left)];
  return Float32Array.from(before, (value, column) => value - after[column]!);
}

/** `log p - log of the sum of the others`: exact also where p is 1 in float32. */
export function logOdds(probs: Float32Array): number[] {
  const wide = Array.from(probs, (prob) => Math.max(prob, 1e-38));
  return wide.map((prob, column) => {
    const others = wide.reduce((sum, other, index) => (index === column ? sum : sum + other), 0);
    return Math.log(prob) - Math.log(others);
  });
}
