// The answers to many texts as files.

import type { Answer } from "./messages.js";

/** One line that was pasted, and what came out. */
export interface Row {
  readonly text: string;
  readonly pair: string | null;
  readonly answer: Answer;
}

/** The texts of pasted lines; lines of blanks are left out. A pair has a tab between. */
export function textsOf(pasted: string, pairs: boolean): [text: string, pair: string | null][] {
  const lines = pasted.split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");
  if (!pairs) return lines.map((line) => [line, null]);
  return lines.map((line) => {
    const tab = line.indexOf("\t");
    return tab < 0 ? [line, ""] : [line.slice(0, tab), line.slice(tab + 1)];
  });
}

/** One JSON object a line, with the fields that `crosstune-export classify` writes. */
export function jsonLines(rows: readonly Row[], labels: readonly string[]): string {
  const lines = rows.map(({ text, pair, answer: { label, prob, probs, truncated } }) => {
    // Written field by field: an object would put a label called 1 first, and lose one called __proto__.
    const fields = labels.map((name, column) => `${JSON.stringify(name)}: ${probs[column]}`);
    const second = pair === null ? "" : `, "text_pair": ${JSON.stringify(pair)}`;
    return `{"text": ${JSON.stringify(text)}${second}, "label": ${JSON.stringify(label)}, "prob": ${prob}, "probs": {${fields.join(", ")}}, "truncated": ${truncated}}\n`;
  });
  return lines.join("");
}

/** A table for spreadsheets. A text that one would take for a formula gets an apostrophe before it. */
export function csv(rows: readonly Row[], labels: readonly string[]): string {
  const second = rows.some((row) => row.pair !== null) ? ["text_pair"] : [];
  const head = ["text", ...second, "label", "prob", ...labels];
  const body = rows.map(({ text, pair, answer }) => [
    text,
    ...(second.length > 0 ? [pair ?? ""] : []),
    answer.label ?? "",
    answer.prob,
    ...answer.probs,
  ]);
  return [head, ...body].map((cells) => `${cells.map(cell).join(",")}\r\n`).join("");
}

function cell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const harmless = /^[\s\u00a0]*[=+\-@]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
