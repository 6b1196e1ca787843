import { expect, test } from "vitest";
import { evidence, logOdds, without } from "../src/run/explanation.js";

test("log-odds are exact even when a probability is 1 in float32", () => {
  expect(logOdds(Float32Array.of(0.5, 0.5))).toEqual([0, 0]);
  const [first, second] = logOdds(Float32Array.of(1, 1e-12));
  expect(first).toBeCloseTo(27.63, 2);
  expect(second).toBeCloseTo(-27.63, 2);
  expect(logOdds(Float32Array.of(1, 0)).every(Number.isFinite)).toBe(true);
});

test("evidence is the drop of the log-odds", () => {
  const drop = evidence(Float32Array.of(0.8, 0.2), Float32Array.of(0.5, 0.5));
  expect(drop[0]).toBeCloseTo(Math.log(4), 5);
  expect(drop[1]).toBeCloseTo(-Math.log(4), 5);
});

test("without removes the tokens of a word from a row", () => {
  const row = { ids: [1, 5, 6, 7, 2], typeIds: [0, 0, 0, 1, 1], truncated: true, wholeLength: 9 };
  expect(without(row, [1, 3])).toEqual({ ...row, ids: [1, 7, 2], typeIds: [0, 1, 1] });
});
