// Checks a graph before onnxruntime loads it. A graph is a program: it can open other files, run loops and load code by name,
// and a valid digest does not tell who wrote it.

import type { GraphFacts } from "../bundle/manifest.js";
import { BundleContentError } from "../errors.js";
import { appendNumbers, parseConstant } from "./constant.js";
import { GRAPH_RULES } from "./graph_rules.js";
import { type AttributesRules, BRANCHES, DOMAINS, FUNCTION, OPERATORS, type OperatorRules, outputsOf, TYPES } from "./graph_rules_reader.js";
import { type Node, requireBounded, type Value } from "./graph_shapes.js";
import { checkEntries, escaped, Message, MESSAGES, quoted, stringOf } from "./message.js";
import { WireError } from "./wire.js";

/** Field and number of AttributeProto.type for each type of attribute. */
const ATTRIBUTE_FIELDS = { float: [2, 1n], int: [3, 2n], ints: [8, 7n] } as const;

/** AttributeProto.type of a branch. */
const GRAPH_ATTRIBUTE = 5n;
/** Each output of a node with branches counts as a node that reads what the two branches give. */
const EITHER: OperatorRules = { shape: "either", forms: new Map(), attributes: new Map() };

/** What the check collects from a graph. */
interface GraphSummary {
  readonly constants: Map<string, Value>;
  /** Letters of the types of all values, by name. */
  readonly types: Map<string, string>;
  readonly nodes: Node[];
  readonly inputs: string[];
  readonly outputs: string[];
}

/**
 * Refuses an ONNX file unless the build can have written it. The messages are those of the Python runtime. Returns the number of
 * rows of the word embeddings: every token id must be smaller. `longest` is the largest number of tokens of a text, for what a run may
 * take. Throws BundleContentError.
 */
export function checkGraph(model: Uint8Array, facts: GraphFacts, where: string, longest: number): number {
  try {
    return checkModel(model, facts, longest);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new BundleContentError(
      `${where}: the graph has ${error.message}, expected only what a build writes. Do not use it; build the bundle again.`,
      { cause: error },
    );
  }
}

function checkModel(bytes: Uint8Array, facts: GraphFacts, longest: number): number {
  const model = new Message(bytes, MESSAGES.model);
  const opsets = checkVersions(model, facts);
  const found = model.find(7);
  if (found === undefined) throw new WireError("no nodes");
  checkEntries(model, 14);
  const graph = new Message(found.bytes, MESSAGES.graph);
  const summary: GraphSummary = { constants: new Map(), types: new Map(), nodes: [], inputs: [], outputs: [] };
  checkValues(graph, summary);
  if (!equal(summary.inputs, facts.inputs) || !equal(summary.outputs, facts.outputs)) {
    const found = `inputs ${quotedList(summary.inputs)} and outputs ${quotedList(summary.outputs)}`;
    throw new WireError(`${found} differ from the manifest`.slice(0, 200));
  }
  const part = model.find(25);
  if (part === undefined) {
    checkNodes(graph, 1, summary);
  } else {
    const fn = new Message(part.bytes, MESSAGES.function);
    checkFunction(fn, graph, opsets, summary);
    checkNodes(fn, 7, summary);
  }
  const rows = vocabularySize(summary);
  requireBounded(summary.nodes, summary.constants, summary.inputs, longest);
  return rows;
}

// Returns the version of each domain.
function checkVersions(model: Message, facts: GraphFacts): ReadonlyMap<string, bigint> {
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
  if (opset === BigInt(facts.opset) && irVersion === BigInt(facts.irVersion)) return opsets;
  throw new WireError(
    `opset ${opset} and IR version ${irVersion} where the manifest says ${facts.opset} and ${facts.irVersion}`,
  );
}

function checkValues(graph: Message, summary: GraphSummary): void {
  checkEntries(graph, 16);
  for (const field of graph.all(5)) {
    const { name, value } = parseConstant(field.bytes);
    if (name === "") throw new WireError("a constant without a name");
    if (summary.constants.has(name)) throw new WireError(`the constant ${quoted(name)} twice`);
    summary.constants.set(name, value);
    summary.types.set(name, value.type);
  }
  const intermediates = undefined; // whose names are checked, but not needed
  for (const [number, names] of [[11, summary.inputs], [12, summary.outputs], [13, intermediates]] as const) {
    for (const field of graph.all(number)) {
      const name = checkValue(field.bytes);
      names?.push(name);
    }
  }
}

