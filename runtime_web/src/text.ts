import { DataError } from "./errors.js";

/** One text, or the two texts of a pair. */
export type Text = string | readonly [string, string];

// All but tab, line feed and carriage return.
const CONTROL = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]/;

/** Throws DataError when a text has a control character, which no text may have. */
export function refuseControlCharacters(texts: readonly unknown[]): void {
  for (const [index, text] of texts.entries()) {
    for (const part of Array.isArray(text) ? (text as unknown[]) : [text]) {
      const found = typeof part === "string" ? CONTROL.exec(part) : null;
      if (found === null) continue;
      const code = found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
      const position = Array.from((part as string).slice(0, found.index)).length;
      throw new DataError(`texts[${index}]: has the control character U+${code} at position ${position}. Remove it.`);
    }
  }
}
