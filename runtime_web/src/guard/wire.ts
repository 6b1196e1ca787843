// Just enough of the protobuf wire format to walk an ONNX file. Nothing is copied, and no read leaves its message.

/** Why bytes are not a message, or not one that is wanted. */
export class WireError extends Error {}

export type WireKind = "varint" | "fixed64" | "bytes" | "fixed32";

export interface WireField {
  readonly number: number;
  readonly kind: WireKind;
  /** The number of a varint, else 0. */
  readonly value: bigint;
  /** The contents of all others, where they stand. */
  readonly bytes: Uint8Array;
}

const KINDS = new Map<number, WireKind>([[0, "varint"], [1, "fixed64"], [2, "bytes"], [5, "fixed32"]]);
const LARGEST_TAG = 0xffffffffn;
const NOTHING = new Uint8Array();

/** The number that begins at a place, and the place behind it. Throws WireError. */
export function readVarint(message: Uint8Array, start: number): [bigint, number] {
  let value = 0n;
  let at = start;
  for (let shift = 0n; ; shift += 7n) {
    const byte = message[at];
    if (byte === undefined || shift > 63n) throw new WireError(`no whole number at byte ${at}`);
    at += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (value >> 64n) throw new WireError(`a number beyond 64 bits before byte ${at}`);
    return [value, at];
  }
}

/** The fields of a message in their order. Throws WireError. */
export function* wireFields(message: Uint8Array): Generator<WireField, void> {
  let at = 0;
  while (at < message.length) {
    const start = at;
    let tag: bigint;
    [tag, at] = readVarint(message, at);
    if (tag > LARGEST_TAG || tag < 8n) throw new WireError(`no field ${tag >> 3n} at byte ${start}`);
    const number = Number(tag >> 3n);
    const kind = KINDS.get(Number(tag & 7n));
    if (kind === undefined) throw new WireError(`wire type ${tag & 7n} at byte ${start}`);
    let value = 0n;
    if (kind === "varint") {
      [value, at] = readVarint(message, at);
      yield { number, kind, value, bytes: NOTHING };
      continue;
    }
    let size = kind === "fixed32" ? 4n : 8n;
    if (kind === "bytes") [size, at] = readVarint(message, at);
    if (size > BigInt(message.length - at)) throw new WireError(`field ${number} ends beyond the message`);
    const end = at + Number(size);
    yield { number, kind, value, bytes: message.subarray(at, end) };
    at = end;
  }
}
