import { expect, test } from "vitest";
import { type Json, JsonError, parseJson } from "../src/bundle/strict_json.js";

const parse = (text: string): Json => parseJson(new TextEncoder().encode(text));

function plain(value: Json): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [key, plain(item as Json)]));
  return Array.isArray(value) ? value.map(plain) : value;
}

test.each([
  "null", " true ", "-0.5e-3", '""', "[]", "{}", '[1, [2, "\\u00e9\\n"], {"a": {"b": [false]}}]', '"\\ud83d\\ude00 😀"', "[[[]]]", "0", "-0", "1E5",
])("reads %s as JSON.parse does", (text) => {
  expect(plain(parse(text))).toEqual(JSON.parse(text));
});

test("accepts keys that are special in JavaScript", () => {
  const object = parse('{"__proto__": 1, "constructor": 2}') as ReadonlyMap<string, Json>;
  expect([...object]).toEqual([["__proto__", 1], ["constructor", 2]]);
});

test.each([
  "", "[1,]", "{,}", '{"a" 1}', "{a: 1}", "01", "1.", ".5", "+1", "NaN", "Infinity", '"\n"', '"\\x41"', "[1] 2", "tru", "'a'", "[1 2]", "\ufeff{}", '{"a": 1', "]",
])("refuses %j", (text) => {
  expect(() => parse(text)).toThrow(new JsonError("syntax error"));
  expect(() => JSON.parse(text)).toThrow();
});

test.each([
  ['{"a": 1, "a": 2}', 'key "a" twice'],
  ['{"a": 1, "\\u0061": 2}', 'key "a" twice'],
  ["1e999", "number 1e999"],
  ['"\\ud800"', "unpaired surrogate"],
  [`${"[".repeat(65)}${"]".repeat(65)}`, "nested deeper than 64 levels"],
])("refuses %s", (text, message) => {
  expect(() => parse(text)).toThrow(new JsonError(message));
});

test("reads 64 levels", () => {
  expect(parse(`${"[".repeat(64)}1${"]".repeat(64)}`)).toHaveLength(1);
});

test.each([" ", "a", '\\"', "\\\\"])("reads ten million bytes of %j", (piece) => {
  const repeated = piece.repeat(1e7 / piece.length);
  if (piece === " ") expect(parse(`${repeated}1`)).toBe(1);
  else expect((parse(`"${repeated}"`) as string).length).toBe(1e7 / piece.length);
  expect(() => parse(`["${repeated}`)).toThrow(JsonError);
}, 60_000);

test("refuses bytes that are not UTF-8", () => {
  expect(() => parseJson(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(new JsonError("not UTF-8"));
});
