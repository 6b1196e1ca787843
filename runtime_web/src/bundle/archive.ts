// A packed bundle: a zip archive whose every byte the format prescribes. docs/bundle_format.md has the layout.

import { BundleIntegrityError } from "../errors.js";
import { CARD_NAME, MANIFEST_NAME, MODEL_NAME, SELFTEST_NAME, SIZE_LIMITS, TOKENIZER_NAME } from "./manifest.js";
import type { Bytes } from "./sha256.js";

/** The files in the order in which the archive stores them: first what a reader needs first. */
export const MEMBERS = [MANIFEST_NAME, TOKENIZER_NAME, SELFTEST_NAME, CARD_NAME, MODEL_NAME] as const;

/** Largest size of an archive in bytes; headers and directory take less than 1024. */
export const MAX_ARCHIVE_BYTES = [...SIZE_LIMITS.values()].reduce((sum, limit) => sum + limit, 1024);

const HEADER_SIZE = 30;
const SIZE_OFFSET = 22;

/** Reads the files of an archive one after the other. */
export class ArchiveReader {
  private offset = 0;
  private directory: number[] = []; // the directory that the archive must have for the files read so far

  constructor(
    private readonly bytes: Bytes,
    private readonly where: string,
  ) {}

  /** Reads the next file, which must be `name`; a view, not a copy. Throws BundleIntegrityError. */
  read(name: string): Bytes {
    const start = this.offset + HEADER_SIZE + name.length;
    const header = this.bytes.subarray(this.offset, start);
    if (header.length < HEADER_SIZE || String.fromCharCode(...header.subarray(HEADER_SIZE)) !== name) {
      throw this.error(`${name} is missing or misplaced, expected a file written by crosstune-export pack`);
    }
    const size = new DataView(header.buffer, header.byteOffset).getUint32(SIZE_OFFSET, true);
    const limit = SIZE_LIMITS.get(name)!;
    if (size > limit) throw this.error(`${size} bytes of ${name}, expected at most ${limit}`);
    const data = this.bytes.subarray(start, start + size);
    if (!equal(header, this.addEntry(name, data))) throw this.error(`${name} is cut short or changed, expected it as packed`);
    this.offset = start + size;
    return data;
  }

  /** Checks that only the archive's directory follows the files. Throws BundleIntegrityError. */
  finish(): void {
    const count = MEMBERS.length;
    const end = [...number(0x06054b50, 4), ...number(0, 4), ...number(count, 2), ...number(count, 2)];
    const expected = [...this.directory, ...end, ...number(this.directory.length, 4), ...number(this.offset, 4), ...number(0, 2)];
    if (!equal(this.bytes.subarray(this.offset), expected)) {
      throw this.error("unexpected bytes after its members, expected only their directory");
    }
  }

  // Adds a file to the directory and returns the local header that must stand before its data.
  private addEntry(name: string, data: Bytes): number[] {
    const nameBytes = Array.from(name, (character) => character.charCodeAt(0));
    const sizes = [...number(crc32(data), 4), ...number(data.length, 4), ...number(data.length, 4)];
    // Zip version 2.0; no flags, no compression, midnight; 1 January 1980.
    const fields = [...number(20, 2), ...number(0, 6), ...number(0x0021, 2), ...sizes, ...number(name.length, 2), ...number(0, 2)];
    const version = [...number(0x02014b50, 4), ...number((3 << 8) | 20, 2)]; // made on Unix
    const attributes = [...number(0, 6), ...number(0o100644 * 2 ** 16, 4), ...number(this.offset, 4)]; // a regular file
    this.directory.push(...version, ...fields, ...attributes, ...nameBytes);
    return [...number(0x04034b50, 4), ...fields, ...nameBytes];
  }

  private error(problem: string): BundleIntegrityError {
    return new BundleIntegrityError(`${this.where}: ${problem}. Copy or pack the bundle again.`);
  }
}

// Slicing-by-8: table n has the checksum of a byte followed by n zero bytes, so that eight bytes are processed at a time.
const CRC_TABLES = new Uint32Array(8 * 256);
for (let i = 0; i < CRC_TABLES.length; i += 1) {
  let crc = i < 256 ? i : CRC_TABLES[i - 256]!;
  if (i < 256) for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  else crc = (crc >>> 8) ^ CRC_TABLES[crc & 255]!;
  CRC_TABLES[i] = crc;
}

/** The CRC-32 checksum of zip archives. */
export function crc32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const lookUp = (table: number, byte: number): number => CRC_TABLES[table * 256 + (byte & 255)]!;
  let crc = -1;
  let offset = 0;
  for (; offset + 8 <= bytes.length; offset += 8) {
    const first = crc ^ view.getUint32(offset, true);
    const second = view.getUint32(offset + 4, true);
    crc =
      lookUp(7, first) ^ lookUp(6, first >>> 8) ^ lookUp(5, first >>> 16) ^ lookUp(4, first >>> 24) ^
      lookUp(3, second) ^ lookUp(2, second >>> 8) ^ lookUp(1, second >>> 16) ^ lookUp(0, second >>> 24);
  }
  for (; offset < bytes.length; offset += 1) crc = (crc >>> 8) ^ lookUp(0, crc ^ bytes[offset]!);
  return ~crc >>> 0;
}

// A little-endian integer.
function number(value: number, size: number): number[] {
  return Array.from({ length: size }, (_, index) => Math.floor(value / 2 ** (8 * index)) & 255);
}

function equal(bytes: Uint8Array, expected: readonly number[]): boolean {
  return bytes.length === expected.length && expected.every((byte, index) => bytes[index] === byte);
}
