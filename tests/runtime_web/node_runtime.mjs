// Handles requests, one JSON object per line, with the crosstune-web that is installed in this folder.

import { createInterface } from "node:readline";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { load } from "crosstune-web";

const loaded = [];
const bytes = (path) => new Uint8Array(readFileSync(path));
/** The forms in which `load` gets a file. */
const forms = {
  path: (source) => source,
  bytes,
  buffer: (path) => bytes(path).buffer,
  blob: (path) => new Blob([bytes(path)]),
  files: (path) => [new File([bytes(path)], basename(path))],
};
const methods = {
  async load({ source, form }) {
    const classifier = await load(forms[form](source));
    return { number: loaded.push(classifier) - 1, labels: classifier.labels, digest: classifier.manifest.digest };
  },
  async classify({ number, texts, threshold }) {
    const predictions = await loaded[number].classify(texts, threshold === null ? {} : { threshold });
    return predictions.map((prediction) => ({ ...prediction, probs: Array.from(prediction.probs) }));
  },
  async tokenize({ number, texts }) {
    return loaded[number].tokenize(texts).map(({ ids, typeIds, truncated }) => [ids, typeIds, truncated]);
  },
  async explain({ number, text, abort }) {
    const controller = new AbortController();
    if (abort) setTimeout(() => controller.abort(), 0);
    const { prediction, words } = await loaded[number].explain(text, { signal: controller.signal });
    return { label: prediction.label, words: words.map((word) => ({ ...word, evidence: Array.from(word.evidence) })) };
  },
  async selftest({ number }) {
    return loaded[number].selftest();
  },
  async close({ number }) {
    await loaded[number].close();
    loaded[number] = undefined;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { method, ...params } = JSON.parse(line);
  let response;
  try {
    response = { result: (await methods[method](params)) ?? null };
  } catch (error) {
    response = { error: error.name, message: error.message };
  }
  process.stdout.write(JSON.stringify(response) + "\n");
}
