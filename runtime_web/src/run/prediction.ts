import { ConfigError, DataError } from "../errors.js";

/** The answer for one text. */
export interface Prediction {
  /** The most probable label; null when `prob` or `similarity` is below its threshold. */
  readonly label: string | null;
  /** The probability of the most probable label, even when `label` is null; in [0, 1]. */
  readonly prob: number;
  /** The probabilities of all labels, in the order of the classifier's labels. */
  readonly probs: Float32Array;
  /** Whether the text was too long and was truncated. */
  readonly truncated: boolean;
  /** The similarity to the nearest label, a cosine that is raised for short texts; null when the bundle does not have it. */
  readonly similarity: number | null;
}

/** How probabilities become an answer. */
export interface DecisionRule {
  readonly labels: readonly string[];
  /** Probability below which a text gets no label; null: no threshold. */
  readonly threshold: number | null;
  /** Similarity below which a text gets no label; null: no threshold. */
  readonly minSimilarity: number | null;
}

/** Returns the threshold, which must be null or in [0, 1]. Throws DataError. */
export function checkThreshold(threshold: number | null): number | null {
  if (threshold === null || (threshold >= 0 && threshold <= 1)) return threshold;
  throw new DataError(`threshold: found ${threshold}, expected a probability from 0 to 1.`);
}

/** Returns the smallest similarity, which must be null or in [-1, 1]. Throws DataError, or ConfigError when the bundle measures none. */
export function checkMinSimilarity(value: number | null, hasSimilarity: boolean): number | null {
  if (value === null) return null;
  if (!(value >= -1 && value <= 1)) throw new DataError(`min_similarity: found ${value}, expected a number from -1 to 1.`);
  if (hasSimilarity) return value;
  throw new ConfigError(
    `min_similarity: found ${value}, expected none: this bundle measures no similarity. Train with the default head.`,
  );
}

/** Turns the probabilities of one text into an answer. The first of several equal labels wins. Throws DataError. */
export function decide(
  rule: DecisionRule,
  probs: Float32Array,
  similarity: number | null,
  truncated: boolean,
  index: number,
): Prediction {
  if (!probs.every(Number.isFinite) || (similarity !== null && !Number.isFinite(similarity))) {
    throw new DataError(`texts[${index}]: the graph gave probabilities that are not finite. Verify the bundle.`);
  }
  let best = 0;
  for (let i = 1; i < probs.length; i += 1) if (probs[i]! > probs[best]!) best = i;
  const prob = probs[best]!;
  const belowThreshold = rule.threshold !== null && prob < rule.threshold;
  const belowMinSimilarity = rule.minSimilarity !== null && similarity !== null && similarity < rule.minSimilarity;
  return { label: belowThreshold || belowMinSimilarity ? null : rule.labels[best]!, prob, probs, truncated, similarity };
}
