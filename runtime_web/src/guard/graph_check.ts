// Checks a graph before onnxruntime loads it. A graph is a program: it can open other files, run loops and load code by name,
// and a valid digest does not tell who wrote it.

import type { GraphFacts } from "../bundle/manifest.js";
import { BundleContentError } from "../errors.js";
import { appendNumbers, areFiniteFloats, parseConstant } from "./constant.js";
import { GRAPH_RULES } from "./graph_rules.js";
import { checkEntries, escaped, Message, MESSAGES, quoted, stringOf } from "./message.js";
import { WireError } from "./wire.js";

const DOMAINS = new Map<string, string>(Object.entries(GRAPH_RULES.domains));
const OPERATORS = new Map(Object.entries(GRAPH_RULES.operators).map(([domain, names]) => [domain, new Set<string>(names)]));

/** What the check collects from the nodes and constants of a graph. */
interface GraphSummary {
  /** Of the constants, by name. */
  readonly shapes: Map<string, readonly bigint[]>;
  /** Names of tensors from which input_ids select rows. */
  readonly embeddingTables: string[];
  readonly inputs: string[];
  readonly outputs: string[];
}

/**
 * Refuses an ONNX file unless the build can have written it. The messages are those of the Python runtime. Returns the number of
 * rows of the word embeddings: every token id must be smaller. Throws BundleContentError.
 */
export function checkGraph(model: Uint8Array, facts: GraphFacts, where: string): number {
  try {
    return checkModel(model, facts);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new BundleContentError(
      `${where}: the graph has ${error.message}, expected only what a build writes. Do not use it; build the bundle again.`,
      { cause: error },
    );
  }
}

function checkModel(bytes: Uint8Array, facts: GraphFacts): number {
  const model = new Message(bytes, MESSAGES.model);
  checkVersions(model, facts);
  const graph = model.find(7);
  if (graph === undefined) throw new WireError("no nodes");
  checkEntries(model, 14);
  const summary: GraphSummary = { shapes: new Map(), embeddingTables: [], inputs: [], outputs: [] };
  checkGraphMessage(new Message(graph.bytes, MESSAGES.graph), summary);
  if (!equal(summary.inputs, facts.inputs) || !equal(summary.outputs, facts.outputs)) {
    const found = `inputs ${quotedList(summary.inputs)} and outputs ${quotedList(summary.outputs)}`;
    throw new WireError(`${found} differ from the manifest`.slice(0, 200));
  }
  return vocabularySize(summary);
}

function checkVersions(model: Message, facts: GraphFacts): void {
  const opsets = new Map<string, bigint>();
  for (const field of model.all(8)) {
    const opset = new Message(field.bytes, MESSAGES.opset);
    const name = opset.string(1);
    const domain = DOMAINS.get(name);
    if (domain === undefined) throw new WireError(`the domain ${quoted(name)}`);
    if (opsets.has(domain)) throw new WireError(`the domain ${quoted(name)} twice`);
    opsets.set(domain, opset.number(2));
  }
  const [opset, irVersion] = [opsets.get("") ?? 0n, model.number(1)];
  if (opset === BigInt(facts.opset) && irVersion === BigInt(facts.irVersion)) return;
  throw new WireError(
    `opset ${opset} and IR version ${irVersion} where the manifest says ${facts.opset} and ${facts.irVersion}`,
  );
}

function checkGraphMessage(graph: Message, summary: GraphSummary): void {
  checkEntries(graph, 16);
  for (const field of graph.all(5)) {
    const { name, shape } = parseConstant(field.bytes);
    if (name === "") throw new WireError("a constant without a name");
    if (summary.shapes.has(name)) throw new WireError(`the constant ${quoted(name)} twice`);
    summary.shapes.set(name, shape);
  }
  const intermediates = undefined; // whose names are checked, but not needed
  for (const [number, names] of [[11, summary.inputs], [12, summary.outputs], [13, intermediates]] as const) {
    for (const field of graph.all(number)) {
      const name = checkValue(field.bytes);
      names?.push(name);
    }
  }
  for (const field of graph.all(1)) checkNode(field.bytes, summary);
}

function checkNode(bytes: Uint8Array, summary: GraphSummary): void {
  const node = new Message(bytes, MESSAGES.node);
  checkEntries(node, 9);
  const [domain, operator] = [node.string(7), node.string(4)];
  if (!OPERATORS.get(DOMAINS.get(domain) ?? "?")?.has(operator)) {
    throw new WireError(`the operator ${quoted(operator)} of ${domain === "" ? "ai.onnx" : escaped(domain).slice(0, 60)}`);
  }
  for (const field of node.all(5)) checkAttribute(field.bytes, operator);
  if (operator !== "Gather") return;
  const inputs = Array.from(node.all(1), stringOf);
  if (inputs.length === 2 && inputs[1] === "input_ids") summary.embeddingTables.push(inputs[0]!);
}

function checkAttribute(bytes: Uint8Array, operator: string): void {
  const attribute = new Message(bytes, MESSAGES.attribute);
  for (const field of attribute.all(8)) appendNumbers(field, []);
  const tensor = attribute.find(5);
  if (tensor !== undefined) parseConstant(tensor.bytes);
  for (const number of [2, 7]) {
    for (const field of attribute.all(number)) {
      if (field.kind === "varint") continue;
      if (field.bytes.length % 4 !== 0) throw new WireError(`an attribute of ${operator} that is cut short`);
      if (!areFiniteFloats(field.bytes)) throw new WireError(`an attribute of ${operator} that is not finite`);
    }
  }
}

// Checks an input, output or intermediate tensor and returns its name; its shape may be anything.
function checkValue(bytes: Uint8Array): string {
  const value = new Message(bytes, MESSAGES.value);
  checkEntries(value, 4);
  const type = value.find(2);
  const tensor = type && new Message(type.bytes, MESSAGES.type).find(1);
  const shape = tensor && new Message(tensor.bytes, MESSAGES.tensor_type).find(2);
  if (shape !== undefined) {
    for (const field of new Message(shape.bytes, MESSAGES.shape).all(1)) new Message(field.bytes, MESSAGES.dimension).string(2);
  }
  return value.string(1);
}

// The number of rows of the smallest table from which input_ids select rows.
function vocabularySize(summary: GraphSummary): number {
  const rows = summary.embeddingTables.flatMap((table) => {
    const shape = summary.shapes.get(table);
    return shape?.length === 2 ? [Number(shape[0])] : [];
  });
  if (rows.length === 0) throw new WireError("no embedding table for input_ids");
  return rows.reduce((smallest, count) => Math.min(smallest, count));
}

function quotedList(names: readonly string[]): string {
  return `[${names.slice(0, 100).map(quoted).join(", ")}]`;
}

function equal(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, index) => name === b[index]);
}
