// What the page and its worker say to each other.

/** What to load: the address of a bundle, or files that a person chose. */
export type Source = string | readonly File[];

/** What the page shows of a bundle. */
export interface BundleFacts {
  readonly name: string;
  readonly digest: string;
  readonly precision: string;
  readonly sizeBytes: number;
  readonly labels: readonly string[];
  readonly textPair: boolean;
  readonly maxLengthTokens: number;
  readonly threshold: number | null;
  readonly scopeThreshold: number | null;
}

/** One answer, and what it took. */
export interface Answer {
  readonly label: string | null;
  readonly prob: number;
  readonly probs: Float32Array;
  readonly truncated: boolean;
  readonly scope: number | null;
  readonly tokens: number;
  readonly wholeTokens: number;
  readonly milliseconds: number;
}

/** What one word says for the most probable label: above 0 for it, below 0 against it. */
export interface Reason {
  readonly start: number;
  readonly end: number;
  readonly part: 0 | 1;
  readonly evidence: number;
}

/** Outcome of the bundle's own samples. */
export interface SelfTest {
  readonly samples: number;
  readonly passed: boolean;
  readonly maxDifference: number;
}

/** Questions, by name, with what is given and what comes back. */
export interface Questions {
  load: { given: { source: Source }; found: BundleFacts };
  classify: { given: { text: string; pair: string | null; threshold: number | null }; found: Answer };
  /** Null where a newer question came first. */
  explain: { given: { text: string; pair: string | null }; found: readonly Reason[] | null };
  selftest: { given: Record<string, never>; found: SelfTest };
}

export interface Request<Name extends keyof Questions = keyof Questions> {
  readonly number: number;
  readonly name: Name;
  readonly given: Questions[Name]["given"];
}

export type Reply =
  | { readonly number: number; readonly found: unknown }
  | { readonly number: number; readonly error: string; readonly isOurs: boolean }
  | { readonly number: number; readonly received: number; readonly total: number };