// Checks the function that a graph consists of: its only node calls it, and all values have the same names inside. Its nodes are
// checked as those of a graph are.
function checkFunction(fn: Message, graph: Message, opsets: ReadonlyMap<string, bigint>, summary: GraphSummary): void {
  const [name, domain] = [fn.string(1), fn.string(10)];
  if (name !== FUNCTION.name || domain !== FUNCTION.domain) {
    throw new WireError(`the function ${quoted(name)} of ${domain === "" ? "ai.onnx" : escaped(domain).slice(0, 60)}`);
  }
  for (const field of fn.all(9)) {
    const opset = new Message(field.bytes, MESSAGES.opset);
    if (opsets.get(DOMAINS.get(opset.string(1)) ?? "?") !== opset.number(2)) throw new WireError("a function of another opset");
  }
  let count = 0;
  for (const _ of graph.all(1)) count += 1;
  if (count !== 1) throw new WireError(`a function and ${count} nodes`);
  const call = new Message(graph.find(1)!.bytes, MESSAGES.node);
  checkEntries(call, 9);
  if (call.string(4) !== name || call.string(7) !== domain) throw new WireError("a function that no node calls");
  const attributes = new Map<string, readonly number[]>();
  for (const field of call.all(5)) checkAttribute(field.bytes, name, FUNCTION.attributes, attributes);
  const [inputs, outputs] = [Array.from(call.all(1), stringOf), Array.from(call.all(2), stringOf)];
  const isSame =
    equal(inputs, Array.from(fn.all(4), stringOf)) &&
    equal(outputs, Array.from(fn.all(5), stringOf)) &&
    equal(outputs, summary.outputs) &&
    inputs.every((input) => summary.constants.has(input) || summary.inputs.includes(input));
  if (!isSame) throw new WireError("a function with other inputs and outputs than the graph");
}

// `nodes` is the number of the field that has them.
function checkNodes(graph: Message, nodes: number, summary: GraphSummary): void {
  for (const name of summary.inputs) define(name, "l", summary);
  for (const field of graph.all(nodes)) {
    const node = new Message(field.bytes, MESSAGES.node);
    if (node.string(4) === BRANCHES.name && DOMAINS.get(node.string(7)) === BRANCHES.domain) checkBranches(node, summary);
    else append(checkNode(node, summary), summary);
  }
  const missing = summary.outputs.find((name) => !summary.types.has(name));
  if (missing !== undefined) throw new WireError(`no node that computes ${quoted(missing)}`);
}

function append(node: Node, summary: GraphSummary): void {
  const most = GRAPH_RULES.limits.nodes;
  if (summary.nodes.length === most) throw new WireError(`more than ${most} nodes`);
  summary.nodes.push(node);
}

// Checks a node that runs one of two branches as if it ran both: they have no constants and no branches of their own.
function checkBranches(node: Message, summary: GraphSummary): void {
  const op = BRANCHES.name;
  checkEntries(node, 9);
  const [inputs, outputs] = [Array.from(node.all(1), stringOf), Array.from(node.all(2), stringOf)];
  if (inputs.length !== 1 || summary.types.get(inputs[0]!) !== "b") {
    throw new WireError(`a node ${op} with other inputs than one condition`);
  }
  const results = new Map<string, string[]>();
  for (const field of node.all(5)) {
    const branch = new Message(field.bytes, MESSAGES.branch);
    const [name, body] = [branch.string(1), branch.find(6)];
    const isKnown = (name === BRANCHES.then || name === BRANCHES.else) && !results.has(name);
    if (!isKnown || body === undefined || branch.number(20) !== GRAPH_ATTRIBUTE) {
      throw new WireError(`the attribute ${quoted(name)} of ${op}`);
    }
    const graph = new Message(body.bytes, MESSAGES.branch_graph);
    for (const inner of graph.all(1)) append(checkNode(new Message(inner.bytes, MESSAGES.node), summary), summary);
    results.set(name, Array.from(graph.all(12), (value) => checkValue(value.bytes)));
  }
  const [then, otherwise] = [results.get(BRANCHES.then) ?? [], results.get(BRANCHES.else) ?? []];
  if (outputs.length === 0 || then.length !== outputs.length || otherwise.length !== outputs.length) {
    throw new WireError(`a node ${op} whose branches give another number of values`);
  }
  for (const [index, name] of outputs.entries()) {
    const given = [then[index]!, otherwise[index]!];
    const [type, other] = given.map((value) => summary.types.get(value));
    if (type === undefined || type !== other) throw new WireError(`a node ${op} whose branches differ`);
    define(name, type, summary);
    append({ op, rules: EITHER, inputs: given, outputs: [name], types: type, attributes: new Map() }, summary);
  }
}

