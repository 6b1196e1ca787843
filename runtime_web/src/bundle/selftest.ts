// selftest.json: sample texts with the ids and probabilities that the build recorded.

import type { Text } from "../text.js";
import { JsonReader } from "./json_reader.js";

/** A sample text with the ids and probabilities that the build recorded. */
export interface SelfTestSample {
  readonly text: Text;
  readonly inputIds: readonly number[];
  readonly truncated: boolean;
  readonly probs: readonly number[];
}

/** The result of a self-test. */
export interface SelfTestReport {
  /** Number of samples. */
  readonly samples: number;
  /** Number of samples whose ids or `truncated` differ from the recorded ones. */
  readonly wrongIds: number;
  /** Largest absolute difference of a probability. */
  readonly maxDifference: number;
  /** Largest difference allowed. */
  readonly tolerance: number;
  /** Whether all ids are equal and all probabilities within the tolerance. */
  readonly passed: boolean;
}

const LARGEST_TOLERANCE: Readonly<Record<string, number>> = { fp32: 1e-4, fp16: 5e-3, int8: 0.1 };
const MOST_SAMPLES = 4096;

/** Reads a `selftest.json`; the precision of the graph bounds the tolerance. Throws BundleContentError. */
export function readSelftest(bytes: Uint8Array, where: string, precision: string): { tolerance: number; samples: readonly SelfTestSample[] } {
  const file = JsonReader.parse(bytes, where);
  const samples = file.items("samples").map((item) => ({
    text: item.optional("text_pair") === undefined ? item.string("text") : ([item.string("text"), item.string("text_pair")] as const),
    inputIds: item.ids("input_ids"),
    truncated: item.boolean("truncated"),
    probs: item.numbers("probs"),
  }));
  const tolerance = file.number("tolerance", 0, LARGEST_TOLERANCE[precision]!);
  if (samples.length > MOST_SAMPLES) throw file.fieldError("samples", `${samples.length}`, `at most ${MOST_SAMPLES}`);
  if (samples.length === 0) throw file.fieldError("samples", "[]", "at least one sample");
  return { tolerance, samples };
}
