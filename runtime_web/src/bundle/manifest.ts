// The manifest of a bundle: its digest and the fields that classifying needs. docs/bundle_format.md is the specification.

import { BundleContentError, BundleIntegrityError, BundleVersionError } from "../errors.js";
import { Fields } from "./fields.js";
import { type Bytes, sha256 } from "./sha256.js";
import { describe } from "./strict_json.js";

export const MANIFEST_NAME = "manifest.json";
export const MODEL_NAME = "model.onnx";
export const TOKENIZER_NAME = "tokenizer.json";
export const SELFTEST_NAME = "selftest.json";
export const CARD_NAME = "README.md";

/** The files of a bundle and the size in bytes above which each is refused unread. */
export const SIZE_LIMITS: ReadonlyMap<string, number> = new Map([
  [MANIFEST_NAME, 2 ** 24],
  [MODEL_NAME, 2 ** 31 - 1],
  [TOKENIZER_NAME, 2 ** 26],
  [SELFTEST_NAME, 2 ** 24],
  [CARD_NAME, 2 ** 20],
]);

/** A label and the sentences that describe it, at least one. */
export interface LabelEntry {
  readonly name: string;
  readonly descriptions: readonly string[];
}

/** How ids are laid out around a text; counts in tokens unless the name says bytes. */
export interface TokenLayout {
  readonly maxLengthTokens: number;
  readonly prefixIds: readonly number[];
  readonly infixIds: readonly number[];
  readonly suffixIds: readonly number[];
  readonly padId: number;
  readonly maxTextBytes: number;
  readonly secondTypeId: number;
}

/** What a runtime must know of `model.onnx` before it opens it. */
export interface GraphFacts {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly precision: string;
  readonly opset: number;
  readonly irVersion: number;
  readonly minOnnxruntime: string;
  readonly disabledOptimizers: readonly string[];
  readonly textVectorSize: number;
}

