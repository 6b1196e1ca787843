import { create, element, percent } from "./elements.js";
import type { Answer, BundleFacts } from "./messages.js";
import { linesOfFile, parseLines, type Row, toCsv, toJsonLines } from "./table_files.js";

/** The table shows at most this many rows; the downloads contain all. */
const MAX_TABLE_ROWS = 500;

type Classify = (text: string, pair: string | null) => Promise<Answer>;

/** Classifies pasted lines and shows a table with downloads. */
export class ManyTexts {
  private readonly input = element("many", HTMLTextAreaElement);
  private readonly button = element("run", HTMLButtonElement);
  private readonly progressBar = element("many-progress", HTMLProgressElement);
  private readonly status = element("many-status", HTMLElement);
  private readonly table = element("table-scroll", HTMLElement);
  private readonly tableBody = element("rows", HTMLElement);
  private readonly downloads = (["csv", "jsonl"] as const).map((format) => [format, element(`download-${format}`, HTMLButtonElement)] as const);
  private bundle: BundleFacts | undefined;
  private rows: Row[] = [];
  private isRunning = false;
  private isStopping = false;

  constructor(private readonly classify: Classify) {
    this.input.addEventListener("input", () => this.refresh());
    this.button.addEventListener("click", () => {
      if (this.isRunning) this.isStopping = true;
      else void this.run();
    });
    for (const [format, button] of this.downloads) button.addEventListener("click", () => this.download(format));
  }

  /** Switches to another bundle and clears the results. */
  setBundle(bundle: BundleFacts): void {
    this.bundle = bundle;
    this.isStopping = this.isRunning;
    this.rows = [];
    this.tableBody.replaceChildren();
    this.table.hidden = true;
    this.status.textContent = "";
    this.input.disabled = false;
    element("many-hint", HTMLElement).hidden = !bundle.textPair;
    this.refresh();
  }

  /** Replaces the texts by those of a file. */
  async setFile(file: File): Promise<void> {
    if (this.isRunning || this.bundle === undefined) return;
    try {
      this.input.value = linesOfFile(await file.text(), file.name, this.bundle.textPair).join("\n");
      this.status.textContent = `Texts of ${file.name}.`;
    } catch (error) {
      this.status.textContent = error instanceof Error ? error.message : String(error);
    }
    this.refresh();
    this.input.scrollIntoView({ block: "center" });
  }

  private refresh(): void {
    const count = parseLines(this.input.value, false).length;
    this.button.textContent = this.isRunning ? "Stop" : count === 0 ? "Classify" : `Classify ${count} ${count === 1 ? "text" : "texts"}`;
    this.button.disabled = this.bundle === undefined || (count === 0 && !this.isRunning);
    for (const [, button] of this.downloads) button.disabled = this.isRunning || this.rows.length === 0;
  }

  private async run(): Promise<void> {
    const bundle = this.bundle!;
    const texts = parseLines(this.input.value, bundle.textPair);
    this.rows = [];
    this.tableBody.replaceChildren();
    this.isRunning = true;
    this.progressBar.hidden = this.table.hidden = false;
    this.status.textContent = "Classifying…";
    this.refresh();
    const start = performance.now();
    try {
      for (const [index, [text, pair]] of texts.entries()) {
        if (this.isStopping) break;
        const row = { text, pair, answer: await this.classify(text, pair) };
        if (this.bundle !== bundle) return;
        this.rows.push(row);
        if (index < MAX_TABLE_ROWS) this.tableBody.append(tableRow(row));
        this.progressBar.value = (index + 1) / texts.length;
      }
      const seconds = ((performance.now() - start) / 1000).toFixed(1);
      const hint = this.rows.length > MAX_TABLE_ROWS ? ` The table shows the first ${MAX_TABLE_ROWS}. The downloads contain all.` : "";
      this.status.textContent = `${this.rows.length} of ${texts.length} texts classified in ${seconds} s.${hint}`;
    } catch (error) {
      const message = (error instanceof Error ? error.message : String(error)).replace(/^texts\[0\]: /, "");
      if (this.bundle === bundle) this.status.textContent = `Text ${this.rows.length + 1}: ${message}`;
    } finally {
      this.isRunning = this.isStopping = false;
      this.progressBar.hidden = true;
      this.refresh();
    }
  }

  private download(format: "csv" | "jsonl"): void {
    const { labels } = this.bundle!;
    const content = format === "csv" ? toCsv(this.rows, labels) : toJsonLines(this.rows, labels);
    const type = format === "csv" ? "text/csv;charset=utf-8" : "application/jsonl;charset=utf-8";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = `labels.${format}`;
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

function tableRow({ text, pair, answer }: Row): HTMLElement {
  const row = document.createElement("tr");
  row.append(create("td", "", pair === null ? text : `${text} | ${pair}`));
  row.append(create("td", answer.label === null ? "quiet" : "", answer.label ?? "No label"));
  row.append(create("td", "number", percent(answer.prob)));
  return row;
}
