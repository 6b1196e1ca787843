export { type ClassifyOptions, type Classifier, type ExplainOptions, load, type LoadOptions, type Source } from "./classifier.js";
export * from "./errors.js";
export type { Explanation, WordEvidence } from "./explanation.js";
export type { GraphFacts, LabelEntry, Manifest, TokenLayout } from "./manifest.js";
export type { Prediction } from "./prediction.js";
export type { SelfTestReport } from "./selftest.js";
export type { Text, TokenRow, Word } from "./token_row.js";
