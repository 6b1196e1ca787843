// Refuses a graph that no build writes, before onnxruntime sees a byte of it. A graph is a program: onnxruntime opens other files
// for some of them, runs loops, and loads code by name, and a right digest does not say who wrote it.

import { BundleContentError } from "../errors.js";
import { GRAPH_RULES } from "./graph_rules.js"; // crosstune_export/bundle/graph_rules.json, which every runtime reads
import type { GraphFacts } from "../bundle/manifest.js";
import { readVarint, WireError, type WireField, wireFields, type WireKind } from "./wire.js";

// A message of onnx.proto: its fields by number, and how each is written.
interface MessageRules {
  readonly called: string;
  readonly once: Readonly<Record<string, WireKind>>;
  readonly many: Readonly<Record<string, WireKind>>;
  readonly named: Readonly<Record<string, string>>;
  readonly numbers_one_a_field: boolean;
}

const MESSAGES = GRAPH_RULES.messages as unknown as Readonly<Record<keyof typeof GRAPH_RULES.messages, MessageRules>>;
const DOMAINS = new Map<string, string>(Object.entries(GRAPH_RULES.domains));
const OPERATORS = new Map(Object.entries(GRAPH_RULES.operators).map(([domain, names]) => [domain, new Set<string>(names)]));
const ELEMENT_BYTES = new Map(Object.entries(GRAPH_RULES.element_bytes).map(([kind, size]) => [BigInt(kind), BigInt(size)]));
const FLOAT32 = 1n; // numbers of types in onnx.proto
const FLOAT16 = 10n;
const FLOAT64 = 11n;

/**
 * Reads a whole ONNX file and refuses it unless it is one that a build can have written, with the words of the Python runtime.
 * Returns the rows of the table that input_ids pick from: every id must be below. Throws BundleContentError.
 */
export function checkGraph(model: Uint8Array, facts: GraphFacts, where: string): number {
  try {
    return checked(model, facts);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new BundleContentError(
      `${where}: the graph has ${error.message}, expected only what a build writes. Do not use it; build the bundle again.`,
      { cause: error },
    );
  }
}

// A message all of whose fields are on its list, written as it says, single ones once.
class Message {
  constructor(
    private readonly bytes: Uint8Array,
    rules: MessageRules,
  ) {
    const seen = new Set<number>();
    for (const { number, kind } of wireFields(bytes)) {
      const once = rules.once[number];
      const many = rules.many[number];
      const expected = once ?? many;
      if (expected === undefined) throw new WireError(`${rules.named[number] ?? `an unknown field ${number}`} in ${rules.called}`);
      const alone = many !== undefined && (kind === "varint" || kind === "fixed32") && rules.numbers_one_a_field;
      if (kind !== expected && !alone) throw new WireError(`field ${number} of ${rules.called} in another form`);
      if (once === undefined) continue;
      if (seen.has(number)) throw new WireError(`field ${number} of ${rules.called} twice`);
      seen.add(number);
    }
  }

  /** The fields of a number; walked anew, as a hostile message may hold very many. */
  *all(number: number): Generator<WireField, void> {
    for (const field of wireFields(this.bytes)) if (field.number === number) yield field;
  }

  find(number: number): WireField | undefined {
    return this.all(number).next().value ?? undefined;
  }

  text(number: number): string {
    const field = this.find(number);
    return field === undefined ? "" : textOf(field);
  }

  number(number: number): bigint {
    return this.find(number)?.value ?? 0n;
  }
}

// What the walk over a graph has seen.
interface Found {
  readonly shapes: Map<string, readonly bigint[]>;
  readonly tables: string[]; // that input_ids pick from
  readonly inputs: string[];
  readonly outputs: string[];
}

function checked(bytes: Uint8Array, facts: GraphFacts): number {
  const model = new Message(bytes, MESSAGES.model);
  checkVersions(model, facts);
  const graph = model.find(7);
  if (graph === undefined) throw new WireError("no nodes");
  checkEntries(model, 14);
  const found: Found = { shapes: new Map(), tables: [], inputs: [], outputs: [] };
  checkNodes(new Message(graph.bytes, MESSAGES.graph), found);
  if (!same(found.inputs, facts.inputs) || !same(found.outputs, facts.outputs)) {
    throw new WireError(`inputs ${listed(found.inputs)} and outputs ${listed(found.outputs)} unlike the manifest`.slice(0, 200));
  }
  const rows = found.tables.flatMap((table) => {
    const shape = found.shapes.get(table);
    return shape?.length === 2 ? [Number(shape[0])] : [];
  });
  if (rows.length === 0) throw new WireError("no table that input_ids pick from");
  return rows.reduce((least, count) => Math.min(least, count));
}

