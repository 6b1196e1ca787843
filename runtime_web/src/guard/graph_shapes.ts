// The shape of every value of a graph, and with them what a run takes, before onnxruntime sees the graph. The same as
// crosstune_export/bundle/graph_shapes.py.

import { GRAPH_RULES } from "./graph_rules.js";
import type { OperatorRules } from "./graph_rules_reader.js";
import { WireError } from "./wire.js";

export type Shape = readonly number[];

/** What is known about a value before a run. */
export interface Value {
  /** Letter of its number type. */
  readonly type: string;
  readonly shape: Shape;
  /** Its elements, if it is integer, small, and does not depend on the ids of a text. */
  readonly numbers: readonly number[] | undefined;
}

/** A node that fits the rules of its operator. A name is "" for an input or output that is left out. */
export interface Node {
  readonly op: string;
  readonly rules: OperatorRules;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Letters of the types of the outputs. */
  readonly types: string;
  readonly attributes: ReadonlyMap<string, readonly number[]>;
}

/** Most dimensions, and most elements of an integer constant that is read as a shape, as axes or as positions. */
export const MAX_RANK = 8;
/** Most elements of a value and largest size of a dimension, far beyond what a graph may take. */
export const MOST_ELEMENTS = 2 ** 40;

type Inputs = readonly (Value | undefined)[];

/**
 * Refuses a graph whose shapes cannot be told, or that takes more memory or time than one with as many constants can need. `inputs`
 * are int64 (B, T), with T up to `longest`. Throws WireError.
 */
export function requireBounded(
  nodes: readonly Node[],
  constants: ReadonlyMap<string, Value>,
  inputs: readonly string[],
  longest: number,
): void {
  requireRows(nodes, constants);
  const limits = GRAPH_RULES.limits;
  let elements = 0;
  for (const value of constants.values()) elements += sizeOf(value.shape);
  const lastUse = new Map<string, number>();
  for (const [index, node] of nodes.entries()) for (const name of node.inputs) lastUse.set(name, index);
  for (const [texts, tokens, fewerRows] of [[1, 1, false], [1, longest, false], [2, longest, false], [3, longest, true]] as const) {
    const rows = texts * tokens;
    const mostAlive =
      rows * (limits.values_per_token + tokens * limits.values_per_token_pair) + elements * limits.values_per_constant;
    const mostWork =
      limits.work + rows * (elements * limits.work_per_token_and_constant + tokens * limits.work_per_token_pair);
    const values = new Map(constants);
    for (const name of inputs) values.set(name, { type: "l", shape: [texts, tokens], numbers: undefined });
    let alive = 0;
    let work = 0;
    for (const [index, node] of nodes.entries()) {
      const read = node.inputs.map((name) => (name === "" ? undefined : values.get(name)));
      const results = resultsOf(node, read, fewerRows);
      work += workOf(node, read, results[0]!);
      for (const [place, name] of node.outputs.entries()) {
        if (name === "") continue;
        values.set(name, results[place]!);
        alive += sizeOf(results[place]!.shape);
      }
      if (alive > mostAlive || work > mostWork) throw tooMuch(node);
      for (const name of new Set(node.inputs)) {
        if (name === "" || lastUse.get(name) !== index || constants.has(name) || inputs.includes(name)) continue;
        alive -= sizeOf(values.get(name)!.shape);
      }
    }
  }
}

// Refuses a selection of rows that may be empty: onnxruntime's attention divides by the number of rows. Their number must be the
// larger one of a number and a constant of at least 1.
function requireRows(nodes: readonly Node[], constants: ReadonlyMap<string, Value>): void {
  const producers = new Map(nodes.flatMap((node) => node.outputs.map((name) => [name, node] as const)));
  for (const { op, rules, inputs } of nodes) {
    if (rules.shape !== "rows") continue;
    const count = producers.get(inputs[1]!);
    const known = count?.op === "Max" ? count.inputs.map((name) => constants.get(name)?.numbers ?? []) : [];
    if (!known.some((numbers) => numbers.length > 0 && Math.min(...numbers) >= 1)) {
      throw new WireError(`a node ${op} that may select no row`);
    }
  }
}

