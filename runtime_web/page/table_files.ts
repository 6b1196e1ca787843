// Parses pasted lines and writes the results as files.

import type { Answer } from "./messages.js";

/** A pasted text and its answer. */
export interface Row {
  readonly text: string;
  readonly pair: string | null;
  readonly answer: Answer;
}

/** The texts of pasted lines, without blank lines. A tab separates the texts of a pair. */
export function parseLines(pasted: string, isPairs: boolean): [text: string, pair: string | null][] {
  const lines = pasted.split(/\r\n|\r|\n/).filter((line) => line.trim() !== "");
  if (!isPairs) return lines.map((line) => [line, null]);
  return lines.map((line) => {
    const tab = line.indexOf("\t");
    return tab < 0 ? [line, ""] : [line.slice(0, tab), line.slice(tab + 1)];
  });
}

/** Whether a file holds texts, by its name. */
export function holdsTexts(name: string): boolean {
  return /\.(csv|tsv|txt)$/i.test(name);
}

/**
 * The texts of a file, one for each line: those of the column "text" (and "text_pair") of a table, or the lines themselves. Line
 * breaks within a text become spaces. Throws Error when a table has no such column.
 */
export function linesOfFile(content: string, name: string, isPairs: boolean): string[] {
  if (/\.txt$/i.test(name)) return content.split(/\r\n|\r|\n/);
  const [header = [], ...rest] = parseTable(content.replace(/^\ufeff/, ""));
  const columns = (isPairs ? ["text", "text_pair"] : ["text"]).map((column) => {
    const index = header.findIndex((title) => title.trim().toLowerCase() === column);
    if (index < 0) throw new Error(`${name}: has no column "${column}". Rename the column of the texts.`);
    return index;
  });
  return rest.map((row) => columns.map((column) => (row[column] ?? "").replace(/\s+/g, " ").trim()).join("\t"));
}

/** The rows of CSV, whose delimiter is the one of comma, semicolon and tab that is most frequent in the first line. */
function parseTable(content: string): string[][] {
  const [first = ""] = content.split(/\r|\n/, 1);
  const delimiter = [",", ";", "\t"].reduce((best, one) => (first.split(one).length > first.split(best).length ? one : best));
  const rows: string[][] = [[]];
  // A quoted cell, in which two quotes stand for one, or a plain one; and what follows it.
  const cell = new RegExp(`(?:"((?:[^"]|"")*)"|([^${delimiter}\\r\\n]*))(${delimiter}|\\r\\n|\\r|\\n|$)`, "g");
  for (const [, quoted, plain, end] of content.matchAll(cell)) {
    rows.at(-1)!.push(quoted === undefined ? plain! : quoted.replaceAll('""', '"'));
    if (end === "") break;
    if (end !== delimiter) rows.push([]);
  }
  return rows.filter((row) => row.some((value) => value.trim() !== ""));
}

/** JSON Lines with the fields that `crosstune-export classify` writes. */
export function toJsonLines(rows: readonly Row[], labels: readonly string[]): string {
  const lines = rows.map(({ text, pair, answer: { label, prob, probs, truncated, similarity } }) => {
    // Written field by field, because a JavaScript object would move a label called "1" to the front and lose "__proto__".
    const fields = labels.map((name, column) => `${JSON.stringify(name)}: ${probs[column]}`);
    const pairField = pair === null ? "" : `, "text_pair": ${JSON.stringify(pair)}`;
    return `{"text": ${JSON.stringify(text)}${pairField}, "label": ${JSON.stringify(label)}, "prob": ${prob}, "probs": {${fields.join(", ")}}, "truncated": ${truncated}, "similarity": ${similarity}}\n`;
  });
  return lines.join("");
}

/** CSV with the columns of `crosstune-export classify --probs columns`. A text that a spreadsheet would run as a formula gets a leading apostrophe. */
export function toCsv(rows: readonly Row[], labels: readonly string[]): string {
  const hasPairs = rows.some((row) => row.pair !== null);
  const added = ["label", "prob", ...labels.map((label) => `prob_${label}`), "truncated", "similarity"];
  const header = ["text", ...(hasPairs ? ["text_pair"] : []), ...added];
  const body = rows.map(({ text, pair, answer }) => [
    text,
    ...(hasPairs ? [pair ?? ""] : []),
    answer.label ?? "",
    ...[answer.prob, ...answer.probs].map(rounded),
    String(answer.truncated),
    answer.similarity === null ? "" : rounded(answer.similarity),
  ]);
  return [header, ...body].map((cells) => `${cells.map(csvCell).join(",")}\r\n`).join("");
}

function rounded(value: number): number {
  return Math.round(value * 1e6) / 1e6;
}

function csvCell(value: string | number): string {
  if (typeof value === "number") return String(value);
  const harmless = /^[\s\u00a0]*[=+\-@]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
}
