// crosstune_export/bundle/graph_rules.json, which all runtimes share, in the form that the checks use.

import { GRAPH_RULES } from "./graph_rules.js";

export interface AttributeRules {
  readonly type: "int" | "float" | "ints";
  /** Smallest and largest value. */
  readonly range: readonly number[];
  /** Largest number of values; 1 when it is missing. */
  readonly most?: number;
}

/** The rules for one operator. */
export interface OperatorRules {
  /** How the shapes of its outputs follow from its inputs, see graph_shapes.ts. */
  readonly shape: string;
  /** Types of the outputs by types of the inputs: a letter each, "-" for one that is left out. */
  readonly forms: ReadonlyMap<string, string>;
  readonly attributes: AttributesRules;
}

export interface ElementType {
  readonly letter: string;
  readonly bytes: number;
}

export type AttributesRules = ReadonlyMap<string, AttributeRules>;

interface OperatorEntry {
  readonly shape: string;
  readonly forms: readonly string[];
  readonly attributes?: Readonly<Record<string, AttributeRules>>;
}

/** Most inputs of an operator that takes any number of them. */
const MOST_INPUTS = 256;

/** Name in the graph -> key of OPERATORS. */
export const DOMAINS = new Map<string, string>(Object.entries(GRAPH_RULES.domains));
/** By domain and name. */
export const OPERATORS = new Map(
  Object.entries(GRAPH_RULES.operators as Readonly<Record<string, Readonly<Record<string, OperatorEntry>>>>).map(
    ([domain, operators]) => [domain, new Map(Object.entries(operators).map(([name, entry]) => [name, readOperator(entry)]))],
  ),
);
/** The function that a graph may consist of, and the attributes of its call. */
export const FUNCTION = {
  name: GRAPH_RULES.function.name,
  domain: GRAPH_RULES.function.domain,
  attributes: readAttributes(GRAPH_RULES.function.attributes as unknown as Readonly<Record<string, AttributeRules>>),
};
/** The operator that runs one of two branches, and its attributes. */
export const BRANCHES = GRAPH_RULES.branches;
/** By the number of the data type in onnx.proto. */
export const TYPES = new Map<bigint, ElementType>(Object.entries(GRAPH_RULES.types).map(([number, type]) => [BigInt(number), type]));

/** The types of the outputs for types of inputs; undefined if no build writes such a node. */
export function outputsOf(rules: OperatorRules, inputs: string): string | undefined {
  const first = inputs.slice(0, 1);
  const isAlike = inputs !== "" && inputs.length <= MOST_INPUTS && inputs === first.repeat(inputs.length);
  return (isAlike ? rules.forms.get(`${first}+`) : undefined) ?? rules.forms.get(inputs);
}

function readOperator(entry: OperatorEntry): OperatorRules {
  return {
    shape: entry.shape,
    forms: new Map(entry.forms.map((form) => form.split(">") as [string, string])),
    attributes: readAttributes(entry.attributes),
  };
}

function readAttributes(entries: Readonly<Record<string, AttributeRules>> | undefined): AttributesRules {
  return new Map(Object.entries(entries ?? {}));
}
