import { DataError } from "../errors.js";

/** What a classifier says of one text. */
export interface Prediction {
  /** The most probable label; null when its probability, or the scope of the text, is below its threshold. */
  readonly label: string | null;
  /** Its probability, in [0, 1]; that of the most probable label also when `label` is null. */
  readonly prob: number;
  /** Probabilities of all labels, in the order of the classifier's labels. */
  readonly probs: Float32Array;
  /** Whether the text was longer than the backbone reads. */
  readonly truncated: boolean;
  /** How near the text is to the nearest label, a cosine in [-1, 1]; null where the bundle does not say. */
  readonly scope: number | null;
}

/** The rule that makes an answer of probabilities. */
export interface DecisionRule {
  readonly labels: readonly string[];
  /** Probability below which no label is given, or null. */
  readonly threshold: number | null;
  /** Scope below which no label is given, or null. */
  readonly scopeThreshold: number | null;
}

/** Returns a threshold that is null or in [0, 1]. Throws DataError. */
export function checkThreshold(threshold: number | null): number | null {
  if (threshold === null || (threshold >= 0 && threshold <= 1)) return threshold;
  throw new DataError(`threshold: found ${threshold}, expected a probability from 0 to 1.`);
}

/** Turns one row of probabilities into an answer; the first of equal labels wins. Throws DataError. */
export function decide(
  rule: DecisionRule,
  probs: Float32Array,
  scope: number | null,
  truncated: boolean,
  index: number,
): Prediction {
  if (!probs.every(Number.isFinite) || (scope !== null && !Number.isFinite(scope))) {
    throw new DataError(`texts[${index}]: the graph gave probabilities that are not finite. Verify the bundle.`);
  }
  let best = 0;
  for (let i = 1; i < probs.length; i += 1) if (probs[i]! > probs[best]!) best = i;
  const prob = probs[best]!;
  const unsure = rule.threshold !== null && prob < rule.threshold;
  const outside = rule.scopeThreshold !== null && scope !== null && scope < rule.scopeThreshold;
  return { label: unsure || outside ? null : rule.labels[best]!, prob, probs, truncated, scope };
}