function define(name: string, type: string, summary: GraphSummary): void {
  if (summary.types.has(name)) throw new WireError(`the value ${quoted(name)} twice`);
  summary.types.set(name, type);
}

// Reads a node that a build can have written: its operator, the types of its inputs, its attributes.
function checkNode(node: Message, summary: GraphSummary): Node {
  checkEntries(node, 9);
  const [domain, op] = [node.string(7), node.string(4)];
  const rules = OPERATORS.get(DOMAINS.get(domain) ?? "?")?.get(op);
  if (rules === undefined) {
    throw new WireError(`the operator ${quoted(op)} of ${domain === "" ? "ai.onnx" : escaped(domain).slice(0, 60)}`);
  }
  const attributes = new Map<string, readonly number[]>();
  for (const field of node.all(5)) checkAttribute(field.bytes, op, rules.attributes, attributes);
  const inputs = Array.from(node.all(1), stringOf);
  const outputs = Array.from(node.all(2), stringOf);
  const unknown = inputs.find((name) => name !== "" && !summary.types.has(name));
  if (unknown !== undefined) throw new WireError(`a node ${op} that reads ${quoted(unknown)} before it is there`);
  let types = inputs.map((name) => (name === "" ? "-" : summary.types.get(name)!)).join("");
  // The type that it casts to counts as an input.
  if (rules.shape === "cast") types += TYPES.get(BigInt(attributes.get("to")?.[0] ?? 0))?.letter ?? "?";
  const expected = outputsOf(rules, types);
  if (expected === undefined) throw new WireError(`a node ${op} with the inputs ${types.slice(0, 60)}`);
  if (outputs.length === 0 || outputs.length > expected.length || outputs[0] === "") {
    throw new WireError(`a node ${op} with ${outputs.length} outputs`);
  }
  for (const [index, name] of outputs.entries()) if (name !== "") define(name, expected[index]!, summary);
  return { op, rules, inputs, outputs, types: expected, attributes };
}

// Reads an attribute that is within the rules into `attributes`.
function checkAttribute(bytes: Uint8Array, op: string, rules: AttributesRules, attributes: Map<string, readonly number[]>): void {
  const attribute = new Message(bytes, MESSAGES.attribute);
  const name = attribute.string(1);
  const of = `the attribute ${quoted(name)} of ${op}`;
  const allowed = rules.get(name);
  if (allowed === undefined) throw new WireError(of);
  const [place, type] = ATTRIBUTE_FIELDS[allowed.type];
  const isOther = [2, 3, 8].some((number) => (attribute.find(number) !== undefined) !== (number === place));
  if (isOther || attribute.number(20) !== type) throw new WireError(`${of} in another form`);
  const values: number[] = [];
  for (const field of attribute.all(place)) {
    if (allowed.type === "float") {
      values.push(new DataView(field.bytes.buffer, field.bytes.byteOffset, 4).getFloat32(0, true));
      continue;
    }
    const numbers: bigint[] = [];
    appendNumbers(field, allowed.most ?? 1, numbers);
    for (const number of numbers) values.push(Number(BigInt.asIntN(64, number)));
  }
  const [lowest, highest] = allowed.range as [number, number];
  const isInRange = values.length <= (allowed.most ?? 1) && values.every((value) => lowest <= value && value <= highest);
  if (!isInRange) throw new WireError(`${of} out of its range`);
  if (attributes.has(name)) throw new WireError(`${of} twice`);
  attributes.set(name, values);
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
  const rows = summary.nodes.flatMap(({ op, inputs }) => {
    const shape = op === "Gather" && inputs[1] === "input_ids" ? summary.constants.get(inputs[0]!)?.shape : undefined;
    return shape?.length === 2 ? [shape[0]!] : [];
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
