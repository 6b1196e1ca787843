// The messages between the page and its worker.

/** The bundle to load: its address, or the files that the visitor chose. */
export type Source = string | readonly File[];

/** What the page shows about a bundle. */
export interface BundleFacts {
  readonly name: string;
  readonly digest: string;
  readonly precision: string;
  readonly sizeBytes: number;
  readonly labels: readonly string[];
  /** Descriptions of a few labels, which serve as example texts. */
  readonly examples: readonly string[];
  readonly textPair: boolean;
  readonly maxLengthTokens: number;
  readonly threshold: number | null;
  readonly minSimilarity: number | null;
}

/** The prediction for a text, and what it cost. */
export interface Answer {
  readonly label: string | null;
  readonly prob: number;
  readonly probs: Float32Array;
  readonly truncated: boolean;
  readonly similarity: number | null;
  readonly tokens: number;
  readonly tokensBeforeTruncation: number;
  readonly milliseconds: number;
}

/** A word and its evidence for the most probable label: positive for the label, negative against it. */
export interface WordEvidence {
  readonly start: number;
  readonly end: number;
  readonly part: 0 | 1;
  readonly evidence: number;
}

export interface SelfTestResult {
  readonly samples: number;
  readonly passed: boolean;
  readonly maxDifference: number;
}

/** The requests of the page, each with its parameters and its result. */
export interface Requests {
  load: { params: { source: Source }; result: BundleFacts };
  classify: { params: { text: string; pair: string | null; threshold: number | null }; result: Answer };
  /** The result is null when a newer request replaced this one. */
  explain: { params: { text: string; pair: string | null }; result: readonly WordEvidence[] | null };
  selftest: { params: Record<string, never>; result: SelfTestResult };
}

export interface WorkerRequest<Name extends keyof Requests = keyof Requests> {
  readonly id: number;
  readonly name: Name;
  readonly params: Requests[Name]["params"];
}

export type WorkerResponse =
  | { readonly id: number; readonly result: unknown }
  /** `isExpected`: the message is written for the visitor; otherwise it is a bug. */
  | { readonly id: number; readonly error: string; readonly isExpected: boolean }
  | { readonly id: number; readonly received: number; readonly total: number };
