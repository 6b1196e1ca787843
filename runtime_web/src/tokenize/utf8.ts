/** The bytes of code points from `start` to `end`, in UTF-8. */
export function utf8Of(codes: readonly number[], start: number, end: number): number[] {
  const bytes: number[] = [];
  for (let i = start; i < end; i += 1) {
    const code = codes[i]!;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 63));
    else if (code < 0x10000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
    else bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 63), 0x80 | ((code >> 6) & 63), 0x80 | (code & 63));
  }
  return bytes;
}
