// manifest.json: its digest and its fields. docs/bundle_format.md is the specification.

import { BundleContentError, BundleIntegrityError, BundleVersionError } from "../errors.js";
import { JsonReader } from "./json_reader.js";
import { type Bytes, sha256 } from "./sha256.js";
import { describe } from "./strict_json.js";

export const MANIFEST_NAME = "manifest.json";
export const MODEL_NAME = "model.onnx";
export const TOKENIZER_NAME = "tokenizer.json";
export const SELFTEST_NAME = "selftest.json";
export const CARD_NAME = "README.md";

/** The files of a bundle and the largest size in bytes that is read. */
export const SIZE_LIMITS: ReadonlyMap<string, number> = new Map([
  [MANIFEST_NAME, 2 ** 24],
  [MODEL_NAME, 2 ** 31 - 1],
  [TOKENIZER_NAME, 2 ** 26],
  [SELFTEST_NAME, 2 ** 24],
  [CARD_NAME, 2 ** 20],
]);

/** A label and its descriptions, at least one. */
export interface LabelEntry {
  readonly name: string;
  readonly descriptions: readonly string[];
}

/** How a row of token ids is built around a text. Lengths are in tokens unless the name says bytes. */
export interface TokenLayout {
  readonly maxLengthTokens: number;
  readonly prefixIds: readonly number[];
  readonly infixIds: readonly number[];
  readonly suffixIds: readonly number[];
  readonly padId: number;
  readonly maxTextBytes: number;
  readonly secondTypeId: number;
}

/** The manifest's description of `model.onnx`. */
export interface GraphFacts {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly precision: string;
  readonly opset: number;
  readonly irVersion: number;
  readonly minOnnxruntime: string;
  readonly disabledOptimizers: readonly string[];
  readonly textVectorSize: number;
  /** Whether the graph is one call of a function, which other runtimes replace by faster kernels. */
  readonly hasFunction: boolean;
}

