import { expect, test } from "vitest";
import type { Answer } from "../page/messages.js";
import { holdsTexts, linesOfFile, parseLines, type Row, toCsv, toJsonLines } from "../page/table_files.js";

const answer: Answer = {
  label: "1", prob: 0.75, probs: Float32Array.of(0.25, 0.75), truncated: false, similarity: null, tokens: 3, tokensBeforeTruncation: 3, milliseconds: 1,
};
const row = (text: string, fields: Partial<Answer> = {}, pair: string | null = null): Row => ({ text, pair, answer: { ...answer, ...fields } });

test("splits lines at any line ending and skips blank lines", () => {
  expect(parseLines("a\r\nb\rc\n\n  \n d ", false)).toEqual([["a", null], ["b", null], ["c", null], [" d ", null]]);
  expect(parseLines("", false)).toEqual([]);
});

test("splits pairs at the first tab", () => {
  expect(parseLines("a\tb\nc\nd\te\tf", true)).toEqual([["a", "b"], ["c", ""], ["d", "e\tf"]]);
});

test("JSON Lines keep the order of the labels, whatever their names", () => {
  const lines = toJsonLines([row('say "hi"\t', { label: null, truncated: true }), row("b", {}, "c")], ["__proto__", "1"]);
  expect(lines).toBe(
    '{"text": "say \\"hi\\"\\t", "label": null, "prob": 0.75, "probs": {"__proto__": 0.25, "1": 0.75}, "truncated": true, "similarity": null}\n' +
      '{"text": "b", "text_pair": "c", "label": "1", "prob": 0.75, "probs": {"__proto__": 0.25, "1": 0.75}, "truncated": false, "similarity": null}\n',
  );
});

test.each([
  ["plain", "plain"], ["a,b", '"a,b"'], ['a"b', '"a""b"'], ["=1+1", "'=1+1"], [" -1", "' -1"], ["\t@x", "'\t@x"], ["\u00a0+x", "'\u00a0+x"], ["a=b", "a=b"], ["=a,b", "\"'=a,b\""],
])("%j becomes the CSV cell %j", (text, cell) => {
  expect(toCsv([row(text)], ["a", "1"])).toBe(`text,label,prob,prob_a,prob_1,truncated,similarity\r\n${cell},1,0.75,0.25,0.75,false,\r\n`);
});

test("CSV with pairs and missing labels", () => {
  expect(toCsv([row("a", { label: null, similarity: 0.12345678 }, "b")], ["a", "1"])).toBe(
    "text,text_pair,label,prob,prob_a,prob_1,truncated,similarity\r\na,b,,0.75,0.25,0.75,false,0.123457\r\n",
  );
});

test.each([
  ["id,text\n1,a b\n2,\"c, \"\"d\"\"\ne\"\n", "x.csv", ["a b", 'c, "d" e']],
  ["\ufefftext;label\r\na;x\r\n\r\nb;y", "x.CSV", ["a", "b"]],
  ["Text\tn\na\t1\n", "x.tsv", ["a"]],
  ["a\n b\n", "x.txt", ["a", " b", ""]],
])("reads the texts of a file: %j, %s", (content, name, lines) => {
  expect(holdsTexts(name)).toBe(true);
  expect(linesOfFile(content, name, false)).toEqual(lines);
});

test("reads pairs of texts and names a missing column", () => {
  expect(linesOfFile("text_pair,text\nb,a\n", "p.csv", true)).toEqual(["a\tb"]);
  expect(() => linesOfFile("body\na\n", "p.csv", false)).toThrow('p.csv: has no column "text". Rename the column of the texts.');
  expect(holdsTexts("model.onnx")).toBe(false);
});
