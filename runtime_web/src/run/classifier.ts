import { type BundleFiles, type BundleFolder, bundleOf, folderAt, type OnProgress, readBundle } from "../bundle/bundle_files.js";
import { BundleContentError, DataError, ConfigError } from "../errors.js";
import { evidence, type Explanation, without, type WordEvidence } from "./explanation.js";
import { type Manifest, MODEL_NAME, SELFTEST_NAME, TOKENIZER_NAME } from "../bundle/manifest.js";
import { packedAt, packedBlob, type PackedBundle, packedBytes } from "../bundle/packed_bundle.js";
import { checkThreshold, decide, type Prediction } from "./prediction.js";
import { readSelftest, type SelfTestReport } from "./selftest.js";
import { GraphSession } from "./session.js";
import { RowMaker, type Text, type TokenRow } from "../tokenize/token_row.js";
import { readTokenizer } from "../tokenize/wordpiece.js";

export interface LoadOptions {
  /** Is told how much of the bundle has been read. */
  readonly onProgress?: OnProgress;
}

export interface ClassifyOptions {
  /** Probability below which no label is given; the bundle's own rule when left out. */
  readonly threshold?: number;
}

export interface ExplainOptions extends ClassifyOptions {
  /** Ends the work early; `explain` then throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** Labels texts with a bundle; made by `load`. */
export class Classifier {
  private constructor(
    private readonly files: Pick<BundleFiles, "manifest" | "selftest" | "where">,
    private readonly rows: RowMaker,
    private readonly session: GraphSession,
  ) {}

  /** Reads a bundle of any kind, checks every byte of it, and makes it ready. Throws BundleError or PlatformError. */
  static async open(source: BundleFolder | PackedBundle, options: LoadOptions = {}): Promise<Classifier> {
    const { where, manifest, selftest, tokenizer, model } = await readBundle(source, options.onProgress);
    const rows = new RowMaker(readTokenizer(tokenizer, where(TOKENIZER_NAME)), manifest.tokens, manifest.textPair);
    const session = await GraphSession.open(model, manifest, where(MODEL_NAME));
    if (rows.largestId >= session.vocabularySize) {
      await session.release();
      throw new BundleContentError(
        `${where(TOKENIZER_NAME)}: has the id ${rows.largestId}, the graph knows ${session.vocabularySize} ids. Build the bundle again.`,
      );
    }
    return new Classifier({ where, manifest, selftest }, rows, session);
  }

  /** Label names, in the order of probabilities. */
  get labels(): readonly string[] {
    return this.manifest.labels.map((label) => label.name);
  }

  /** What the bundle says of itself. */
  get manifest(): Manifest {
    return this.files.manifest;
  }

  /**
   * Labels texts, one run of the graph each, so that no answer depends on its neighbours.
   *
   * Throws DataError where an item is not a text, or a pair of texts where the bundle classifies pairs.
   */
  async classify(texts: readonly Text[], options: ClassifyOptions = {}): Promise<Prediction[]> {
    const rule = {
      labels: this.labels,
      threshold: checkThreshold(options.threshold ?? this.manifest.threshold),
      scopeThreshold: this.manifest.scopeThreshold,
    };
    const answers: Prediction[] = [];
    for (const [index, row] of this.tokenize(texts).entries()) {
      const { probs, scope } = await this.session.run(row);
      answers.push(decide(rule, probs, scope, row.truncated, index));
    }
    return answers;
  }

  /**
   * Labels one text and says which of its words speak for which label. Each word is left out once, so a text of W words costs
   * W + 1 runs of the graph.
   *
   * Throws DataError as `classify` does.
   */
  async explain(text: Text, options: ExplainOptions = {}): Promise<Explanation> {
    const [prediction] = await this.classify([text], options);
    const row = this.rows.row(text, 0);
    const words: WordEvidence[] = [];
    for (const word of this.rows.words(text)) {
      await otherTasks();
      options.signal?.throwIfAborted();
      const { probs } = await this.session.run(without(row, word.tokens));
      words.push({ ...word, evidence: evidence(prediction!.probs, probs) });
    }
    return { prediction: prediction!, words };
  }

  /** The ids that the graph sees for each text. Throws DataError. */
  tokenize(texts: readonly Text[]): TokenRow[] {
    if (!Array.isArray(texts)) throw new DataError(`texts: found a ${typeof texts}, expected an array of texts.`);
    return texts.map((text, index) => this.rows.row(text, index));
  }

  /** Runs the bundle's own samples on this machine. Throws BundleContentError where they cannot be read. */
  async selftest(): Promise<SelfTestReport> {
    const { tolerance, samples } = readSelftest(this.files.selftest, this.files.where(SELFTEST_NAME));
    let wrongIds = 0;
    let maxDifference = 0;
    for (const sample of samples) {
      await otherTasks();
      const row = this.rows.row(sample.text, 0);
      const same = row.ids.join() === sample.inputIds.join() && row.truncated === sample.truncated;
      if (!same) wrongIds += 1;
      const { probs } = await this.session.run(row);
      const differences = Array.from(probs, (prob, i) => Math.abs(prob - Math.fround(sample.probs[i] ?? NaN)));
      const worst = probs.length === sample.probs.length ? Math.max(...differences) : NaN;
      maxDifference = Number.isFinite(worst) ? Math.max(maxDifference, worst) : Infinity;
    }
    return { samples: samples.length, wrongIds, maxDifference, tolerance, passed: wrongIds === 0 && maxDifference <= tolerance };
  }

  /** Frees the memory of the graph; the classifier cannot be used after it. */
  async close(): Promise<void> {
    await this.session.release();
  }
}

/** Where a bundle is: an address, the files that a person chose or dropped, or a packed bundle in memory. */
export type Source = string | URL | readonly File[] | Blob | ArrayBuffer | Uint8Array;

/**
 * Loads a bundle: from the address of its folder, or of its packed form where the path ends in `.zip`; from its five files or the
 * packed one, as a person chose or dropped them; from the bytes of the packed form.
 *
 *     const classifier = await load("/support.bundle/");
 *     const [answer] = await classifier.classify(["my thermostat is stuck on the logo"]);
 *
 * Throws BundleError where the bundle is refused (the message says which file and why), PlatformError where the browser lacks
 * what is needed, ConfigError where `source` is none of these.
 */
export async function load(source: Source, options: LoadOptions = {}): Promise<Classifier> {
  return Classifier.open(bundleAt(source), options);
}

// Lets timers and messages have their turn, and with them whoever asks or aborts: the promises of onnxruntime never do.
function otherTasks(): Promise<void> {
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
  if (source instanceof ArrayBuffer) return packedBytes(new Uint8Array(source.slice(0))); // a copy, which nobody changes
  if (source instanceof Uint8Array) return packedBytes(source.slice());
  const address = addressOf(source as string | URL);
  return address.pathname.endsWith(".zip") ? packedAt(address) : folderAt(address);
}

function addressOf(source: string | URL): URL {
  const base = (globalThis as { location?: Location }).location?.href;
  if (!URL.canParse(String(source), base)) {
    throw new ConfigError(`source: found ${JSON.stringify(String(source))}, expected the address of a bundle.`);
  }
  return new URL(source, base);
}
