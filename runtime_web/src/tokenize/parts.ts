// The parts of a normalizer or a pre-tokenizer, in their order.

import type { JsonReader } from "../bundle/json_reader.js";
import { unsupported } from "./unsupported.js";

const MOST_PARTS = 32;

/** `key` names the part of the `tokenizer.json`, `list` the field of a Sequence that has its parts. Throws BundleContentError. */
export function partsOf(file: JsonReader, key: string, list: string): JsonReader[] {
  const parts: JsonReader[] = [];
  const waiting: JsonReader[] = [];
  let count = 0;
  const add = (more: readonly JsonReader[]): void => {
    count += more.length;
    if (count > MOST_PARTS) throw unsupported(file, `its ${key} has more than ${MOST_PARTS} parts`);
    waiting.push(...[...more].reverse());
  };
  if (file.optional(key) !== undefined) add([file.child(key)]);
  for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
    if (part.string("type") === "Sequence") add(part.items(list));
    else parts.push(part);
  }
  return parts;
}
