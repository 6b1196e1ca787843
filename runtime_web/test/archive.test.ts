import { crc32 as reference } from "node:zlib";
import { expect, test } from "vitest";
import { crc32 } from "../src/bundle/archive.js";

test("crc32 equals that of zlib, at any length and offset", () => {
  const bytes = Uint8Array.from({ length: 300 }, (_, index) => (index * 7919) >> 3);
  for (const length of [0, 1, 7, 8, 9, 15, 16, 17, 255, 290]) {
    for (const start of [0, 1, 3, 8]) {
      const part = bytes.subarray(start, start + length);
      expect(crc32(part)).toBe(reference(part));
    }
  }
});
