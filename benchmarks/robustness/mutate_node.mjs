// Loads bundles with crosstune-web, one JSON object per line of standard input, and prints the result of each. Every graph that reaches
// onnxruntime is written to the file named by the argument. Run it in the folder of the package.

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
