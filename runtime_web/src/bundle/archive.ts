// A bundle in one file: a zip archive of which every byte is laid down. docs/bundle_format.md has the layout.

import { BundleIntegrityError } from "../errors.js";
import { CARD_NAME, MANIFEST_NAME, MODEL_NAME, SELFTEST_NAME, SIZE_LIMITS, TOKENIZER_NAME } from "./manifest.js";
import type { Bytes } from "./sha256.js";

/** The order of the members: what a reader needs first stands first. */
export const MEMBERS = [MANIFEST_NAME, TOKENIZER_NAME, SELFTEST_NAME, CARD_NAME, MODEL_NAME] as const;

/** Bytes above which no file can be an archive of ours; heads and directory are some hundred. */
export const LARGEST_ARCHIVE = [...SIZE_LIMITS.values()].reduce((sum, limit) => sum + limit, 1024);

const HEAD_SIZE = 30;
const SIZE_AT = 22;

/** Hands out the members of an archive one after the other. */
export class ArchiveReader {
  private at = 0;
  private directory: number[] = []; // what the archive must say of the members so far

  constructor(
    private readonly bytes: Bytes,
    private readonly where: string,
  ) {}

  /** The next member, which must be this one; where it stands, not a copy. Throws BundleIntegrityError. */
  read(name: string): Bytes {
    const start = this.at + HEAD_SIZE + name.length;
    const found = this.bytes.subarray(this.at, start);
    if (found.length < HEAD_SIZE || String.fromCharCode(...found.subarray(HEAD_SIZE)) !== name) {
      throw this.bad(`no ${name} at its place, expected what crosstune-export pack writes`);
    }
    const size = new DataView(found.buffer, found.byteOffset).getUint32(SIZE_AT, true);
    const limit = SIZE_LIMITS.get(name)!;
    if (size > limit) throw this.bad(`${size} bytes of ${name}, expected at most ${limit}`);
    const data = this.bytes.subarray(start, start + size);
    if (!equal(found, this.head(name, data))) throw this.bad(`${name} is cut short or changed, expected it as packed`);
    this.at = start + size;
    return data;
  }

  /** What stands behind the members must be their directory alone. Throws BundleIntegrityError. */
  finish(): void {
    const count = MEMBERS.length;
    const end = [...number(0x06054b50, 4), ...number(0, 4), ...number(count, 2), ...number(count, 2)];
    const expected = [...this.directory, ...end, ...number(this.directory.length, 4), ...number(this.at, 4), ...number(0, 2)];
    if (!equal(this.bytes.subarray(this.at), expected)) {
      throw this.bad("other bytes behind its members, expected their directory alone");
    }
  }

  // What must stand before a member; its entry goes into the directory.
  private head(name: string, data: Bytes): number[] {
    const spelled = Array.from(name, (letter) => letter.charCodeAt(0));
    const sizes = [...number(crc32(data), 4), ...number(data.length, 4), ...number(data.length, 4)];
    // Version 2.0 of zip; no flags, no compression, midnight; 1 January 1980.
    const facts = [...number(20, 2), ...number(0, 6), ...number(0x0021, 2), ...sizes, ...number(name.length, 2), ...number(0, 2)];
    const made = [...number(0x02014b50, 4), ...number((3 << 8) | 20, 2)]; // on unix
    const place = [...number(0, 6), ...number(0o100644 * 2 ** 16, 4), ...number(this.at, 4)]; // a regular file
    this.directory.push(...made, ...facts, ...place, ...spelled);
    return [...number(0x04034b50, 4), ...facts, ...spelled];
  }

  private bad(found: string): BundleIntegrityError {
    return new BundleIntegrityError(`${this.where}: ${found}. Copy or pack the bundle again.`);
  }
}

// Eight tables in one: a byte that is followed by n zero bytes has its share in table n, so that eight bytes are taken at once.
const CRC_TABLES = new Uint32Array(8 * 256);
for (let i = 0; i < CRC_TABLES.length; i += 1) {
  let rest = i < 256 ? i : CRC_TABLES[i - 256]!;
  if (i < 256) for (let bit = 0; bit < 8; bit += 1) rest = (rest >>> 1) ^ (rest & 1 ? 0xedb88320 : 0);
  else rest = (rest >>> 8) ^ CRC_TABLES[rest & 255]!;
  CRC_TABLES[i] = rest;
}

/** The checksum of zip archives. */
export function crc32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const share = (table: number, byte: number): number => CRC_TABLES[table * 256 + (byte & 255)]!;
  let rest = -1;
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    const first = rest ^ view.getUint32(at, true);
    const second = view.getUint32(at + 4, true);
    rest =
      share(7, first) ^ share(6, first >>> 8) ^ share(5, first >>> 16) ^ share(4, first >>> 24) ^
      share(3, second) ^ share(2, second >>> 8) ^ share(1, second >>> 16) ^ share(0, second >>> 24);
  }
  for (; at < bytes.length; at += 1) rest = (rest >>> 8) ^ share(0, rest ^ bytes[at]!);
  return ~rest >>> 0;
}

function number(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 255);
}

function equal(found: Uint8Array, expected: readonly number[]): boolean {
  return found.length === expected.length && expected.every((byte, index) => found[index] === byte);
}
