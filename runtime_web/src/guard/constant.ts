// The constants of a graph: weights, and tensors in attributes.

import { GRAPH_RULES } from "./graph_rules.js";
import { checkEntries, Message, MESSAGES, notBytes, quoted } from "./message.js";
import { readVarint, WireError, type WireField } from "./wire.js";

const ELEMENT_BYTES = new Map(Object.entries(GRAPH_RULES.element_bytes).map(([type, size]) => [BigInt(type), BigInt(size)]));
const FLOAT32 = 1n; // data types of onnx.proto
const FLOAT16 = 10n;
const FLOAT64 = 11n;
const MAX_RANK = 8;

export interface Constant {
  readonly name: string;
  readonly shape: readonly bigint[];
}

/** Parses a constant; its bytes must match its shape and type, and its numbers must be finite. Throws WireError. */
export function parseConstant(bytes: Uint8Array): Constant {
  const tensor = new Message(bytes, MESSAGES.constant);
  checkEntries(tensor, 16);
  const name = tensor.string(8);
  const type = tensor.number(2);
  const shape: bigint[] = [];
  for (const field of tensor.all(1)) appendNumbers(field, shape);
  const data = tensor.find(9)?.bytes ?? new Uint8Array();
  const elementBytes = ELEMENT_BYTES.get(type);
  if (elementBytes === undefined) throw new WireError(`the constant ${quoted(name)} of type ${type}`);
  const size = shape.reduce((product, length) => product * length, elementBytes);
  if (shape.length > MAX_RANK || size !== BigInt(data.length)) {
    const lengths = shape.slice(0, MAX_RANK).join(", ");
    throw new WireError(`${data.length} bytes for the constant ${quoted(name)} of shape (${lengths}${shape.length === 1 ? "," : ""})`);
  }
  if (!areFinite(data, type)) throw new WireError(`numbers in the constant ${quoted(name)} that are not finite`);
  return { name, shape };
}

/**
 * Appends the numbers of a repeated field, packed or not. Stops at nine, because a hostile message may hold millions and no valid
 * shape has more than eight. Throws WireError.
 */
export function appendNumbers(field: WireField, numbers: bigint[]): void {
  const append = (value: bigint): void => {
    if (numbers.length <= MAX_RANK) numbers.push(value);
  };
  if (field.kind === "varint") return append(field.value);
  if (field.kind !== "bytes") throw notBytes(field);
  for (let offset = 0; offset < field.bytes.length; ) {
    const [value, end] = readVarint(field.bytes, offset);
    append(value);
    offset = end;
  }
}

/** Whether all float32 values are finite; a single value may be infinite. */
export function areFiniteFloats(bytes: Uint8Array): boolean {
  return areFinite(bytes, FLOAT32);
}

// A single number may be infinite, because graphs mask padding with minus infinity.
function areFinite(bytes: Uint8Array, type: bigint): boolean {
  const width = type === FLOAT32 ? 4 : type === FLOAT16 ? 2 : type === FLOAT64 ? 8 : 0;
  if (width === 0) return true;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length === width) {
    if (width === 2) return (view.getUint16(0, true) & 0x7fff) <= 0x7c00;
    return !Number.isNaN(width === 4 ? view.getFloat32(0, true) : view.getFloat64(0, true));
  }
  const exponent = width === 2 ? 0x7c00 : width === 4 ? 0x7f800000 : 0x7ff00000;
  for (let offset = width === 8 ? 4 : 0; offset < bytes.length; offset += width) { // the exponent is in the upper four bytes
    const bits = width === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
    if ((bits & exponent) === exponent) return false;
  }
  return true;
}
