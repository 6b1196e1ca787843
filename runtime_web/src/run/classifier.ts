import { type BundleFiles, type BundleFolder, bundleOf, folderAt, type OnProgress, readBundle } from "../bundle/bundle_files.js";
import { type Manifest, MODEL_NAME, SELFTEST_NAME, TOKENIZER_NAME } from "../bundle/manifest.js";
import { packedAt, packedBlob, type PackedBundle, packedBytes } from "../bundle/packed_bundle.js";
import { readSelftest, type SelfTestReport } from "../bundle/selftest.js";
import { BundleContentError, ConfigError, DataError } from "../errors.js";
import { withoutExits } from "../guard/exits.js";
import { refuseControlCharacters, type Text } from "../text.js";
import { TextTokenizer, type TokenRow } from "../tokenize/token_row.js";
import { readTokenizer } from "../tokenize/read_tokenizer.js";
import { evidence, type Explanation, without, type WordEvidence } from "./explanation.js";
import { checkMinSimilarity, checkThreshold, decide, type Prediction } from "./prediction.js";
import { GraphSession } from "./session.js";

export interface LoadOptions {
  /** Called while the bundle is read. */
  readonly onProgress?: OnProgress;
}

export interface ClassifyOptions {
  /** Probability below which a text gets no label. Default: the bundle's threshold. */
  readonly threshold?: number;
  /** Similarity to the training texts, in [-1, 1], below which a text gets no label. Default: the bundle's. */
  readonly minSimilarity?: number;
}

export interface ExplainOptions extends ClassifyOptions {
  /** Stops the work early; `explain` then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Classifies texts with a bundle. Use `load` to create one. */
export class Classifier {
  private allLayers: Promise<GraphSession> | undefined;

  private constructor(
    private readonly files: Pick<BundleFiles, "manifest" | "selftest" | "where">,
    private readonly tokenizer: TextTokenizer,
    private readonly session: GraphSession,
    /** Loads the graph without its early exits; undefined where it has none. */
    private readonly openAllLayers: (() => Promise<GraphSession>) | undefined,
  ) {}

  /** Reads a bundle, checks every byte of it and loads its graph. Throws BundleError or PlatformError. */
  static async open(source: BundleFolder | PackedBundle, options: LoadOptions = {}): Promise<Classifier> {
    const { where, manifest, selftest, tokenizer, model } = await readBundle(source, options.onProgress);
    const textTokenizer = new TextTokenizer(readTokenizer(tokenizer, where(TOKENIZER_NAME)), manifest.tokens, manifest.textPair);
    const session = await GraphSession.open(model, manifest, where(MODEL_NAME));
    if (textTokenizer.largestId >= session.vocabularySize) {
      await session.release();
      throw new BundleContentError(
        `${where(TOKENIZER_NAME)}: has the id ${textTokenizer.largestId}, expected ids below ${session.vocabularySize}. Build the bundle again.`,
      );
    }
    const closed = withoutExits(model);
    const openAllLayers = closed && ((): Promise<GraphSession> => GraphSession.open(closed, manifest, where(MODEL_NAME)));
    return new Classifier({ where, manifest, selftest }, textTokenizer, session, openAllLayers);
  }

  /** The names of the labels, in the order of the probabilities. */
  get labels(): readonly string[] {
    return this.manifest.labels.map((label) => label.name);
  }

  /** The description of the bundle. */
  get manifest(): Manifest {
    return this.files.manifest;
  }

  /**
   * Classifies texts. Runs the graph once for each text, so no answer depends on the other texts.
   *
   * Throws DataError when an item is not a text, or not a pair of texts if the bundle classifies pairs, or has a control character; ConfigError when
   * `minSimilarity` is given and the bundle measures no similarity.
   */
  async classify(texts: readonly Text[], options: ClassifyOptions = {}): Promise<Prediction[]> {
    return this.decideAll(texts, options, this.session);
  }

  private async decideAll(texts: readonly Text[], options: ClassifyOptions, session: GraphSession): Promise<Prediction[]> {
    const rule = {
      labels: this.labels,
      threshold: checkThreshold(options.threshold ?? this.manifest.threshold),
      minSimilarity: checkMinSimilarity(
        options.minSimilarity ?? this.manifest.minSimilarity,
        this.manifest.graph.outputs.includes("scope"),
      ),
    };
    const rows = this.tokenize(texts);
    refuseControlCharacters(texts);
    const predictions: Prediction[] = [];
    for (const [index, row] of rows.entries()) {
      const { probs, similarity } = await session.run(row);
      predictions.push(decide(rule, probs, similarity, row.truncated, index));
    }
    return predictions;
  }

