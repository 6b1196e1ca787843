// Loads the bundles that are named, one JSON object a line, with crosstune-web, and says what became of each. Whatever is given to
// onnxruntime is written to the file that the argument names. Run from the folder of the package.

import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { InferenceSession } from "onnxruntime-web/wasm";
import { load } from "./dist/node.js";

const reachedFile = process.argv.at(-1);
let reached = false;
const create = InferenceSession.create.bind(InferenceSession);
InferenceSession.create = (model, options) => {
  writeFileSync(reachedFile, model);
  reached = true;
  return create(model, options);
};

for await (const line of createInterface({ input: process.stdin })) {
  const { path, text } = JSON.parse(line);
  const before = process.cpuUsage();
  let error = null;
  let message = "";
  reached = false;
  try {
    const classifier = await load(path);
    try {
      await classifier.classify([text]);
    } finally {
      await classifier.close();
    }
  } catch (thrown) {
    error = thrown.name;
    message = thrown.message;
  }
  const { user, system } = process.cpuUsage(before);
  process.stdout.write(JSON.stringify({ error, message, reached, processor_s: (user + system) / 1e6 }) + "\n");
}