// With `fewerRows`, a node that selects rows of a batch leaves one out, so that rows of two selections do not fit.
function isSameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((size, axis) => size === b[axis]);
}

function resultsOf(node: Node, inputs: Inputs, fewerRows: boolean): Value[] {
  let shapes = SHAPES[node.rules.shape]!(node, inputs);
  if (fewerRows && node.rules.shape === "rows") shapes = shapes.map((shape) => [Math.max(1, shape[0]! - 1)]);
  return shapes.map((shape, index) => {
    if (shape.length > MAX_RANK) throw unfit(node);
    if (shape.some((size) => size > MOST_ELEMENTS) || sizeOf(shape) > MOST_ELEMENTS) throw tooMuch(node);
    return { type: node.types[index]!, shape, numbers: index === 0 && shape.length <= 1 ? numbersOf(node, inputs) : undefined };
  });
}

// The multiplications of a node; one for each element that it reads or writes, for a node without products.
function workOf(node: Node, inputs: Inputs, result: Value): number {
  const size = sizeOf(result.shape);
  const plain = inputs.reduce((sum, value) => sum + (value === undefined ? 0 : sizeOf(value.shape)), size);
  const first = inputs[0]?.shape ?? result.shape;
  switch (node.rules.shape) {
    case "matmul":
    case "gemm":
      return plain + size * first.at(-1)!;
    case "attention":
      return plain + first[0]! * first[1]! * (first[2]! + first[1]!) * inputs[1]!.shape[1]!;
    case "multihead":
      return plain + first[0]! * first[1]! * first[1]! * (first[2]! + result.shape[2]!);
    default:
      return plain;
  }
}

// The elements of a small integer result, for the operators that builds compute shapes with.
function numbersOf(node: Node, inputs: Inputs): readonly number[] | undefined {
  const known = inputs.map((value) => value?.numbers);
  switch (node.op) {
    case "Shape":
      return dimensions(node, inputs);
    case "Concat": {
      if (known.includes(undefined)) return undefined;
      const joined = known.flatMap((numbers) => numbers!);
      return joined.length <= MAX_RANK ? joined : undefined;
    }
    case "Gather": {
      const [data, places] = known;
      if (data === undefined || places === undefined || shapeAt(node, inputs, 0).length !== 1) return undefined;
      return places.map((place) => data[axisOf(node, place, data.length)]!);
    }
    case "Mul": {
      const [left, right] = known;
      if (left === undefined || right === undefined || (left.length !== 1 && right.length !== 1)) return undefined;
      const products = left.flatMap((x) => right.map((y) => x * y));
      return products.every((product) => Math.abs(product) <= MOST_ELEMENTS) ? products : undefined;
    }
    case "Reshape":
    case "Squeeze":
    case "Unsqueeze":
      return known[0];
    default:
      return undefined;
  }
}

function sizeOf(shape: Shape): number {
  return shape.reduce((product, size) => product * size, 1);
}

function unfit(node: Node): WireError {
  return new WireError(`a node ${node.op} whose shapes do not fit`);
}

function tooMuch(node: Node): WireError {
  return new WireError(`a node ${node.op} that takes more than a graph of its size may`);
}

function valueAt(node: Node, inputs: Inputs, index: number): Value {
  const value = inputs[index];
  if (value === undefined) throw unfit(node);
  return value;
}

function shapeAt(node: Node, inputs: Inputs, index: number): Shape {
  return valueAt(node, inputs, index).shape;
}

function numbersAt(node: Node, inputs: Inputs, index: number): readonly number[] {
  const { numbers } = valueAt(node, inputs, index);
  if (numbers === undefined) throw new WireError(`a node ${node.op} whose shape cannot be told`);
  return numbers;
}

function attribute(node: Node, name: string, missing: number): number {
  return node.attributes.get(name)?.[0] ?? missing;
}

// An axis counted from the front.
function axisOf(node: Node, axis: number, rank: number): number {
  if (axis < -rank || axis >= rank) throw unfit(node);
  return axis < 0 ? axis + rank : axis;
}

function axesAt(node: Node, inputs: Inputs, index: number, rank: number): Set<number> {
  return new Set(numbersAt(node, inputs, index).map((axis) => axisOf(node, axis, rank)));
}

