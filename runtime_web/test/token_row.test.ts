import { expect, test } from "vitest";
import { limitText, longestFirst } from "../src/tokenize/token_row.js";

test.each([
  [3, 100, 10, [3, 7]], [100, 3, 10, [7, 3]], [50, 100, 11, [5, 6]], [100, 50, 11, [6, 5]], [4, 4, 8, [4, 4]], [0, 20, 8, [0, 8]], [5, 5, 8, [4, 4]], [1, 1, 8, [1, 1]],
])("%i and %i ids within a budget of %i: keeps %j", (first, second, budget, kept) => {
  expect(longestFirst(first, second, budget)).toEqual(kept);
});

test.each([
  ["short", 1024, "short", false],
  ["a".repeat(1024), 1024, "a".repeat(1024), false],
  ["a".repeat(1025), 1024, "a".repeat(1024), true],
  ["x" + "é".repeat(600), 1024, "x" + "é".repeat(511), true],
  ["😀".repeat(257), 1026, "😀".repeat(256), true],
  ["\ud800a\udc00", 1024, "\ufffda\ufffd", false],
])("truncates %s to %i bytes", (text, bytes, kept, truncated) => {
  expect(limitText(text, bytes)).toEqual([kept, truncated]);
});
