// The error for a tokenizer that only the Python runtime reads. crosstune/core/tokenizer_rules.py has the same list.

import type { JsonReader } from "../bundle/json_reader.js";
import { BundleContentError } from "../errors.js";

export function unsupported(part: JsonReader, reason: string): BundleContentError {
  return new BundleContentError(`${part.where}: ${reason}. Use the Python runtime for this bundle.`);
}
