// A reader for the protobuf wire format, sufficient to walk an ONNX file. It copies nothing and never reads past the message.

/** Says why bytes are not a valid message, or not one that the rules allow. */
export class WireError extends Error {}

export type WireKind = "varint" | "fixed64" | "bytes" | "fixed32";

export interface WireField {
  readonly number: number;
  readonly kind: WireKind;
  /** The value of a varint; 0 for other kinds. */
  readonly value: bigint;
  /** A view of the bytes of every other kind. */
  readonly bytes: Uint8Array;
}

const KINDS = new Map<number, WireKind>([[0, "varint"], [1, "fixed64"], [2, "bytes"], [5, "fixed32"]]);
const MAX_TAG = 0xffffffffn;
const EMPTY = new Uint8Array();

/** Decodes the varint at `start`; returns the value and the offset after it. Throws WireError. */
export function readVarint(message: Uint8Array, start: number): [value: bigint, end: number] {
  let value = 0n;
  let offset = start;
  for (let shift = 0n; ; shift += 7n) {
    const byte = message[offset];
    if (byte === undefined || shift > 63n) throw new WireError(`no whole number at byte ${offset}`);
    offset += 1;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    if (value >> 64n) throw new WireError(`a number beyond 64 bits before byte ${offset}`);
    return [value, offset];
  }
}

/** Iterates over the fields of a message. Throws WireError. */
export function* wireFields(message: Uint8Array): Generator<WireField, void> {
  let offset = 0;
  while (offset < message.length) {
    const start = offset;
    let tag: bigint;
    [tag, offset] = readVarint(message, offset);
    if (tag > MAX_TAG || tag < 8n) throw new WireError(`no field ${tag >> 3n} at byte ${start}`);
    const number = Number(tag >> 3n);
    const kind = KINDS.get(Number(tag & 7n));
    if (kind === undefined) throw new WireError(`wire type ${tag & 7n} at byte ${start}`);
    let value = 0n;
    if (kind === "varint") {
      [value, offset] = readVarint(message, offset);
      yield { number, kind, value, bytes: EMPTY };
      continue;
    }
    let size = kind === "fixed32" ? 4n : 8n;
    if (kind === "bytes") [size, offset] = readVarint(message, offset);
    if (size > BigInt(message.length - offset)) throw new WireError(`field ${number} ends beyond the message`);
    const end = offset + Number(size);
    yield { number, kind, value, bytes: message.subarray(offset, end) };
    offset = end;
  }
}