/** The SHA-256 (64 lowercase hex digits) and the size in bytes of a file. */
export interface FileEntry {
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** The description of a bundle. */
export interface Manifest {
  readonly digest: string;
  readonly formatVersion: string;
  readonly name: string;
  readonly labels: readonly LabelEntry[];
  readonly textPair: boolean;
  readonly tokens: TokenLayout;
  readonly graph: GraphFacts;
  /** Probability below which a text gets no label; null: no threshold. */
  readonly threshold: number | null;
  /** Similarity to the nearest label below which a text gets no label; null: no threshold. */
  readonly minSimilarity: number | null;
  readonly files: ReadonlyMap<string, FileEntry>;
}

const DIGEST_PREFIX = '{\n  "digest": "';
const DIGEST_LENGTH = 64;

/** Verifies the digest of a manifest, then parses it. Throws BundleError. */
export async function parseManifest(bytes: Bytes, where: string): Promise<Manifest> {
  const digest = await verifyDigest(bytes, where);
  const reader = JsonReader.parse(bytes, where);
  const format = reader.string("format");
  if (format !== "crosstune-bundle") {
    throw new BundleContentError(
      `${where}: format is ${describe(format)}, expected "crosstune-bundle". Give a folder that crosstune-export built.`,
    );
  }
  const formatVersion = reader.string("format_version");
  if (!/^[0-9]+\.[0-9]+$/.test(formatVersion)) {
    throw reader.fieldError("format_version", describe(formatVersion), 'a string "major.minor"');
  }
  if (!formatVersion.startsWith("1.")) {
    throw new BundleVersionError(`${where}: bundle format ${formatVersion}, this reader knows 1. Upgrade crosstune-web.`);
  }
  const graph = readGraphFacts(reader.child("graph"));
  const textPair = reader.boolean("text_pair");
  if (graph.inputs.length > 2 && !textPair) {
    throw reader.fieldError("graph.inputs", describe(graph.inputs), "no token_type_ids where text_pair is false");
  }
  const decision = reader.child("decision");
  if (!decision.has("threshold")) throw decision.fieldError("threshold", "nothing", "a number from 0 to 1 or null");
  checkInformationalFields(reader);
  const minSimilarity = readThreshold(decision, "scope_threshold", -1);
  if (minSimilarity !== null && !graph.outputs.includes("scope")) {
    throw decision.fieldError("scope_threshold", String(minSimilarity), "null where the graph has no output scope");
  }
  return {
    digest,
    formatVersion,
    name: reader.string("name"),
    labels: readLabels(reader),
    textPair,
    tokens: readTokenLayout(reader.child("tokens")),
    graph,
    threshold: readThreshold(decision, "threshold", 0),
    minSimilarity,
    files: readFiles(reader),
  };
}

async function verifyDigest(bytes: Bytes, where: string): Promise<string> {
  const start = DIGEST_PREFIX.length;
  const prefix = new TextDecoder().decode(bytes.subarray(0, start + DIGEST_LENGTH));
  if (prefix.startsWith(DIGEST_PREFIX)) {
    const unsigned = bytes.slice();
    unsigned.fill(0x30, start, start + DIGEST_LENGTH);
    const digest = await sha256(unsigned);
    if (prefix.slice(start) === digest) return digest;
  }
  throw new BundleIntegrityError(
    `${where}: the digest does not match the contents, expected the file as it was built. Copy or build the bundle again.`,
  );
}

function readLabels(reader: JsonReader): LabelEntry[] {
  const items = reader.items("labels");
  if (items.length < 2) throw reader.fieldError("labels", `an array of ${items.length}`, "an array of at least 2 labels");
  const labels = items.map((item) => {
    const descriptions = item.strings("descriptions");
    if (descriptions.length === 0) throw item.fieldError("descriptions", "empty", "at least one sentence");
    return { name: item.string("name"), descriptions };
  });
  if (new Set(labels.map((label) => label.name)).size !== labels.length) {
    throw reader.fieldError("labels", "a list with a duplicate name", "distinct names");
  }
  return labels;
}

function readTokenLayout(reader: JsonReader): TokenLayout {
  const layout = {
    maxLengthTokens: reader.integer("max_length_tokens", 8, 2 ** 20),
    prefixIds: reader.ids("prefix_ids"),
    infixIds: reader.ids("infix_ids"),
    suffixIds: reader.ids("suffix_ids"),
    padId: reader.integer("pad_id", 0, 2 ** 31 - 1),
    maxTextBytes: reader.integer("max_text_bytes", 1024, 2 ** 30),
    secondTypeId: reader.integer("second_type_id", 0, 255),
  };
  const special = layout.prefixIds.length + layout.infixIds.length + layout.suffixIds.length;
  if (special + 2 > layout.maxLengthTokens) {
    throw reader.fieldError("max_length_tokens", String(layout.maxLengthTokens), `more than the ${special} special ids`);
  }
  return layout;
}

function readGraphFacts(reader: JsonReader): GraphFacts {
  const inputs = reader.strings("inputs");
  if (!["input_ids,attention_mask", "input_ids,attention_mask,token_type_ids"].includes(inputs.join())) {
    throw reader.fieldError("inputs", JSON.stringify(inputs).slice(0, 80), "input_ids, attention_mask and optionally token_type_ids");
  }
  const outputs = reader.strings("outputs");
  if (!["probs,text_vector", "probs,text_vector,scope"].includes(outputs.join())) {
    throw reader.fieldError("outputs", JSON.stringify(outputs).slice(0, 80), "probs, text_vector and optionally scope");
  }
  const precision = reader.string("precision");
  if (!["fp32", "fp16", "int8"].includes(precision)) throw reader.fieldError("precision", describe(precision), "fp32 or fp16 or int8");
  const minOnnxruntime = reader.string("min_onnxruntime");
  if (!/^[0-9]{1,4}(\.[0-9]{1,4}){1,2}$/.test(minOnnxruntime)) {
    throw reader.fieldError("min_onnxruntime", describe(minOnnxruntime), "a version such as '1.20.0'");
  }
  const functionName = reader.optional("function") ?? null;
  if (functionName !== null && functionName !== "Classify") throw reader.fieldError("function", describe(functionName), "'Classify'");
  return {
    inputs,
    outputs,
    precision,
    opset: reader.integer("opset", 1, 1000),
    irVersion: reader.integer("ir_version", 1, 1000),
    minOnnxruntime,
    disabledOptimizers: reader.strings("disabled_optimizers"),
    textVectorSize: reader.integer("text_vector_size", 1, 2 ** 24),
    hasFunction: functionName !== null,
  };
}

function readThreshold(decision: JsonReader, key: string, low: number): number | null {
  const value = decision.optional(key) ?? null;
  if (value === null || (typeof value === "number" && value >= low && value <= 1)) return value;
  throw decision.fieldError(key, describe(value), `a number from ${low} to 1 or null`);
}

// Checks the fields that only people and tools read; none of them is kept.
function checkInformationalFields(reader: JsonReader): void {
  const producer = reader.child("producer");
  for (const tool of reader.object("producer").keys()) producer.string(tool);
  for (const key of ["backbone", "head", "training", "quality"]) reader.object(key);
  if (reader.has("release")) reader.integer("release", 0, 2 ** 31 - 1);
}

function readFiles(reader: JsonReader): ReadonlyMap<string, FileEntry> {
  const files = reader.child("files");
  const expected = [...SIZE_LIMITS].filter(([name]) => name !== MANIFEST_NAME);
  const names = [...reader.object("files").keys()].sort();
  if (names.join("/") !== expected.map(([name]) => name).sort().join("/")) {
    throw reader.fieldError("files", JSON.stringify(names).slice(0, 80), "the other four files");
  }
  return new Map(
    expected.map(([name, limit]) => {
      const file = files.child(name);
      const hash = file.string("sha256");
      if (!/^[0-9a-f]{64}$/.test(hash)) throw file.fieldError("sha256", describe(hash), "64 lowercase hexadecimal digits");
      return [name, { sha256: hash, sizeBytes: file.integer("size_bytes", 0, limit) }];
    }),
  );
}