function broadcast(node: Node, a: Shape, b: Shape): Shape {
  const [longer, shorter] = a.length >= b.length ? [a, b] : [b, a];
  const offset = longer.length - shorter.length;
  return longer.map((x, index) => {
    const y = index < offset ? 1 : shorter[index - offset]!;
    if (x !== y && x !== 1 && y !== 1) throw unfit(node);
    return x === 1 ? y : x;
  });
}

// Refuses further inputs that are neither one number nor one for each of `size` columns.
function requireVectors(node: Node, inputs: Inputs, first: number, size: number): void {
  for (const value of inputs.slice(first)) {
    if (value === undefined || value.shape.length === 0) continue;
    if (value.shape.length !== 1 || (value.shape[0] !== 1 && value.shape[0] !== size)) throw unfit(node);
  }
}

function same(node: Node, inputs: Inputs): Shape[] {
  const shape = shapeAt(node, inputs, 0);
  requireVectors(node, inputs, 1, shape.at(-1) ?? 1);
  return [shape];
}

function concat(node: Node, inputs: Inputs): Shape[] {
  const shapes = inputs.map((_, index) => shapeAt(node, inputs, index));
  const first = shapes[0]!;
  const axis = axisOf(node, attribute(node, "axis", 0), first.length);
  const fits = (shape: Shape): boolean =>
    shape.length === first.length && shape.every((size, index) => index === axis || size === first[index]);
  if (!shapes.every(fits)) throw unfit(node);
  const total = shapes.reduce((sum, shape) => sum + shape[axis]!, 0);
  return [first.map((size, index) => (index === axis ? total : size))];
}

function dimensions(node: Node, inputs: Inputs): Shape {
  const shape = shapeAt(node, inputs, 0);
  return shape.slice(attribute(node, "start", 0), attribute(node, "end", shape.length));
}

function place(at: number, size: number): number {
  return Math.max(0, Math.min(size, at < 0 ? at + size : at));
}

