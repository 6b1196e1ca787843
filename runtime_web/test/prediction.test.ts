import { expect, test } from "vitest";
import { DataError } from "../src/errors.js";
import { checkThreshold, decide, type DecisionRule } from "../src/run/prediction.js";

const rule: DecisionRule = { labels: ["a", "b", "c"], threshold: null, minSimilarity: null };
const probs = Float32Array.of(0.25, 0.5, 0.25);

test("picks the most probable label, and the first of equal ones", () => {
  expect(decide(rule, probs, null, true, 0)).toEqual({ label: "b", prob: 0.5, probs, truncated: true, similarity: null });
  expect(decide(rule, Float32Array.of(0.4, 0.4, 0.2), null, false, 0).label).toBe("a");
});

test.each([
  [0.5, null, 0.3, "b"], [0.51, null, 0.3, null], [null, 0.5, 0.5, "b"], [null, 0.5, 0.49, null], [0, -1, -1, "b"], [null, 0.5, null, "b"],
])("threshold %j, min similarity %j and similarity %j give %j", (threshold, minSimilarity, similarity, label) => {
  const answer = decide({ ...rule, threshold, minSimilarity }, probs, similarity, false, 0);
  expect(answer.label).toBe(label);
  expect(answer.prob).toBe(0.5);
});

test.each([
  [Float32Array.of(0.5, NaN, 0.5), 0.1],
  [Float32Array.of(Infinity, 0, 0), null],
  [probs, NaN],
])("throws for numbers that are not finite: %j, similarity %j", (row, similarity) => {
  expect(() => decide(rule, row, similarity, false, 7)).toThrow(
    new DataError("texts[7]: the graph gave probabilities that are not finite. Verify the bundle."),
  );
});

test.each([-0.1, 1.1, NaN])("throws for a threshold of %d", (threshold) => {
  expect(() => checkThreshold(threshold)).toThrow(
    new DataError(`threshold: found ${threshold}, expected a probability from 0 to 1.`),
  );
});
