import { element, make, percent } from "./elements.js";
import type { Answer, BundleFacts } from "./messages.js";
import { csv, jsonLines, type Row, textsOf } from "./table_files.js";

/** More rows than these are in the files alone. */
const SHOWN = 500;

type Classify = (text: string, pair: string | null) => Promise<Answer>;

/** Many pasted lines, a table, and files to download. */
export class ManyTexts {
  private readonly pasted = element("many", HTMLTextAreaElement);
  private readonly button = element("run", HTMLButtonElement);
  private readonly bar = element("many-progress", HTMLProgressElement);
  private readonly status = element("many-status", HTMLElement);
  private readonly scroll = element("table-scroll", HTMLElement);
  private readonly body = element("rows", HTMLElement);
  private readonly downloads = (["csv", "jsonl"] as const).map((kind) => [kind, element(`download-${kind}`, HTMLButtonElement)] as const);
  private bundle: BundleFacts | undefined;
  private rows: Row[] = [];
  private running = false;
  private stopping = false;

  constructor(private readonly classify: Classify) {
    this.pasted.addEventListener("input", () => this.refresh());
    this.button.addEventListener("click", () => {
      if (this.running) this.stopping = true;
      else void this.run();
    });
    for (const [kind, button] of this.downloads) button.addEventListener("click", () => this.download(kind));
  }

  /** Takes another bundle, or none. */
  setBundle(bundle: BundleFacts | undefined): void {
    this.bundle = bundle;
    this.stopping = this.running;
    this.rows = [];
    this.body.replaceChildren();
    this.scroll.hidden = true;
    this.status.textContent = "";
    this.pasted.disabled = bundle === undefined;
    element("many-hint", HTMLElement).hidden = !bundle?.textPair;
    this.refresh();
  }

  private refresh(): void {
    const count = textsOf(this.pasted.value, false).length;
    this.button.textContent = this.running ? "Stop" : count === 0 ? "Classify" : `Classify ${count} ${count === 1 ? "text" : "texts"}`;
    this.button.disabled = this.bundle === undefined || (count === 0 && !this.running);
    for (const [, button] of this.downloads) button.disabled = this.running || this.rows.length === 0;
  }

  private async run(): Promise<void> {
    const bundle = this.bundle!;
    const texts = textsOf(this.pasted.value, bundle.textPair);
    this.rows = [];
    this.body.replaceChildren();
    this.running = true;
    this.bar.hidden = this.scroll.hidden = false;
    this.status.textContent = "Classifying…";
    this.refresh();
    const started = performance.now();
    try {
      for (const [index, [text, pair]] of texts.entries()) {
        if (this.stopping) break;
        const row = { text, pair, answer: await this.classify(text, pair) };
        if (this.bundle !== bundle) return;
        this.rows.push(row);
        if (index < SHOWN) this.body.append(tableRow(row));
        this.bar.value = (index + 1) / texts.length;
      }
      const seconds = ((performance.now() - started) / 1000).toFixed(1);
      const below = this.rows.length > SHOWN ? ` The table shows the first ${SHOWN}, the files have all.` : "";
      this.status.textContent = `${this.rows.length} of ${texts.length} texts classified in ${seconds} s.${below}`;
    } catch (error) {
      if (this.bundle === bundle) this.status.textContent = error instanceof Error ? error.message : String(error);
    } finally {
      this.running = this.stopping = false;
      this.bar.hidden = true;
      this.refresh();
    }
  }

  private download(kind: "csv" | "jsonl"): void {
    const { labels } = this.bundle!;
    const content = kind === "csv" ? csv(this.rows, labels) : jsonLines(this.rows, labels);
    const type = kind === "csv" ? "text/csv;charset=utf-8" : "application/jsonl;charset=utf-8";
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = `labels.${kind}`;
    link.click();
    URL.revokeObjectURL(link.href);
  }
}

function tableRow({ text, pair, answer }: Row): HTMLElement {
  const row = document.createElement("tr");
  row.append(make("td", "", pair === null ? text : `${text} | ${pair}`));
  row.append(make("td", answer.label === null ? "quiet" : "", answer.label ?? "no label"));
  row.append(make("td", "number", percent(answer.prob)));
  return row;
}
