// Runs the classifier in a worker, so that the page stays responsive.

import { type Classifier, CrossTuneError, load, type Text } from "../src/index.js";
import type { Answer, BundleFacts, Requests, SelfTestResult, Source, WordEvidence, WorkerRequest, WorkerResponse } from "./messages.js";

let classifier: Classifier | undefined;
let explanation = new AbortController();

const respond = (response: WorkerResponse): void => postMessage(response);

async function loadBundle(id: number, source: Source): Promise<BundleFacts> {
  const loaded = await load(source, { onProgress: (received, total) => respond({ id, received, total }) });
  const previous = classifier;
  classifier = loaded;
  explanation.abort();
  void previous?.close(); // waits for its running calls
  const { name, digest, graph, files, textPair, tokens, threshold, minSimilarity } = loaded.manifest;
  return {
    name,
    digest,
    precision: graph.precision,
    sizeBytes: [...files.values()].reduce((sum, file) => sum + file.sizeBytes, 0),
    labels: loaded.labels,
    examples: textPair ? [] : loaded.manifest.labels.slice(0, 3).map((label) => label.descriptions[0]!),
    textPair,
    maxLengthTokens: tokens.maxLengthTokens,
    threshold,
    minSimilarity,
  };
}

const asText = (text: string, pair: string | null): Text => (pair === null ? text : [text, pair]);

async function classify({ text, pair, threshold }: Requests["classify"]["params"]): Promise<Answer> {
  const texts = [asText(text, pair)];
  const current = classifier!; // another bundle may be loaded in the meantime
  const start = performance.now();
  const [prediction] = await current.classify(texts, threshold === null ? {} : { threshold });
  const milliseconds = performance.now() - start;
  const row = current.tokenize(texts)[0]!;
  return { ...prediction!, tokens: row.ids.length, tokensBeforeTruncation: row.wholeLength, milliseconds };
}

async function explain({ text, pair }: Requests["explain"]["params"]): Promise<readonly WordEvidence[] | null> {
  explanation = new AbortController();
  const { signal } = explanation;
  try {
    const { prediction, words } = await classifier!.explain(asText(text, pair), { signal });
    const best = prediction.probs.indexOf(prediction.prob);
    return words.map(({ start, end, part, evidence }) => ({ start, end, part, evidence: evidence[best]! }));
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

function handle(request: WorkerRequest): Promise<BundleFacts | Answer | SelfTestResult | readonly WordEvidence[] | null> {
  if (request.name !== "selftest") explanation.abort();
  if (request.name === "load") return loadBundle(request.id, (request.params as Requests["load"]["params"]).source);
  if (request.name === "classify") return classify(request.params as Requests["classify"]["params"]);
  if (request.name === "explain") return explain(request.params as Requests["explain"]["params"]);
  return classifier!.selftest();
}

onmessage = ({ data: request }: MessageEvent<WorkerRequest>): void => {
  const { id } = request;
  handle(request).then(
    (result) => respond({ id, result }),
    (error: unknown) => {
      respond({ id, error: error instanceof Error ? error.message : String(error), isExpected: error instanceof CrossTuneError });
    },
  );
};
