export type { GraphFacts, LabelEntry, Manifest, TokenLayout } from "./bundle/manifest.js";
export type { SelfTestReport } from "./bundle/selftest.js";
export * from "./errors.js";
export { type ClassifyOptions, type Classifier, type ExplainOptions, load, type LoadOptions, type Source } from "./run/classifier.js";
export type { Explanation, WordEvidence } from "./run/explanation.js";
export type { Prediction } from "./run/prediction.js";
export type { Text } from "./text.js";
export type { TokenRow, Word } from "./tokenize/token_row.js";
