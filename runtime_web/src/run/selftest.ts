import { Fields } from "../bundle/fields.js";
import type { Text } from "../tokenize/token_row.js";

/** One text with the ids and probabilities that the build saw. */
export interface SelfTestSample {
  readonly text: Text;
  readonly inputIds: readonly number[];
  readonly truncated: boolean;
  readonly probs: readonly number[];
}

/** Outcome of a self-test. */
export interface SelfTestReport {
  /** How many texts were run. */
  readonly samples: number;
  /** How many gave other ids or another `truncated` than recorded. */
  readonly wrongIds: number;
  /** Largest absolute difference of a probability. */
  readonly maxDifference: number;
  /** The largest difference allowed. */
  readonly tolerance: number;
  /** Whether ids are equal and probabilities within the tolerance. */
  readonly passed: boolean;
}

/** Tolerance and samples of a `selftest.json`. Throws BundleContentError. */
export function readSelftest(bytes: Uint8Array, where: string): { tolerance: number; samples: readonly SelfTestSample[] } {
  const fields = Fields.parse(bytes, where);
  const samples = fields.items("samples").map((item) => ({
    text: item.optional("text_pair") === undefined ? item.text("text") : ([item.text("text"), item.text("text_pair")] as const),
    inputIds: item.ids("input_ids"),
    truncated: item.boolean("truncated"),
    probs: item.numbers("probs"),
  }));
  const tolerance = fields.number("tolerance", 0, 1);
  if (!samples.length) throw fields.bad("samples", "[]", "a sample or more");
  return { tolerance, samples };
}
