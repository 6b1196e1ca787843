// Loads one bundle with crosstune-web and classifies texts; reads one JSON object from standard input, and writes one. Run it in the
// folder of the package.

import { readFileSync } from "node:fs";
import { load } from "./dist/node.js";

const { path, texts } = JSON.parse(readFileSync(0, "utf8"));
let error = null;
let message = "";
let answers = [];
try {
  const classifier = await load(path);
  try {
    answers = (await classifier.classify(texts)).map((answer) => ({ ...answer, probs: Array.from(answer.probs) }));
  } finally {
    await classifier.close();
  }
} catch (thrown) {
  error = thrown.name;
  message = thrown.message;
}
process.stdout.write(JSON.stringify({ error, message, answers }));
