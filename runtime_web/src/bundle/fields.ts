import { BundleContentError } from "../errors.js";
import { describe, type Json, JsonError, parseJson } from "./strict_json.js";

/** Typed access to the fields of one JSON object, with the path of the field in every message. */
export class Fields {
  private constructor(
    private readonly where: string,
    private readonly body: ReadonlyMap<string, Json>,
    private readonly path: string,
  ) {}

  /** Reads a file that is one object. Throws BundleContentError. */
  static parse(bytes: Uint8Array, where: string): Fields {
    let body: Json;
    try {
      body = parseJson(bytes);
    } catch (error) {
      if (!(error instanceof JsonError)) throw error;
      throw new BundleContentError(`${where}: not valid JSON (${error.message}). Build the bundle again.`, { cause: error });
    }
    if (body instanceof Map) return new Fields(where, body, "");
    throw new BundleContentError(`${where}: found ${describe(body)}, expected an object. Build the bundle again.`);
  }

  bad(key: string, found: string, expected: string): BundleContentError {
    return new BundleContentError(`${this.where}: ${this.path}${key} is ${found}, expected ${expected}. Build the bundle again.`);
  }

  /** Whether the field is there, if only as null. */
  has(key: string): boolean {
    return this.body.has(key);
  }

  /** The value of a field; undefined where it is missing or null. */
  optional(key: string): Json | undefined {
    return this.body.get(key) ?? undefined;
  }

  text(key: string): string {
    return this.take(key, "a string", (value) => typeof value === "string");
  }

  boolean(key: string): boolean {
    return this.take(key, "true or false", (value) => typeof value === "boolean");
  }

  number(key: string, low: number, high: number): number {
    const inside = (value: Json): value is number => typeof value === "number" && value >= low && value <= high;
    return this.take(key, `a number from ${low} to ${high}`, inside);
  }

  integer(key: string, low: number, high: number): number {
    const inside = (value: Json): value is number => Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
    return this.take(key, `an integer from ${low} to ${high}`, inside);
  }

  texts(key: string): readonly string[] {
    return this.arrayOf(key, "an array of strings", (item) => typeof item === "string");
  }

  numbers(key: string): readonly number[] {
    return this.arrayOf(key, "an array of numbers", (item) => typeof item === "number");
  }

  ids(key: string): readonly number[] {
    const isId = (item: Json): item is number => Number.isInteger(item) && (item as number) >= 0 && (item as number) < 2 ** 31;
    return this.arrayOf(key, "an array of ids", isId);
  }

  /** The objects of an array. */
  items(key: string): readonly Fields[] {
    const items = this.arrayOf(key, "an array of objects", (item) => item instanceof Map);
    return items.map((item, index) => new Fields(this.where, item, `${this.path}${key}[${index}].`));
  }

  table(key: string): ReadonlyMap<string, Json> {
    return this.take(key, "an object", (value) => value instanceof Map);
  }

  inner(key: string): Fields {
    return new Fields(this.where, this.table(key), `${this.path}${key}.`);
  }

  private take<T extends Json>(key: string, expected: string, fits: (value: Json) => value is T): T {
    const value = this.body.get(key);
    if (value === undefined) throw this.bad(key, "nothing", expected);
    if (!fits(value)) throw this.bad(key, describe(value), expected);
    return value;
  }

  private arrayOf<T extends Json>(key: string, expected: string, fits: (item: Json) => item is T): readonly T[] {
    const isArray = (value: Json): value is readonly T[] => Array.isArray(value) && value.every(fits);
    return this.take(key, expected, isArray);
  }
}
