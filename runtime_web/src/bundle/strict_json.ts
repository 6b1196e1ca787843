// JSON without duplicate keys, without numbers that are not finite, and without absurd depth. Objects become maps, so that a
// label called __proto__ is a label like any other.

export type Json = null | boolean | number | string | readonly Json[] | ReadonlyMap<string, Json>;

/** Why bytes are not such JSON; callers say where they come from. */
export class JsonError extends Error {}

const DEEPEST = 64;
// Of a string the opening quote: a long one would be too much for an expression.
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

/** A value as JSON text, at most 80 characters of it, for messages. */
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
    const value = this.any(0);
    if (this.punctuation !== "") throw this.misplaced();
    return value;
  }

  // Reads one token: into `punctuation` ("" at the end), or a whole string, number or word into `value`.
  private next(): void {
    const found = this.token.exec(this.text);
    if (found === null) throw this.misplaced();
    const [, punctuation, quote, number, word, end] = found;
    this.punctuation = punctuation ?? end;
    this.value = undefined;
    if (this.punctuation !== undefined) return;
    this.value = quote === undefined ? (JSON.parse((number ?? word)!) as Json) : this.string(this.token.lastIndex - 1);
    if (number !== undefined && !Number.isFinite(this.value)) throw new JsonError(`number ${number.slice(0, 40)}`);
  }

  // The string whose opening quote stands at `start`.
  private string(start: number): string {
    let end = start;
    for (let escaped = true; escaped; ) {
      end = this.text.indexOf('"', end + 1);
      if (end < 0) throw this.misplaced();
      let slashes = 0;
      while (this.text[end - 1 - slashes] === "\\") slashes += 1;
      escaped = slashes % 2 === 1;
    }
    this.token.lastIndex = end + 1;
    let value: string;
    try {
      value = JSON.parse(this.text.slice(start, end + 1)) as string;
    } catch {
      throw this.misplaced();
    }
    if (!value.isWellFormed()) throw new JsonError("half a surrogate pair");
    return value;
  }

  private any(depth: number): Json {
    if (this.value !== undefined) {
      const value = this.value;
      this.next();
      return value;
    }
    if (depth === DEEPEST && (this.punctuation === "[" || this.punctuation === "{")) throw new JsonError(`deeper than ${DEEPEST}`);
    if (this.accept("[")) return this.array(depth);
    if (this.accept("{")) return this.object(depth);
    throw this.misplaced();
  }

  private array(depth: number): Json[] {
    const items: Json[] = [];
    if (this.accept("]")) return items;
    do items.push(this.any(depth + 1));
    while (this.accept(","));
    this.expect("]");
    return items;
  }

  private object(depth: number): Map<string, Json> {
    const entries = new Map<string, Json>();
    if (this.accept("}")) return entries;
    do {
      const key = this.value;
      if (typeof key !== "string") throw this.misplaced();
      if (entries.has(key)) throw new JsonError(`key ${describe(key)} twice`);
      this.next();
      this.expect(":");
      entries.set(key, this.any(depth + 1));
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
    if (!this.accept(punctuation)) throw this.misplaced();
  }

  private misplaced(): JsonError {
    return new JsonError("not JSON");
  }
}
