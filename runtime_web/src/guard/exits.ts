// Closes the early exits of a graph, so that every text runs all layers.

import type { Bytes } from "../bundle/sha256.js";
import { Message, MESSAGES } from "./message.js";

const THRESHOLD = /^exit\.\d+\.threshold$/;

/** Returns a copy of a checked graph with all early exits closed; undefined for a graph without exits. */
export function withoutExits(model: Bytes): Bytes | undefined {
  const graph = new Message(new Message(model, MESSAGES.model).find(7)!.bytes, MESSAGES.graph);
  let closed: Bytes | undefined;
  for (const field of graph.all(5)) {
    const constant = new Message(field.bytes, MESSAGES.constant);
    if (!THRESHOLD.test(constant.string(8))) continue;
    closed ??= model.slice();
    const number = constant.find(9)!.bytes; // a view of the model's bytes
    new DataView(closed.buffer).setFloat32(number.byteOffset - model.byteOffset, 2, true); // no probability reaches 2
  }
  return closed;
}
