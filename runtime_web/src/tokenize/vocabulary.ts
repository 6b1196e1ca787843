// The field "vocab" of a model.

import type { JsonReader } from "../bundle/json_reader.js";
import { describe, type Json } from "../bundle/strict_json.js";

/** Longest token; tokens of real vocabularies are below 200. */
export const MOST_TOKEN_BYTES = 512;
export const MOST_TOKENS = 1 << 21;

export function isTooLong(token: string): boolean {
  return 3 * token.length > MOST_TOKEN_BYTES && new TextEncoder().encode(token).length > MOST_TOKEN_BYTES;
}

/** The id of a token. Throws BundleContentError. */
export function idIn(model: JsonReader, token: string, id: Json): number {
  if (Number.isInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31) return id as number;
  throw model.fieldError("vocab", `${describe(token)}: ${describe(id)}`, "an id for every token");
}
