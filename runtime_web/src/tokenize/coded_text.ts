// A text as code points that know where they come from.

/** Code points, and for each the index in the original text of the character that it comes from. */
export interface CodedText {
  readonly codes: readonly number[];
  readonly from: readonly number[];
}

/** A text that grows. */
export class CodedTextBuilder implements CodedText {
  readonly codes: number[] = [];
  readonly from: number[] = [];

  add(code: number, from: number): void {
    this.codes.push(code);
    this.from.push(from);
  }

  addAll(codes: readonly number[], from: number): void {
    for (const code of codes) this.add(code, from);
  }
}

export function codedText(text: string): CodedText {
  const coded = new CodedTextBuilder();
  for (let index = 0; index < text.length; index += 1) {
    const code = text.codePointAt(index)!;
    coded.add(code, index);
    if (code > 0xffff) index += 1;
  }
  return coded;
}

export function codesOf(text: string): number[] {
  const codes: number[] = [];
  for (let index = 0; index < text.length; index += 1) {
    const code = text.codePointAt(index)!;
    codes.push(code);
    if (code > 0xffff) index += 1;
  }
  return codes;
}

export function part(text: CodedText, start: number, end: number): CodedText {
  if (start === 0 && end === text.codes.length) return text;
  return { codes: text.codes.slice(start, end), from: text.from.slice(start, end) };
}
