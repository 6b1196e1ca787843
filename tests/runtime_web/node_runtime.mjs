// Answers questions about bundles, one JSON object a line, with the crosstune-web that is installed beside this file.

import { createInterface } from "node:readline";
import { load } from "crosstune-web";

const loaded = [];
const answers = {
  async load({ source }) {
    const classifier = await load(source);
    return { number: loaded.push(classifier) - 1, labels: classifier.labels, digest: classifier.manifest.digest };
  },
  async classify({ number, texts, threshold }) {
    const found = await loaded[number].classify(texts, threshold === null ? {} : { threshold });
    return found.map((answer) => ({ ...answer, probs: Array.from(answer.probs) }));
  },
  async tokenize({ number, texts }) {
    return loaded[number].tokenize(texts).map(({ ids, typeIds, truncated }) => [ids, typeIds, truncated]);
  },
  async explain({ number, text }) {
    const { prediction, words } = await loaded[number].explain(text);
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
  const { question, ...given } = JSON.parse(line);
  let answer;
  try {
    answer = { found: (await answers[question](given)) ?? null };
  } catch (error) {
    answer = { error: error.name, message: error.message };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