/** SHA-256 (64 lowercase hex digits) and size in bytes of one file. */
export interface FileEntry {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** What a bundle says of itself. */
export interface Manifest {
  readonly digest: string;
  readonly formatVersion: string;
  readonly name: string;
  readonly labels: readonly LabelEntry[];
  readonly textPair: boolean;
  readonly tokens: TokenLayout;
  readonly graph: GraphFacts;
  /** Probability below which no label is given, or null. */
  readonly threshold: number | null;
  /** Scope below which no label is given, or null. */
  readonly scopeThreshold: number | null;
  readonly files: ReadonlyMap<string, FileEntry>;
}

const DIGEST_HEAD = '{\n  "digest": "';
const DIGITS = 64;

/** Checks the digest of a manifest's bytes, then reads them. Throws BundleError. */
export async function parseManifest(bytes: Bytes, where: string): Promise<Manifest> {
  const digest = await checkedDigest(bytes, where);
  const fields = Fields.parse(bytes, where);
  const format = fields.text("format");
  if (format !== "crosstune-bundle") {
    throw new BundleContentError(
      `${where}: format is ${describe(format)}, expected "crosstune-bundle". Give a folder that crosstune-export built.`,
    );
  }
  const formatVersion = fields.text("format_version");
  if (!/^[0-9]+\.[0-9]+$/.test(formatVersion)) {
    throw fields.bad("format_version", describe(formatVersion), 'a string "major.minor"');
  }
  if (!formatVersion.startsWith("1.")) {
    throw new BundleVersionError(`${where}: bundle format ${formatVersion}, this reader knows 1. Upgrade crosstune-web.`);
  }
  const graph = readGraph(fields.inner("graph"));
  const textPair = fields.boolean("text_pair");
  if (graph.inputs.length > 2 && !textPair) {
    throw fields.bad("graph.inputs", describe(graph.inputs), "no token_type_ids where text_pair is false");
  }
  const decision = fields.inner("decision");
  if (!decision.has("threshold")) throw decision.bad("threshold", "nothing", "a number from 0 to 1 or null");
  checkTheRest(fields);
  const scopeThreshold = readLimit(decision, "scope_threshold", -1);
  if (scopeThreshold !== null && !graph.outputs.includes("scope")) {
    throw decision.bad("scope_threshold", String(scopeThreshold), "null where the graph has no output scope");
  }
  return {
    digest,
    formatVersion,
    name: fields.text("name"),
    labels: readLabels(fields),
    textPair,
    tokens: readTokens(fields.inner("tokens")),
    graph,
    threshold: readLimit(decision, "threshold", 0),
    scopeThreshold,
    files: readFiles(fields),
  };
}

async function checkedDigest(bytes: Bytes, where: string): Promise<string> {
  const start = DIGEST_HEAD.length;
  const head = new TextDecoder().decode(bytes.subarray(0, start + DIGITS));
  if (head.startsWith(DIGEST_HEAD)) {
    const unsigned = bytes.slice();
    unsigned.fill(0x30, start, start + DIGITS);
    const digest = await sha256(unsigned);
    if (head.slice(start) === digest) return digest;
  }
  throw new BundleIntegrityError(
    `${where}: the digest does not match the bytes, expected them as they were built. Copy or build the bundle again.`,
  );
}

function readLabels(fields: Fields): LabelEntry[] {
  const items = fields.items("labels");
  if (items.length < 2) throw fields.bad("labels", `an array of ${items.length}`, "an array of at least 2 labels");
  const labels = items.map((item) => {
    const descriptions = item.texts("descriptions");
    if (descriptions.length === 0) throw item.bad("descriptions", "empty", "at least one sentence");
    return { name: item.text("name"), descriptions };
  });
  if (new Set(labels.map((label) => label.name)).size !== labels.length) {
    throw fields.bad("labels", "a list with one name twice", "distinct names");
  }
  return labels;
}

function readTokens(fields: Fields): TokenLayout {
  const layout = {
    maxLengthTokens: fields.integer("max_length_tokens", 8, 2 ** 20),
    prefixIds: fields.ids("prefix_ids"),
    infixIds: fields.ids("infix_ids"),
    suffixIds: fields.ids("suffix_ids"),
    padId: fields.integer("pad_id", 0, 2 ** 31 - 1),
    maxTextBytes: fields.integer("max_text_bytes", 1024, 2 ** 30),
    secondTypeId: fields.integer("second_type_id", 0, 255),
  };
  const special = layout.prefixIds.length + layout.infixIds.length + layout.suffixIds.length;
  if (special + 2 > layout.maxLengthTokens) {
    throw fields.bad("max_length_tokens", String(layout.maxLengthTokens), `more than the ${special} special ids`);
  }
  return layout;
}

function readGraph(fields: Fields): GraphFacts {
  const inputs = fields.texts("inputs");
  if (!["input_ids,attention_mask", "input_ids,attention_mask,token_type_ids"].includes(inputs.join())) {
    throw fields.bad("inputs", JSON.stringify(inputs).slice(0, 80), "input_ids, attention_mask and at most token_type_ids");
  }
  const outputs = fields.texts("outputs");
  if (!["probs,text_vector", "probs,text_vector,scope"].includes(outputs.join())) {
    throw fields.bad("outputs", JSON.stringify(outputs).slice(0, 80), "probs, text_vector and at most scope");
  }
  const precision = fields.text("precision");
  if (!["fp32", "fp16", "int8"].includes(precision)) throw fields.bad("precision", describe(precision), "fp32 or fp16 or int8");
  return {
    inputs,
    outputs,
    precision,
    opset: fields.integer("opset", 1, 1000),
    irVersion: fields.integer("ir_version", 1, 1000),
    minOnnxruntime: fields.text("min_onnxruntime"),
    disabledOptimizers: fields.texts("disabled_optimizers"),
    textVectorSize: fields.integer("text_vector_size", 1, 2 ** 24),
  };
}

function readLimit(decision: Fields, key: string, low: number): number | null {
  const value = decision.optional(key) ?? null;
  if (value === null || (typeof value === "number" && value >= low && value <= 1)) return value;
  throw decision.bad(key, describe(value), `a number from ${low} to 1 or null`);
}

// What the manifest says to people and to tools; nothing of it is kept here.
function checkTheRest(fields: Fields): void {
  const producer = fields.inner("producer");
  for (const tool of fields.table("producer").keys()) producer.text(tool);
  for (const key of ["backbone", "head", "training", "quality"]) fields.table(key);
  if (fields.has("release")) fields.integer("release", 0, 2 ** 31 - 1);
}

function readFiles(fields: Fields): ReadonlyMap<string, FileEntry> {
  const files = fields.inner("files");
  const expected = [...SIZE_LIMITS].filter(([name]) => name !== MANIFEST_NAME);
  const found = [...fields.table("files").keys()].sort();
  if (found.join("/") !== expected.map(([name]) => name).sort().join("/")) {
    throw fields.bad("files", JSON.stringify(found).slice(0, 80), "the four other files");
  }
  return new Map(
    expected.map(([name, limit]) => {
      const file = files.inner(name);
      const hash = file.text("sha256");
      if (!/^[0-9a-f]{64}$/.test(hash)) throw file.bad("sha256", describe(hash), "64 lowercase hexadecimal digits");
      return [name, { sha256: hash, sizeBytes: file.integer("size_bytes", 0, limit) }];
    }),
  );
}
