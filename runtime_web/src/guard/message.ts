// One protobuf message of an ONNX file, checked against its rules.

import { GRAPH_RULES } from "./graph_rules.js"; // crosstune_export/bundle/graph_rules.json, which all runtimes share
import { WireError, type WireField, wireFields, type WireKind } from "./wire.js";

/** The allowed fields of one message type of onnx.proto, by field number, as `graph_rules.json` has them. */
interface MessageRules {
  /** Name of the message in error messages. */
  readonly called: string;
  /** Fields that may occur once. */
  readonly once: Readonly<Record<string, WireKind>>;
  /** Fields that may repeat. */
  readonly many: Readonly<Record<string, WireKind>>;
  /** For error messages: names of some known fields that are not allowed. */
  readonly named: Readonly<Record<string, string>>;
  /** Whether repeated numbers may be written without packing. */
  readonly numbers_one_a_field: boolean;
}

/** The rules for each message type. */
export const MESSAGES = GRAPH_RULES.messages as unknown as Readonly<Record<keyof typeof GRAPH_RULES.messages, MessageRules>>;

export class Message {
  /** Refuses fields that the rules do not list, other wire types, and repetitions of single fields. Throws WireError. */
  constructor(
    private readonly bytes: Uint8Array,
    rules: MessageRules,
  ) {
    const singleFields = new Set<number>();
    for (const { number, kind } of wireFields(bytes)) {
      const once = rules.once[number];
      const many = rules.many[number];
      const expected = once ?? many;
      if (expected === undefined) throw new WireError(`${rules.named[number] ?? `an unknown field ${number}`} in ${rules.called}`);
      const isUnpacked = many !== undefined && (kind === "varint" || kind === "fixed32") && rules.numbers_one_a_field;
      if (kind !== expected && !isUnpacked) throw new WireError(`field ${number} of ${rules.called} in another form`);
      if (once === undefined) continue;
      if (singleFields.has(number)) throw new WireError(`field ${number} of ${rules.called} twice`);
      singleFields.add(number);
    }
  }

  /** The fields with a number. Walks the bytes each time, because a hostile message may hold millions of fields. */
  *all(number: number): Generator<WireField, void> {
    for (const field of wireFields(this.bytes)) if (field.number === number) yield field;
  }

  find(number: number): WireField | undefined {
    return this.all(number).next().value ?? undefined;
  }

  /** The value of a single field; "" when it is missing. */
  string(number: number): string {
    const field = this.find(number);
    return field === undefined ? "" : stringOf(field);
  }

  /** The value of a single field; 0 when it is missing. */
  number(number: number): bigint {
    return this.find(number)?.value ?? 0n;
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The field's bytes as UTF-8. Throws WireError when they are not. */
export function stringOf(field: WireField): string {
  try {
    return UTF8.decode(field.bytes);
  } catch {
    throw new WireError("a name that is not UTF-8");
  }
}

/** The error that a field must hold bytes. */
export function notBytes(field: WireField): WireError {
  return new WireError(`field ${field.number} is a number, expected bytes`);
}

/** Checks the metadata entries in a field; their contents are ignored. */
export function checkEntries(message: Message, number: number): void {
  for (const field of message.all(number)) {
    if (field.kind !== "bytes") throw notBytes(field);
    new Message(field.bytes, MESSAGES.entry);
  }
}

/** A name from the graph for an error message, on one line, as Python would write it. */
export function escaped(name: string): string {
  return name
    .slice(0, 60)
    .replace(/[\\']/g, "\\$&")
    .replace(/[\u0000-\u001f\u007f]/g, (control) => `\\x${control.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

/** The same in quotes, at most 60 characters. */
export function quoted(name: string): string {
  return `'${escaped(name)}'`.slice(0, 60);
}
