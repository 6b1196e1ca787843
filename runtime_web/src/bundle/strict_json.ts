// Strict JSON: no duplicate keys, only finite numbers, at most 64 levels. Objects become maps, so that a label may be called
// __proto__.

export type Json = null | boolean | number | string | readonly Json[] | ReadonlyMap<string, Json>;

/** Says why bytes are not strict JSON. Callers add the name of the file. */
export class JsonError extends Error {}

const MAX_DEPTH = 64;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const KEYWORDS = new Map<string, Json>([["true", true], ["false", false], ["null", null]]);
const CONTROL = /[\x00-\x1f]/;

/** Parses UTF-8 bytes. Throws JsonError. */
export function parseJson(bytes: Uint8Array): Json {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new JsonError("not UTF-8");
  }
  return new Parser(text).document();
}

/** A value for messages: as JSON, at most 80 characters, or its kind. */
export function describe(value: Json): string {
  if (value instanceof Map) return "an object";
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return JSON.stringify(value).slice(0, 80);
}

class Parser {
  private readonly number = new RegExp(NUMBER);
  private position = 0;
  private nextBackslash = -1; // the first one at or after the last string that was read
  private punctuation: string | undefined;
  private value: Json | undefined;

  constructor(private readonly text: string) {
    this.next();
  }

  document(): Json {
    const value = this.readValue(0);
    if (this.punctuation !== "") throw this.syntaxError();
    return value;
  }

  // Reads the next token into `punctuation` ("" at the end of the text) or `value` (a string, a number, true, false or null).
  private next(): void {
    const { text } = this;
    let first = text[this.position];
    while (first === " " || first === "\n" || first === "\t" || first === "\r") first = text[++this.position];
    this.punctuation = undefined;
    this.value = undefined;
    switch (first) {
      case undefined:
        this.punctuation = "";
        return;
      case "[": case "]": case "{": case "}": case ":": case ",":
        this.position += 1;
        this.punctuation = first;
        return;
      case '"':
        this.value = this.readString();
        return;
      case "t": case "f": case "n":
        this.value = this.readKeyword();
        return;
      default:
        this.value = this.readNumber();
    }
  }

  private readKeyword(): Json {
    for (const [keyword, value] of KEYWORDS) {
      if (!this.text.startsWith(keyword, this.position)) continue;
      this.position += keyword.length;
      return value;
    }
    throw this.syntaxError();
  }

  private readNumber(): number {
    this.number.lastIndex = this.position;
    const text = this.number.exec(this.text)?.[0];
    if (text === undefined) throw this.syntaxError();
    this.position += text.length;
    const value = Number(text);
    if (!Number.isFinite(value)) throw new JsonError(`number ${text.slice(0, 40)}`);
    return value;
  }

  // Reads the string whose opening quote is at the position.
  private readString(): string {
    const start = this.position;
    let end = this.text.indexOf('"', start + 1);
    if (this.nextBackslash < start) this.nextBackslash = this.endOfText(this.text.indexOf("\\", start));
    const hasEscapes = this.nextBackslash < end;
    while (hasEscapes && end >= 0 && this.isEscaped(end)) end = this.text.indexOf('"', end + 1);
    if (end < 0) throw this.syntaxError();
    this.position = end + 1;
    const raw = this.text.slice(start + 1, end);
    if (!hasEscapes && !CONTROL.test(raw)) return raw;
    let value: string;
    try {
      value = JSON.parse(`"${raw}"`) as string;
    } catch {
      throw this.syntaxError();
    }
    if (!value.isWellFormed()) throw new JsonError("unpaired surrogate");
    return value;
  }

  private endOfText(index: number): number {
    return index < 0 ? this.text.length : index;
  }

  // Whether an odd number of backslashes is before a quote.
  private isEscaped(quote: number): boolean {
    let backslashes = 0;
    while (this.text[quote - 1 - backslashes] === "\\") backslashes += 1;
    return backslashes % 2 === 1;
  }

  private readValue(depth: number): Json {
    if (this.value !== undefined) {
      const value = this.value;
      this.next();
      return value;
    }
    if (depth === MAX_DEPTH && (this.punctuation === "[" || this.punctuation === "{")) throw new JsonError(`nested deeper than ${MAX_DEPTH} levels`);
    if (this.accept("[")) return this.readArray(depth);
    if (this.accept("{")) return this.readObject(depth);
    throw this.syntaxError();
  }

  private readArray(depth: number): Json[] {
    const items: Json[] = [];
    if (this.accept("]")) return items;
    do items.push(this.readValue(depth + 1));
    while (this.accept(","));
    this.expect("]");
    return items;
  }

  private readObject(depth: number): Map<string, Json> {
    const entries = new Map<string, Json>();
    if (this.accept("}")) return entries;
    do {
      const key = this.value;
      if (typeof key !== "string") throw this.syntaxError();
      if (entries.has(key)) throw new JsonError(`key ${describe(key)} twice`);
      this.next();
      this.expect(":");
      entries.set(key, this.readValue(depth + 1));
    } while (this.accept(","));
    this.expect("}");
    return entries;
  }

  private accept(punctuation: string): boolean {
    if (this.punctuation !== punctuation) return false;
    this.next();
    return true;
  }

  private expect(punctuation: string): void {
    if (!this.accept(punctuation)) throw this.syntaxError();
  }

  private syntaxError(): JsonError {
    return new JsonError("syntax error");
  }
}
