// Holds the classifier, so that the page never waits for it.

import { type Classifier, CrossTuneError, load, type Text } from "../src/index.js";
import type { Answer, BundleFacts, Questions, Reason, Reply, Request, SelfTest, Source } from "./messages.js";

let classifier: Classifier | undefined;
let explaining = new AbortController();

const reply = (message: Reply): void => postMessage(message);

async function loadBundle(number: number, source: Source): Promise<BundleFacts> {
  const loaded = await load(source, { onProgress: (received, total) => reply({ number, received, total }) });
  const former = classifier;
  classifier = loaded;
  explaining.abort();
  void former?.close(); // once it has answered what it was asked
  const { name, digest, graph, files, textPair, tokens, threshold, scopeThreshold } = loaded.manifest;
  return {
    name,
    digest,
    precision: graph.precision,
    sizeBytes: [...files.values()].reduce((sum, file) => sum + file.sizeBytes, 0),
    labels: loaded.labels,
    textPair,
    maxLengthTokens: tokens.maxLengthTokens,
    threshold,
    scopeThreshold,
  };
}

const whole = (text: string, pair: string | null): Text => (pair === null ? text : [text, pair]);

async function classify({ text, pair, threshold }: Questions["classify"]["given"]): Promise<Answer> {
  const texts = [whole(text, pair)];
  const asked = classifier!; // another may be loaded meanwhile
  const started = performance.now();
  const [found] = await asked.classify(texts, threshold === null ? {} : { threshold });
  const milliseconds = performance.now() - started;
  const row = asked.tokenize(texts)[0]!;
  return { ...found!, tokens: row.ids.length, wholeTokens: row.wholeLength, milliseconds };
}

async function explain({ text, pair }: Questions["explain"]["given"]): Promise<readonly Reason[] | null> {
  explaining = new AbortController();
  const { signal } = explaining;
  try {
    const { prediction, words } = await classifier!.explain(whole(text, pair), { signal });
    const best = prediction.probs.indexOf(prediction.prob);
    return words.map(({ start, end, part, evidence }) => ({ start, end, part, evidence: evidence[best]! }));
  } catch (error) {
    if (signal.aborted) return null;
    throw error;
  }
}

function answer(request: Request): Promise<BundleFacts | Answer | SelfTest | readonly Reason[] | null> {
  if (request.name !== "selftest") explaining.abort();
  if (request.name === "load") return loadBundle(request.number, (request.given as Questions["load"]["given"]).source);
  if (request.name === "classify") return classify(request.given as Questions["classify"]["given"]);
  if (request.name === "explain") return explain(request.given as Questions["explain"]["given"]);
  return classifier!.selftest();
}

onmessage = ({ data }: MessageEvent<Request>): void => {
  const { number } = data;
  answer(data).then(
    (found) => reply({ number, found }),
    (error: unknown) => reply({ number, error: error instanceof Error ? error.message : String(error), isOurs: error instanceof CrossTuneError }),
  );
};