const SHAPES: Readonly<Record<string, (node: Node, inputs: Inputs) => Shape[]>> = {
  attention(node, inputs) {
    const [states, weights] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1)];
    const heads = attribute(node, "num_heads", 1);
    const fits = states.length === 3 && weights.length === 2 && states[2] === weights[0] && weights[1]! % (3 * heads) === 0;
    if (!fits) throw unfit(node);
    const others = inputs.slice(2).filter((value) => value !== undefined);
    requireVectors(node, others.filter((value) => value.type !== "i"), 0, weights[1]!);
    for (const { type, shape } of others) {
      if (type !== "i") continue;
      const perText = shape.length === 1 && shape[0] === states[0];
      const perToken = shape.length === 2 && shape[0] === states[0] && shape[1] === states[1];
      if (!perText && !perToken) throw unfit(node);
    }
    return [[states[0]!, states[1]!, weights[1]! / 3]];
  },
  broadcast(node, inputs) {
    let shape = shapeAt(node, inputs, 0);
    for (let index = 1; index < inputs.length; index++) shape = broadcast(node, shape, shapeAt(node, inputs, index));
    return [shape];
  },
  cast: same,
  concat,
  either(node, inputs) {
    const [then, otherwise] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1)];
    if (!isSameShape(then, otherwise)) throw unfit(node);
    return [then];
  },
  expand(node, inputs) {
    const sizes = numbersAt(node, inputs, 1);
    if (sizes.some((size) => size < 0)) throw unfit(node);
    return [broadcast(node, shapeAt(node, inputs, 0), sizes)];
  },
  gather(node, inputs) {
    const data = shapeAt(node, inputs, 0);
    const axis = axisOf(node, attribute(node, "axis", 0), data.length);
    return [[...data.slice(0, axis), ...shapeAt(node, inputs, 1), ...data.slice(axis + 1)]];
  },
  "gather elements"(node, inputs) {
    const [data, places] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1)];
    const axis = axisOf(node, attribute(node, "axis", 0), data.length);
    if (places.length !== data.length || places.some((size, index) => index !== axis && size > data[index]!)) throw unfit(node);
    return [places];
  },
  "gather nd"(node, inputs) {
    const [data, places] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1)];
    const depth = places.at(-1) ?? 0;
    if (depth < 1 || depth > data.length) throw unfit(node);
    return [[...places.slice(0, -1), ...data.slice(depth)]];
  },
  gemm(node, inputs) {
    const [a, given] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1)];
    if (a.length !== 2 || given.length !== 2) throw unfit(node);
    const b = attribute(node, "transB", 0) === 0 ? given : given.toReversed();
    const shape = [a[0]!, b[1]!];
    const added = broadcast(node, shape, shapeAt(node, inputs, 2));
    if (a[1] !== b[0] || added.length !== 2 || added[0] !== shape[0] || added[1] !== shape[1]) throw unfit(node);
    return [shape];
  },
  matmul(node, inputs) {
    const [a, given] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1)];
    if (a.length < 2 || given.length < 2) throw unfit(node);
    const b = attribute(node, "transB", 0) === 0 ? given : [...given.slice(0, -2), given.at(-1)!, given.at(-2)!];
    if (a.at(-1) !== b.at(-2)) throw unfit(node);
    requireVectors(node, inputs, 2, b.at(-1)!);
    return [[...broadcast(node, a.slice(0, -2), b.slice(0, -2)), a.at(-2)!, b.at(-1)!]];
  },
  multihead(node, inputs) {
    const [query, key, value] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1), shapeAt(node, inputs, 2)];
    const heads = attribute(node, "num_heads", 1);
    const alike = query.length === 3 && key.length === 3 && query.every((size, index) => size === key[index]);
    if (!alike || value.length !== 3 || value[0] !== query[0] || value[1] !== query[1]) throw unfit(node);
    if (query[2]! % heads !== 0 || value[2]! % heads !== 0) throw unfit(node);
    const pairs = [query[0]!, heads, query[1]!, query[1]!];
    const columns = inputs[3]?.shape; // added to query, key and value
    if (columns !== undefined && (columns.length !== 1 || columns[0] !== 2 * query[2]! + value[2]!)) throw unfit(node);
    for (const bias of inputs.slice(4)) { // one number for each pair of tokens
      if (bias === undefined) continue;
      const fits = bias.shape.length === 4 && bias.shape[2] === pairs[2] && bias.shape[3] === pairs[3];
      if (!fits || broadcast(node, pairs, bias.shape).some((size, index) => size !== pairs[index])) throw unfit(node);
    }
    return [[query[0]!, query[1]!, value[2]!]];
  },
  pad(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    const pads = numbersAt(node, inputs, 1);
    const fits = pads.length === 2 * shape.length && pads.every((pad) => pad >= 0 && pad <= MOST_ELEMENTS);
    if (!fits || sizeOf(shapeAt(node, inputs, 2)) !== 1) throw unfit(node);
    return [shape.map((size, index) => size + pads[index]! + pads[index + shape.length]!)];
  },
  range(node, inputs) {
    const ends = [0, 1, 2].map((index) => numbersAt(node, inputs, index));
    if (ends.some((numbers) => numbers.length !== 1)) throw unfit(node);
    const [start, end, step] = ends.map((numbers) => numbers[0]!) as [number, number, number];
    if (step !== 1 || Math.max(Math.abs(start), Math.abs(end)) > MOST_ELEMENTS) throw unfit(node);
    return [[Math.max(0, end - start)]];
  },
  reduce(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    const axes = axesAt(node, inputs, 1, shape.length);
    if (axes.size === 0) throw unfit(node);
    if (attribute(node, "keepdims", 1) !== 0) return [shape.map((size, index) => (axes.has(index) ? 1 : size))];
    return [shape.filter((_, index) => !axes.has(index))];
  },
  reshape(node, inputs) {
    const data = shapeAt(node, inputs, 0);
    const wanted = numbersAt(node, inputs, 1);
    if (wanted.filter((size) => size === -1).length > 1 || wanted.some((size) => size < -1)) throw unfit(node);
    const copied = attribute(node, "allowzero", 0) === 0;
    const sizes = wanted.map((size, index) => {
      if (size !== 0 || !copied) return size;
      if (index >= data.length) throw unfit(node);
      return data[index]!;
    });
    const rest = sizeOf(sizes.filter((size) => size !== -1));
    if (sizes.includes(-1) && (rest === 0 || sizeOf(data) % rest !== 0)) throw unfit(node);
    const shape = sizes.map((size) => (size === -1 ? sizeOf(data) / rest : size));
    if (sizeOf(shape) !== sizeOf(data)) throw unfit(node);
    return [shape];
  },
  // The shapes of all rows, of which the operator gives so many as its second input says.
  rows(node, inputs) {
    const data = shapeAt(node, inputs, 0);
    if (data.length !== 1 || !isSameShape(shapeAt(node, inputs, 1), [1])) throw unfit(node);
    return [data, data];
  },
  same,
  "scatter nd"(node, inputs) {
    const [data, places, rows] = [shapeAt(node, inputs, 0), shapeAt(node, inputs, 1), shapeAt(node, inputs, 2)];
    if (data.length === 0 || places.length !== 2 || places[1] !== 1) throw unfit(node);
    if (!isSameShape(rows, [places[0]!, ...data.slice(1)])) throw unfit(node);
    return [data];
  },
  shape: (node, inputs) => [[dimensions(node, inputs).length]],
  "skip norm"(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    const sum = broadcast(node, shape, shapeAt(node, inputs, 1));
    if (shape.length === 0 || sum.length !== shape.length || sum.some((size, index) => size !== shape[index])) throw unfit(node);
    requireVectors(node, inputs, 2, shape.at(-1)!);
    const row = [...shape.slice(0, -1), 1];
    return [shape, row, row, shape];
  },
  slice(node, inputs) {
    const shape = [...shapeAt(node, inputs, 0)];
    const [starts, ends, axes] = [numbersAt(node, inputs, 1), numbersAt(node, inputs, 2), numbersAt(node, inputs, 3)];
    const steps = inputs.length === 5 ? numbersAt(node, inputs, 4) : starts.map(() => 1);
    const counts = new Set([starts.length, ends.length, axes.length, steps.length]);
    if (counts.size !== 1 || steps.some((step) => step !== 1) || new Set(axes).size !== axes.length) throw unfit(node);
    for (const [index, axis] of axes.entries()) {
      const at = axisOf(node, axis, shape.length);
      shape[at] = Math.max(0, place(ends[index]!, shape[at]!) - place(starts[index]!, shape[at]!));
    }
    return [shape];
  },
  split(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    const parts = node.outputs.length;
    const axis = axisOf(node, attribute(node, "axis", 0), shape.length);
    if (attribute(node, "num_outputs", 0) !== parts || shape[axis]! % parts !== 0) throw unfit(node);
    const part = shape.map((size, index) => (index === axis ? size / parts : size));
    return Array.from(node.types, () => part);
  },
  squeeze(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    if (inputs.length === 1) return [shape.filter((size) => size !== 1)];
    const axes = axesAt(node, inputs, 1, shape.length);
    if ([...axes].some((axis) => shape[axis] !== 1)) throw unfit(node);
    return [shape.filter((_, index) => !axes.has(index))];
  },
  tile(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    const repeats = numbersAt(node, inputs, 1);
    if (repeats.length !== shape.length || repeats.some((count) => count < 0)) throw unfit(node);
    return [shape.map((size, index) => size * repeats[index]!)];
  },
  transpose(node, inputs) {
    const shape = shapeAt(node, inputs, 0);
    const order = node.attributes.get("perm") ?? [];
    const sorted = order.toSorted((a, b) => a - b);
    if (order.length !== shape.length || sorted.some((axis, index) => axis !== index)) throw unfit(node);
    return [order.map((axis) => shape[axis]!)];
  },
  unsqueeze(node, inputs) {
    const shape = [...shapeAt(node, inputs, 0)];
    const added = numbersAt(node, inputs, 1);
    const axes = axesAt(node, inputs, 1, shape.length + added.length);
    if (axes.size !== added.length) throw unfit(node);
    for (const axis of [...axes].sort((a, b) => a - b)) shape.splice(axis, 0, 1);
    return [shape];
  },
};
