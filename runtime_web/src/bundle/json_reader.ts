import { BundleContentError } from "../errors.js";
import { describe, type Json, JsonError, parseJson } from "./strict_json.js";

/** Typed access to the fields of a JSON object. Every error names the field by its path. */
export class JsonReader {
  private constructor(
    readonly where: string,
    private readonly body: ReadonlyMap<string, Json>,
    private readonly path: string,
  ) {}

  /** Parses a file that contains one object. Throws BundleContentError. */
  static parse(bytes: Uint8Array, where: string): JsonReader {
    let body: Json;
    try {
      body = parseJson(bytes);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      throw new BundleContentError(`${where}: not valid JSON (${error.message}). Build the bundle again.`, { cause: error });
    }
    if (body instanceof Map) return new JsonReader(where, body, "");
    throw new BundleContentError(`${where}: found ${describe(body)}, expected an object. Build the bundle again.`);
  }

  /** The error that a field has a wrong value. */
  fieldError(key: string, found: string, expected: string): BundleContentError {
    return new BundleContentError(`${this.where}: ${this.path}${key} is ${found}, expected ${expected}. Build the bundle again.`);
  }

  /** Whether the field exists; its value may be null. */
  has(key: string): boolean {
    return this.body.has(key);
  }

  /** The value of a field; undefined when it is missing or null. */
  optional(key: string): Json | undefined {
    return this.body.get(key) ?? undefined;
  }

  string(key: string): string {
    return this.get(key, "a string", (value) => typeof value === "string");
  }

  boolean(key: string): boolean {
    return this.get(key, "true or false", (value) => typeof value === "boolean");
  }

  number(key: string, low: number, high: number): number {
    const isInRange = (value: Json): value is number => typeof value === "number" && value >= low && value <= high;
    return this.get(key, `a number from ${low} to ${high}`, isInRange);
  }

  integer(key: string, low: number, high: number): number {
    const isInRange = (value: Json): value is number => Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
    return this.get(key, `an integer from ${low} to ${high}`, isInRange);
  }

  strings(key: string): readonly string[] {
    return this.arrayOf(key, "an array of strings", (item) => typeof item === "string");
  }

  numbers(key: string): readonly number[] {
    return this.arrayOf(key, "an array of numbers", (item) => typeof item === "number");
  }

  ids(key: string): readonly number[] {
    const isId = (item: Json): item is number => Number.isInteger(item) && (item as number) >= 0 && (item as number) < 2 ** 31;
    return this.arrayOf(key, "an array of ids", isId);
  }

  /** A reader for each object of an array. */
  items(key: string): readonly JsonReader[] {
    const items = this.arrayOf(key, "an array of objects", (item) => item instanceof Map);
    return items.map((item, index) => new JsonReader(this.where, item, `${this.path}${key}[${index}].`));
  }

  array(key: string): readonly Json[] {
    return this.get(key, "an array", (value) => Array.isArray(value));
  }

  object(key: string): ReadonlyMap<string, Json> {
    return this.get(key, "an object", (value) => value instanceof Map);
  }

  /** A reader for the object in a field. */
  child(key: string): JsonReader {
    return new JsonReader(this.where, this.object(key), `${this.path}${key}.`);
  }

  private get<T extends Json>(key: string, expected: string, matches: (value: Json) => value is T): T {
    const value = this.body.get(key);
    if (value === undefined) throw this.fieldError(key, "nothing", expected);
    if (!matches(value)) throw this.fieldError(key, describe(value), expected);
    return value;
  }

  private arrayOf<T extends Json>(key: string, expected: string, matches: (item: Json) => item is T): readonly T[] {
    const isArray = (value: Json): value is readonly T[] => Array.isArray(value) && value.every(matches);
    return this.get(key, expected, isArray);
  }
}
