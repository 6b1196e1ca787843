// An onnxruntime-web session: loads a graph and runs it. No other file imports onnxruntime-web.

import { env, InferenceSession, Tensor } from "onnxruntime-web/wasm";
import type { GraphFacts, Manifest } from "../bundle/manifest.js";
import type { Bytes } from "../bundle/sha256.js";
import { BundleContentError, BundleVersionError, PlatformError } from "../errors.js";
import { checkGraph } from "../guard/graph_check.js";
import type { TokenRow } from "../tokenize/token_row.js";

/** The outputs of the graph for one text. */
export interface GraphOutput {
  readonly probs: Float32Array;
  readonly similarity: number | null;
}

// A WebAssembly module with one SIMD instruction. onnxruntime-web needs SIMD, so its support is tested with this module.
const SIMD_MODULE = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

let lastCall: Promise<unknown> = Promise.resolve();

// Runs calls one after the other, because all sessions share one WebAssembly module that does not support overlapping calls.
function oneAtATime<T>(call: () => Promise<T>): Promise<T> {
  const result = lastCall.then(call);
  lastCall = result.catch(() => {});
  return result;
}

/** A loaded graph. */
export class GraphSession {
  private constructor(
    private readonly inner: InferenceSession,
    private readonly facts: GraphFacts,
    private readonly labelCount: number,
    /** Every token id must be smaller. */
    readonly vocabularySize: number,
  ) {}

  /** Loads a graph from its bytes. Throws BundleError or PlatformError. */
  static async open(model: Bytes, manifest: Manifest, where: string): Promise<GraphSession> {
    const facts = manifest.graph;
    if (!WebAssembly.validate(new Uint8Array(SIMD_MODULE))) {
      throw new PlatformError("WebAssembly: no SIMD, expected for onnxruntime. Use a browser from 2023 or newer.");
    }
    const version = env.versions.web ?? "0";
    if (isOlder(version, facts.minOnnxruntime)) {
      throw new BundleVersionError(
        `${where}: needs onnxruntime >= ${facts.minOnnxruntime}, found onnxruntime-web ${version}. Upgrade crosstune-web.`,
      );
    }
    const vocabularySize = checkGraph(model, facts, where, manifest.tokens.maxLengthTokens);
    env.wasm.numThreads = 1; // fastest for short texts, and works on pages that are not cross-origin isolated
    env.logLevel = "fatal"; // errors arrive as exceptions
    const options: InferenceSession.SessionOptions = { executionProviders: ["wasm"], enableCpuMemArena: false, logSeverityLevel: 4 };
    if (facts.disabledOptimizers.length > 0) {
      options.extra = { optimization: { disable_specified_optimizers: facts.disabledOptimizers.join(";") } };
    }
    const inner = await oneAtATime(() => InferenceSession.create(model, options)).catch((error: unknown) => {
      throw new BundleContentError(`${where}: onnxruntime refuses the graph (${oneLine(error)}). Build the bundle again.`, {
        cause: error,
      });
    });
    try {
      checkSignature(inner, manifest, where);
    } catch (error) {
      await inner.release();
      throw error;
    }
    return new GraphSession(inner, facts, manifest.labels.length, vocabularySize);
  }

  /** Runs the graph on one row. Throws BundleContentError when onnxruntime fails. */
  async run(row: TokenRow): Promise<GraphOutput> {
    const shape = [1, row.ids.length];
    const tensor = (values: readonly number[]) => new Tensor("int64", BigInt64Array.from(values, BigInt), shape);
    const feeds: Record<string, Tensor> = {
      input_ids: tensor(row.ids),
      attention_mask: new Tensor("int64", new BigInt64Array(row.ids.length).fill(1n), shape),
    };
    if (this.facts.inputs.includes("token_type_ids")) feeds.token_type_ids = tensor(row.typeIds);
    const hasSimilarity = this.facts.outputs.includes("scope");
    const fetches = hasSimilarity ? ["probs", "scope"] : ["probs"];
    const outputs = await oneAtATime(() => this.inner.run(feeds, fetches)).catch((error: unknown) => {
      throw new BundleContentError(`onnxruntime fails on the graph (${oneLine(error)}). Build the bundle again.`, { cause: error });
    });
    const probs = (outputs.probs!.data as Float32Array).slice();
    if (probs.length !== this.labelCount) {
      throw new BundleContentError(`the graph gives ${probs.length} probs, expected ${this.labelCount}. Build the bundle again.`);
    }
    return { probs, similarity: hasSimilarity ? (outputs.scope!.data as Float32Array)[0]! : null };
  }

  /** Frees the memory of the graph. */
  async release(): Promise<void> {
    await oneAtATime(() => this.inner.release());
  }
}

function checkSignature(inner: InferenceSession, manifest: Manifest, where: string): void {
  const { inputs, outputs } = manifest.graph;
  const expectedInputs = inputs.map((name) => `${name} int64 rank 2`).join(", ");
  const expectedOutputs = outputs.map((name) => `${name} float32 rank ${name === "scope" ? 1 : 2}`).join(", ");
  const actualInputs = inner.inputMetadata.map(signatureOf).join(", ");
  const actualOutputs = inner.outputMetadata.map(signatureOf).join(", ");
  if (actualInputs !== expectedInputs || actualOutputs !== expectedOutputs) {
    throw new BundleContentError(
      `${where}: the graph takes ${actualInputs} and gives ${actualOutputs}, expected ${expectedInputs} and ${expectedOutputs}. ` +
        "Build the bundle again.",
    );
  }
  const [probs, vector] = inner.outputMetadata.map((value) => (value.isTensor ? value.shape[1] : undefined));
  if (typeof vector === "number" && vector !== manifest.graph.textVectorSize) {
    const expected = `${manifest.graph.textVectorSize}. Build the bundle again.`;
    throw new BundleContentError(`${where}: text_vector has ${vector} columns, expected ${expected}`);
  }
  const labels = manifest.labels.length;
  if (typeof probs === "number" && probs !== labels) {
    throw new BundleContentError(`${where}: probs has ${probs} columns, expected ${labels}, one per label. Build the bundle again.`);
  }
}

function signatureOf(value: InferenceSession.ValueMetadata): string {
  return value.isTensor ? `${value.name} ${value.type} rank ${value.shape.length}` : `${value.name} of another type`;
}

function isOlder(version: string, minimum: string): boolean {
  const parts = (text: string) => text.split(".").map((part) => parseInt(part, 10) || 0);
  const [a, b] = [parts(version), parts(minimum)];
  for (let i = 0; i < 3; i += 1) if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) < (b[i] ?? 0);
  return false;
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split(/\s+/).join(" ").trim().slice(0, 200);
}
