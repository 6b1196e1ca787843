// SentencePiece's table of characters and what takes their place: the normalizer "Precompiled".

import type { JsonReader } from "../bundle/json_reader.js";
import { type CodedText, CodedTextBuilder, codesOf } from "./coded_text.js";
import { clusterEnds } from "./graphemes.js";
import { utf8Of } from "./utf8.js";

const MOST_LETTERS = 1 << 21; // of the table in base64; the largest published one has 316,720
const MOST_TEXT_BYTES = 64; // of a text in the place of a character; published: 18 characters
const LONGEST_CLUSTER = 5; // in bytes, that is replaced as a whole

export class Charsmap {
  private readonly units: Uint32Array; // a double array, as the library Darts-clone writes it
  private readonly texts: Uint8Array; // each ends with a NUL
  private readonly found = new Map<number, readonly number[]>(); // texts by their start, as code points

  /** Takes the normalizer. Throws BundleContentError. */
  constructor(part: JsonReader) {
    const base64 = part.string("precompiled_charsmap");
    const fail = (found: string, expected: string): never => {
      throw part.fieldError("precompiled_charsmap", found, expected);
    };
    if (base64.length > MOST_LETTERS) fail(`${base64.length} letters`, `at most ${MOST_LETTERS}`);
    if (base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(base64)) fail("other text", "base64");
    const letters = atob(base64);
    const bytes = new Uint8Array(letters.length);
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = letters.charCodeAt(i);
    const view = new DataView(bytes.buffer);
    const size = bytes.length < 4 ? 0 : view.getUint32(0, true);
    if (size % 4 !== 0 || size < 4 || size > bytes.length - 4) fail("cut short", "a whole table");
    this.units = new Uint32Array(size / 4);
    for (let i = 0; i < this.units.length; i += 1) this.units[i] = view.getUint32(4 + 4 * i, true);
    this.texts = bytes.slice(4 + size);
    let text = "";
    try {
      text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.texts);
    } catch {
      fail("a table of other bytes", "texts in UTF-8");
    }
    for (const words of text.split("\0")) {
      const length = new TextEncoder().encode(words).length;
      if (length > MOST_TEXT_BYTES) fail(`a table with a text of ${length} bytes`, `at most ${MOST_TEXT_BYTES}`);
    }
  }

  /** Replaces each grapheme cluster of at most five bytes as a whole, and each other character by itself. */
  apply(text: CodedText): CodedText {
    const { codes, from } = text;
    const result = new CodedTextBuilder();
    let start = 0;
    for (const end of clusterEnds(codes)) {
      const bytes = end - start <= LONGEST_CLUSTER ? utf8Of(codes, start, end) : undefined;
      const whole = bytes !== undefined && bytes.length <= LONGEST_CLUSTER ? this.find(bytes) : undefined;
      if (whole !== undefined) {
        result.addAll(whole, from[start]!);
      } else {
        for (let i = start; i < end; i += 1) {
          const found = this.find(utf8Of(codes, i, i + 1));
          if (found === undefined) result.add(codes[i]!, from[i]!);
          else result.addAll(found, from[i]!);
        }
      }
      start = end;
    }
    return result;
  }

  // What takes the place of the shortest key with which `bytes` begins.
  private find(bytes: readonly number[]): readonly number[] | undefined {
    const { units } = this;
    let position = offset(units[0]!);
    for (const byte of bytes) {
      position ^= byte;
      if (byte === 0 || position >= units.length) return undefined;
      const unit = units[position]!;
      if ((unit & (0x80000000 | 0xff)) !== byte) return undefined;
      position ^= offset(unit);
      if (unit & 0x100) return position < units.length ? this.textAt(units[position]! & 0x7fffffff) : undefined;
    }
    return undefined;
  }

  private textAt(start: number): readonly number[] | undefined {
    const known = this.found.get(start);
    if (known !== undefined) return known;
    if (start > this.texts.length || (this.texts[start]! & 0xc0) === 0x80) return undefined;
    const end = this.texts.indexOf(0, start);
    const text = codesOf(new TextDecoder("utf-8", { ignoreBOM: true }).decode(this.texts.subarray(start, end < 0 ? undefined : end)));
    this.found.set(start, text);
    return text;
  }
}

// Of a unit of the double array: how far the units of what follows are away, as an exclusive or.
function offset(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}
