// Strict JSON: no duplicate keys, only finite numbers, at most 64 levels. Objects become maps, so that a label may be called
// __proto__.

export type Json = null | boolean | number | string | readonly Json[] | ReadonlyMap<string, Json>;

/** Says why bytes are not strict JSON. Callers add the name of the file. */
export class JsonError extends Error {}

const MAX_DEPTH = 64;
// Matches only the opening quote of a string, because long strings overflow the regular expression engine.
const TOKEN =
  /[ \t\n\r]*(?:([[\]{}:,])|(")|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(true|false|null)|($))/y;

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
  private readonly token = new RegExp(TOKEN);
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
    const match = this.token.exec(this.text);
    if (match === null) throw this.syntaxError();
    const [, punctuation, quote, number, keyword, end] = match;
    this.punctuation = punctuation ?? end;
    this.value = undefined;
    if (this.punctuation !== undefined) return;
    this.value = quote === undefined ? (JSON.parse((number ?? keyword)!) as Json) : this.readString(this.token.lastIndex - 1);
    if (number !== undefined && !Number.isFinite(this.value)) throw new JsonError(`number ${number.slice(0, 40)}`);
  }

  // Reads the string whose opening quote is at `start`.
  private readString(start: number): string {
    let end = start;
    for (let escaped = true; escaped; ) {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) throw this.syntaxError();
      let backslashes = 0;
      while (this.text[end - 1 - backslashes] === "\\") backslashes += 1;
      escaped = backslashes % 2 === 1;
    }
    this.token.lastIndex = end + 1;
    let value: string;
    try {
      value = JSON.parse(this.text.slice(start, end + 1)) as string;
    } catch {
      throw this.syntaxError();
    }
    if (!value.isWellFormed()) throw new JsonError("unpaired surrogate");
    return value;
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