function checkVersions(model: Message, facts: GraphFacts): void {
  const opsets = new Map<string, bigint>();
  for (const field of model.all(8)) {
    const opset = new Message(field.bytes, MESSAGES.opset);
    const name = opset.text(1);
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

// Metadata, of which nothing is read.
function checkEntries(message: Message, number: number): void {
  for (const field of message.all(number)) {
    if (field.kind !== "bytes") throw notBytes(field);
    new Message(field.bytes, MESSAGES.entry);
  }
}

function checkNodes(graph: Message, found: Found): void {
  checkEntries(graph, 16);
  for (const field of graph.all(5)) {
    const { name, shape } = checkConstant(field.bytes);
    if (name === "") throw new WireError("a constant without a name");
    if (found.shapes.has(name)) throw new WireError(`the constant ${quoted(name)} twice`);
    found.shapes.set(name, shape);
  }
  for (const [number, names] of [[11, found.inputs], [12, found.outputs], [13, undefined]] as const) {
    for (const field of graph.all(number)) {
      const name = checkValue(field.bytes);
      names?.push(name);
    }
  }
  for (const field of graph.all(1)) checkNode(field.bytes, found);
}

function checkNode(bytes: Uint8Array, found: Found): void {
  const node = new Message(bytes, MESSAGES.node);
  checkEntries(node, 9);
  const [domain, operator] = [node.text(7), node.text(4)];
  if (!OPERATORS.get(DOMAINS.get(domain) ?? "?")?.has(operator)) {
    throw new WireError(`the operator ${quoted(operator)} of ${domain === "" ? "ai.onnx" : shown(domain).slice(0, 60)}`);
  }
  for (const field of node.all(5)) checkAttribute(field.bytes, operator);
  if (operator !== "Gather") return;
  const inputs = Array.from(node.all(1), textOf);
  if (inputs.length === 2 && inputs[1] === "input_ids") found.tables.push(inputs[0]!);
}

function checkAttribute(bytes: Uint8Array, operator: string): void {
  const attribute = new Message(bytes, MESSAGES.attribute);
  for (const field of attribute.all(8)) appendNumbers(field, []);
  const tensor = attribute.find(5);
  if (tensor !== undefined) checkConstant(tensor.bytes);
  for (const number of [2, 7]) {
    for (const field of attribute.all(number)) {
      if (field.kind === "varint") continue;
      if (field.bytes.length % 4 !== 0) throw new WireError(`an attribute of ${operator} that is cut short`);
      if (!areFinite(field.bytes, FLOAT32)) throw new WireError(`an attribute of ${operator} that is not finite`);
    }
  }
}

// Name and shape of a constant whose bytes are as many as its shape says, and finite.
function checkConstant(bytes: Uint8Array): { name: string; shape: readonly bigint[] } {
  const tensor = new Message(bytes, MESSAGES.constant);
  checkEntries(tensor, 16);
  const name = tensor.text(8);
  const kind = tensor.number(2);
  const shape: bigint[] = [];
  for (const field of tensor.all(1)) appendNumbers(field, shape);
  const raw = tensor.find(9)?.bytes ?? new Uint8Array();
  const elementBytes = ELEMENT_BYTES.get(kind);
  if (elementBytes === undefined) throw new WireError(`the constant ${quoted(name)} of type ${kind}`);
  const size = shape.reduce((product, length) => product * length, elementBytes);
  if (shape.length > 8 || size !== BigInt(raw.length)) {
    const lengths = shape.slice(0, 8).join(", ");
    throw new WireError(`${raw.length} bytes for the constant ${quoted(name)} of shape (${lengths}${shape.length === 1 ? "," : ""})`);
  }
  if (!areFinite(raw, kind)) throw new WireError(`numbers in the constant ${quoted(name)} that are not finite`);
  return { name, shape };
}

// Name of an input, an output or a value between, a tensor of any shape.
function checkValue(bytes: Uint8Array): string {
  const value = new Message(bytes, MESSAGES.value);
  checkEntries(value, 4);
  const type = value.find(2);
  const tensor = type && new Message(type.bytes, MESSAGES.type).find(1);
  const shape = tensor && new Message(tensor.bytes, MESSAGES.tensor_type).find(2);
  if (shape !== undefined) {
    for (const field of new Message(shape.bytes, MESSAGES.shape).all(1)) new Message(field.bytes, MESSAGES.dimension).text(2);
  }
  return value.text(1);
}

// Numbers of a repeated field, written one a field or packed into one; of very many only the first are kept.
function appendNumbers(field: WireField, numbers: bigint[]): void {
  const keep = (value: bigint): void => {
    if (numbers.length < 9) numbers.push(value);
  };
  if (field.kind === "varint") return keep(field.value);
  if (field.kind !== "bytes") throw notBytes(field);
  for (let at = 0; at < field.bytes.length; ) {
    const [value, next] = readVarint(field.bytes, at);
    keep(value);
    at = next;
  }
}

function notBytes(field: WireField): WireError {
  return new WireError(`field ${field.number} is a number, expected bytes`);
}

// Whether all numbers are finite; a number alone may be infinite, as what hides padding is.
function areFinite(raw: Uint8Array, kind: bigint): boolean {
  const width = kind === FLOAT32 ? 4 : kind === FLOAT16 ? 2 : kind === FLOAT64 ? 8 : 0;
  if (width === 0) return true;
  const view = new DataView(raw.buffer, raw.byteOffset, raw.byteLength);
  if (raw.length === width) {
    if (width === 2) return (view.getUint16(0, true) & 0x7fff) <= 0x7c00;
    return !Number.isNaN(width === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true));
  }
  const [mask, step] = width === 2 ? [0x7c00, 2] : width === 4 ? [0x7f800000, 4] : [0x7ff00000, 8];
  for (let at = step === 8 ? 4 : 0; at < raw.length; at += step) {
    const bits = width === 2 ? view.getUint16(at, true) : view.getUint32(at, true);
    if ((bits & mask) === mask) return false;
  }
  return true;
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function textOf(field: WireField): string {
  try {
    return UTF8.decode(field.bytes);
  } catch {
    throw new WireError("a name that is not UTF-8");
  }
}

// A text for a message: one line, as Python would show it.
function shown(text: string): string {
  return text
    .slice(0, 60)
    .replace(/[\\']/g, "\\$&")
    .replace(/[\u0000-\u001f\u007f]/g, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

function quoted(text: string): string {
  return `'${shown(text)}'`.slice(0, 60);
}

function listed(names: readonly string[]): string {
  return `[${names.slice(0, 100).map(quoted).join(", ")}]`;
}

function same(found: readonly string[], expected: readonly string[]): boolean {
  return found.length === expected.length && found.every((name, index) => name === expected[index]);
}