  /**
   * Classifies one text and computes the evidence of each word for each label. Leaves out one word at a time, so a text of W words
   * costs W + 1 runs of the graph. All of them run all layers.
   *
   * Throws DataError as `classify` does.
   */
  async explain(text: Text, options: ExplainOptions = {}): Promise<Explanation> {
    const session = (await (this.allLayers ??= this.openAllLayers?.())) ?? this.session;
    const [prediction] = await this.decideAll([text], options, session);
    const row = this.tokenizer.row(text, 0);
    const words: WordEvidence[] = [];
    for (const word of this.tokenizer.words(text)) {
      await yieldToEventLoop();
      options.signal?.throwIfAborted();
      const { probs } = await session.run(without(row, word.tokens));
      words.push({ ...word, evidence: evidence(prediction!.probs, probs) });
    }
    return { prediction: prediction!, words };
  }

  /** The token ids of each text, as the graph gets them. Throws DataError. */
  tokenize(texts: readonly Text[]): TokenRow[] {
    if (!Array.isArray(texts)) throw new DataError(`texts: found a ${typeof texts}, expected an array of texts.`);
    return texts.map((text, index) => this.tokenizer.row(text, index));
  }

  /** Runs the bundle's self-test on this machine. Throws BundleContentError when its samples cannot be read. */
  async selftest(): Promise<SelfTestReport> {
    const { tolerance, samples } = readSelftest(
      this.files.selftest,
      this.files.where(SELFTEST_NAME),
      this.manifest.graph.precision,
    );
    let wrongIds = 0;
    let maxDifference = 0;
    for (const sample of samples) {
      await yieldToEventLoop();
      const row = this.tokenizer.row(sample.text, 0);
      if (row.ids.join() !== sample.inputIds.join() || row.truncated !== sample.truncated) wrongIds += 1;
      const { probs } = await this.session.run(row);
      const differences = Array.from(probs, (prob, i) => Math.abs(prob - Math.fround(sample.probs[i] ?? NaN)));
      const largest = probs.length === sample.probs.length ? Math.max(...differences) : NaN;
      maxDifference = Number.isFinite(largest) ? Math.max(maxDifference, largest) : Infinity;
    }
    return { samples: samples.length, wrongIds, maxDifference, tolerance, passed: wrongIds === 0 && maxDifference <= tolerance };
  }

  /** Frees the memory of the graph. The classifier cannot be used afterwards. */
  async close(): Promise<void> {
    await this.session.release();
    await (await this.allLayers)?.release();
  }
}

/** Where a bundle is: an address, files that a person chose or dropped, or a packed bundle in memory. */
export type Source = string | URL | readonly File[] | Blob | ArrayBuffer | Uint8Array;

/**
 * Loads a bundle. `source` is one of:
 *
 * - the address of a bundle folder, or of a packed bundle, whose path must end in `.zip`;
 * - the files that a person chose or dropped: the five files of a bundle, or the packed bundle alone;
 * - the bytes of a packed bundle.
 *
 *     const classifier = await load("/support.bundle/");
 *     const [answer] = await classifier.classify(["my thermostat is stuck on the logo"]);
 *
 * Throws BundleError when the bundle cannot be used (the message names the file and the reason), PlatformError when the browser
 * lacks a required feature, ConfigError when `source` is not an address.
 */
export async function load(source: Source, options: LoadOptions = {}): Promise<Classifier> {
  return Classifier.open(bundleAt(source), options);
}

// Lets timers and messages run between two runs of the graph. The promises of onnxruntime-web alone would block them.
function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = (): void => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}

function bundleAt(source: Source): BundleFolder | PackedBundle {
  if (Array.isArray(source)) return bundleOf(source);
  if (source instanceof Blob) return packedBlob(source);
  if (source instanceof ArrayBuffer) return packedBytes(new Uint8Array(source.slice(0))); // a copy, because the caller may change it
  if (source instanceof Uint8Array) return packedBytes(source.slice());
  const address = parseAddress(source as string | URL);
  return address.pathname.endsWith(".zip") ? packedAt(address) : folderAt(address);
}

function parseAddress(source: string | URL): URL {
  const base = (globalThis as { location?: Location }).location?.href;
  if (!URL.canParse(String(source), base)) {
    throw new ConfigError(`source: found ${JSON.stringify(String(source))}, expected the address of a bundle.`);
  }
  return new URL(source, base);
}
