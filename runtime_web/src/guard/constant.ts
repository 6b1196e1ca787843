// The constants of a graph.

import { TYPES } from "./graph_rules_reader.js";
import { MAX_RANK, MOST_ELEMENTS, type Value } from "./graph_shapes.js";
import { checkEntries, Message, MESSAGES, notBytes, quoted } from "./message.js";
import { readVarint, WireError, type WireField } from "./wire.js";

/** A constant of the graph. */
export interface Constant {
  readonly name: string;
  readonly value: Value;
}

/** Parses a constant; its bytes must match its shape and type, and its numbers must be finite. Throws WireError. */
export function parseConstant(bytes: Uint8Array): Constant {
  const tensor = new Message(bytes, MESSAGES.constant);
  checkEntries(tensor, 16);
  const name = tensor.string(8);
  const number = tensor.number(2);
  const lengths: bigint[] = [];
  for (const field of tensor.all(1)) appendNumbers(field, MAX_RANK, lengths);
  const data = tensor.find(9)?.bytes ?? new Uint8Array();
  const type = TYPES.get(number);
  if (type === undefined) throw new WireError(`the constant ${quoted(name)} of type ${number}`);
  const size = lengths.reduce((product, length) => product * length, BigInt(type.bytes));
  const fits = lengths.length <= MAX_RANK && lengths.every((length) => length <= MOST_ELEMENTS);
  if (!fits || size !== BigInt(data.length)) {
    const listed = lengths.slice(0, MAX_RANK).join(", ");
    throw new WireError(`${data.length} bytes for the constant ${quoted(name)} of shape (${listed}${lengths.length === 1 ? "," : ""})`);
  }
  if (!areFinite(data, type.letter)) throw new WireError(`numbers in the constant ${quoted(name)} that are not finite`);
  const shape = lengths.map(Number);
  const isSmall = shape.length <= 1 && data.length <= MAX_RANK * type.bytes;
  return { name, value: { type: type.letter, shape, numbers: isSmall ? integersOf(data, type.letter) : undefined } };
}

// The elements of a small integer constant, which may be a shape, axes or positions.
function integersOf(bytes: Uint8Array, type: string): number[] | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (type === "l") return Array.from({ length: bytes.length / 8 }, (_, index) => Number(view.getBigInt64(8 * index, true)));
  if (type === "i") return Array.from({ length: bytes.length / 4 }, (_, index) => view.getInt32(4 * index, true));
  return undefined;
}

/**
 * Appends the numbers of a repeated field, packed or not. Stops behind `most`, because a hostile message may hold millions. Throws
 * WireError.
 */
export function appendNumbers(field: WireField, most: number, numbers: bigint[]): void {
  const append = (value: bigint): void => {
    if (numbers.length <= most) numbers.push(value);
  };
  if (field.kind === "varint") return append(field.value);
  if (field.kind !== "bytes") throw notBytes(field);
  for (let offset = 0; offset < field.bytes.length; ) {
    const [value, end] = readVarint(field.bytes, offset);
    append(value);
    offset = end;
  }
}

// A single number may be infinite, because graphs mask padding with minus infinity.
function areFinite(bytes: Uint8Array, type: string): boolean {
  const width = type === "f" ? 4 : type === "h" ? 2 : type === "d" ? 8 : 0;
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
